/**
 * Backward along a run: the dot products, and `dx = p * dy + (q * (x - mu) + r)`, dy as the activation lets it through. Runs that
 * need scales are scaled.ts's. The last vectors are taken here all the same: by another call backward of 14 x 14 takes a tenth longer.
 */
import { AFFINE } from "../../coefficients/affine";
import { GRADIENT } from "../../coefficients/gradient";
import { Gate } from "../../epilogues/backward";
import { high, keep, loadTail, low, madd, storeTail, sum } from "../../simd/lanes";
import { STEP, STEPS } from "./moments";

/** `Gate.through` with coefficients in registers. */
// @ts-ignore: decorator
@inline function through<G extends Gate>(g: v128, d: v128, a: v128, b: v128, bits: usize, at: usize): v128 {
  if (changetype<G>(0).decides()) return v128.andnot(g, f32x4.le(madd(d, a, b), f32x4.splat(0)));
  return changetype<G>(0).masks() ? keep(g, load<u8>(bits + at)) : g;
}

/**
 * Adds `sum(dy)` and `sum(dy * (x - mu))` to float64 at `sums` and 128 bytes on. ReLU goes by `bits`, or by the
 * run's lane of the forward's coefficients at `affine`.
 */
export function dotsRun<G extends Gate>(
  x: usize, dy: usize, length: usize, record: usize, affine: usize, plane: usize, sums: usize, bits: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = v128.load32_splat(record + GRADIENT.MU * plane);
  const a = changetype<G>(0).decides() ? v128.load32_splat(affine + AFFINE.A * plane) : zero;
  const b = changetype<G>(0).decides() ? v128.load32_splat(affine + AFFINE.B * plane) : zero;
  let total = load<f64>(sums);
  let dots = load<f64>(sums, 128);
  let steps = length / STEP;
  while (steps > 0) {
    let s0 = zero;
    let s1 = zero;
    let s2 = zero;
    let s3 = zero;
    let t0 = zero;
    let t1 = zero;
    let t2 = zero;
    let t3 = zero;
    let left = min(steps, STEPS);
    steps -= left;
    for (; left > 0; left--) {
      const d0 = f32x4.sub(v128.load(x), mu);
      const d1 = f32x4.sub(v128.load(x, 16), mu);
      const d2 = f32x4.sub(v128.load(x, 32), mu);
      const d3 = f32x4.sub(v128.load(x, 48), mu);
      const g0 = through<G>(v128.load(dy), d0, a, b, bits, 0);
      const g1 = through<G>(v128.load(dy, 16), d1, a, b, bits, 1);
      const g2 = through<G>(v128.load(dy, 32), d2, a, b, bits, 2);
      const g3 = through<G>(v128.load(dy, 48), d3, a, b, bits, 3);
      s0 = f32x4.add(s0, g0);
      s1 = f32x4.add(s1, g1);
      s2 = f32x4.add(s2, g2);
      s3 = f32x4.add(s3, g3);
      t0 = madd(g0, d0, t0);
      t1 = madd(g1, d1, t1);
      t2 = madd(g2, d2, t2);
      t3 = madd(g3, d3, t3);
      x += 4 * STEP;
      dy += 4 * STEP;
      if (bits) bits += 4;
    }
    total += sum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    dots += sum(f32x4.add(f32x4.add(t0, t1), f32x4.add(t2, t3)));
  }
  length &= STEP - 1;
  if (length) {
    // In float64: a group of a few values bears no more roundings than those of its coefficients.
    let rest = f64x2.splat(0);
    let restDots = rest;
    for (; length > 0; length -= min<usize>(length, 4)) {
      let d = f32x4.sub(loadTail(x, length), mu);
      const g = through<G>(loadTail(dy, length), d, a, b, bits, 0);
      if (length < 4) d = keep(d, (1 << u32(length)) - 1);
      rest = f64x2.add(rest, f64x2.add(low(g), high(g)));
      restDots = f64x2.add(restDots, f64x2.add(f64x2.mul(low(g), low(d)), f64x2.mul(high(g), high(d))));
      if (bits) bits++;
      x += 16;
      dy += 16;
    }
    total += f64x2.extract_lane(rest, 0) + f64x2.extract_lane(rest, 1);
    dots += f64x2.extract_lane(restDots, 0) + f64x2.extract_lane(restDots, 1);
  }
  store<f64>(sums, total);
  store<f64>(sums, dots, 128);
}

/** dx of a run, and dy as ReLU let it through to `dresidual`, where there is one. */
export function gradientRun<G extends Gate>(
  x: usize, dy: usize, dx: usize, length: usize, record: usize, affine: usize, plane: usize, dresidual: usize, bits: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = v128.load32_splat(record + GRADIENT.MU * plane);
  const p = v128.load32_splat(record + GRADIENT.P * plane);
  const q = v128.load32_splat(record + GRADIENT.Q * plane);
  const r = v128.load32_splat(record + GRADIENT.R * plane);
  const a = changetype<G>(0).decides() ? v128.load32_splat(affine + AFFINE.A * plane) : zero;
  const b = changetype<G>(0).decides() ? v128.load32_splat(affine + AFFINE.B * plane) : zero;
  for (let steps = length / STEP; steps > 0; steps--) {
    const d0 = f32x4.sub(v128.load(x), mu);
    const d1 = f32x4.sub(v128.load(x, 16), mu);
    const d2 = f32x4.sub(v128.load(x, 32), mu);
    const d3 = f32x4.sub(v128.load(x, 48), mu);
    const g0 = through<G>(v128.load(dy), d0, a, b, bits, 0);
    const g1 = through<G>(v128.load(dy, 16), d1, a, b, bits, 1);
    const g2 = through<G>(v128.load(dy, 32), d2, a, b, bits, 2);
    const g3 = through<G>(v128.load(dy, 48), d3, a, b, bits, 3);
    if (changetype<G>(0).masks() && dresidual) {
      v128.store(dresidual, g0);
      v128.store(dresidual, g1, 16);
      v128.store(dresidual, g2, 32);
      v128.store(dresidual, g3, 48);
      dresidual += 4 * STEP;
    }
    v128.store(dx, madd(p, g0, madd(q, d0, r)));
    v128.store(dx, madd(p, g1, madd(q, d1, r)), 16);
    v128.store(dx, madd(p, g2, madd(q, d2, r)), 32);
    v128.store(dx, madd(p, g3, madd(q, d3, r)), 48);
    x += 4 * STEP;
    dy += 4 * STEP;
    dx += 4 * STEP;
    if (bits) bits += 4;
  }
  for (length &= STEP - 1; length > 0; length -= min<usize>(length, 4)) {
    const d = f32x4.sub(loadTail(x, length), mu);
    const g = through<G>(loadTail(dy, length), d, a, b, bits, 0);
    if (changetype<G>(0).masks() && dresidual) {
      storeTail(dresidual, length, g);
      dresidual += 16;
    }
    storeTail(dx, length, madd(p, g, madd(q, d, r)));
    if (bits) bits++;
    x += 16;
    dy += 16;
    dx += 16;
  }
}
