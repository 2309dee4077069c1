/**
 * Modulation over a stretch of a row: `scale` and `shift` have a value for each position of a row, or one for a run.
 */
import { demote, high, loadTail, low, madd, storeTail } from "../simd/lanes";

// @ts-ignore: decorator
@inline function one(): v128 {
  return f32x4.splat(1);
}

/** `to = n * (1 + scale) + shift` for a row whose positions have their own; `to` may be `n`. */
export function modulate(n: usize, to: usize, scale: usize, shift: usize, width: usize): void {
  const end = n + (width << 2);
  for (; n + 32 <= end; n += 32) {
    const a = madd(v128.load(n), f32x4.add(one(), v128.load(scale)), v128.load(shift));
    const b = madd(v128.load(n, 16), f32x4.add(one(), v128.load(scale, 16)), v128.load(shift, 16));
    v128.store(to, a);
    v128.store(to, b, 16);
    scale += 32;
    shift += 32;
    to += 32;
  }
  for (; n < end; n += 16) {
    const rest = (end - n) >> 2;
    const factor = f32x4.add(one(), loadTail(scale, rest));
    storeTail(to, rest, madd(loadTail(n, rest), factor, loadTail(shift, rest)));
    scale += 16;
    shift += 16;
    to += 16;
  }
}

/** The same for a run, whose values have one scale and one shift. */
export function modulateRun(n: usize, to: usize, scale: f32, shift: f32, width: usize): void {
  const factor = f32x4.splat(1 + scale);
  const addend = f32x4.splat(shift);
  const end = n + (width << 2);
  for (; n + 32 <= end; n += 32) {
    const a = madd(v128.load(n), factor, addend);
    const b = madd(v128.load(n, 16), factor, addend);
    v128.store(to, a);
    v128.store(to, b, 16);
    to += 32;
  }
  for (; n < end; n += 16) {
    const rest = (end - n) >> 2;
    storeTail(to, rest, madd(loadTail(n, rest), factor, addend));
    to += 16;
  }
}

/** Adds `a` of up to four lanes to the float64 sums at `at`. */
// @ts-ignore: decorator
@inline function addWide(at: usize, lo: v128, hi: v128): void {
  v128.store(at, f64x2.add(v128.load(at), lo));
  v128.store(at, f64x2.add(v128.load(at, 16), hi), 16);
}

/**
 * `g = dr * (1 + scale)`, `dshift += dr`, `dscale += dr * n`, the sums in float64: a value for each position, with room for whole
 * vectors. `g` may be `dr` or `n`.
 */
export function demodulate(dr: usize, n: usize, g: usize, scale: usize, dscale: usize, dshift: usize, width: usize): void {
  const end = n + (width << 2);
  for (; n < end; n += 16) {
    const rest = (end - n) >> 2;
    const d = loadTail(dr, rest);
    const v = loadTail(n, rest);
    if (dscale) {
      addWide(dshift, low(d), high(d));
      addWide(dscale, f64x2.mul(low(d), low(v)), f64x2.mul(high(d), high(v)));
      dscale += 32;
      dshift += 32;
    }
    storeTail(g, rest, f32x4.mul(d, f32x4.add(one(), loadTail(scale, rest))));
    dr += 16;
    g += 16;
    scale += 16;
  }
}

/** The same for a run: the two sums, of `dr * n` and of `dr`, are added to two float64 at `sums`. */
export function demodulateRun(dr: usize, n: usize, g: usize, scale: f32, sums: usize, width: usize): void {
  const factor = f32x4.splat(1 + scale);
  const end = n + (width << 2);
  let a = f64x2.splat(0);
  let b = f64x2.splat(0);
  for (; n < end; n += 16) {
    const rest = (end - n) >> 2;
    const d = loadTail(dr, rest);
    const v = loadTail(n, rest);
    a = f64x2.add(a, f64x2.add(f64x2.mul(low(d), low(v)), f64x2.mul(high(d), high(v))));
    b = f64x2.add(b, f64x2.add(low(d), high(d)));
    storeTail(g, rest, f32x4.mul(d, factor));
    dr += 16;
    g += 16;
  }
  store<f64>(sums, load<f64>(sums) + (f64x2.extract_lane(a, 0) + f64x2.extract_lane(a, 1)));
  store<f64>(sums, load<f64>(sums, 8) + (f64x2.extract_lane(b, 0) + f64x2.extract_lane(b, 1)), 8);
}

/** `to = float32(from)` for `n` sums. */
export function narrow(from: usize, to: usize, n: usize): void {
  for (const end = to + (n << 2); to < end; to += 16) {
    storeTail(to, (end - to) >> 2, demote(v128.load(from), v128.load(from, 16)));
    from += 32;
  }
}
