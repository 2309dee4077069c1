/**
 * The vocabulary every kernel is written in: four float32 lanes, their float64 halves, tails and sign bits.
 * This is the only file where the two binaries (simd, relaxed-simd) differ.
 */

/** `a * b + c`; one rounding where the engine has relaxed SIMD with FMA hardware, two elsewhere. */
// @ts-ignore: decorator
@inline export function madd(a: v128, b: v128, c: v128): v128 {
  if (ASC_FEATURE_RELAXED_SIMD) return f32x4.relaxed_madd(a, b, c);
  return f32x4.add(f32x4.mul(a, b), c);
}

/**
 * `d * a + b + r` without a rounding of `b + r` that would be felt where they cancel: what their sum loses (Knuth 1969) goes to
 * the product.
 */
// @ts-ignore: decorator
@inline export function maddTo(d: v128, a: v128, b: v128, r: v128): v128 {
  const s = f32x4.add(b, r);
  const t = f32x4.sub(s, b);
  const lost = f32x4.add(f32x4.sub(b, f32x4.sub(s, t)), f32x4.sub(r, t));
  // Where s is not finite, nothing is known to be lost.
  return f32x4.add(s, madd(d, a, v128.and(lost, f32x4.eq(lost, lost))));
}

/**
 * The first `n` (1 to 4) floats at `at`, zero beyond. Reads nothing beyond. Not by a call for parts of a vector: even where it is
 * never made it costs a loop its registers (16 x 64, forward: 1.09 us, 0.78; layer norm of 64 x 64 with ReLU, backward: 22, 10.6).
 */
// @ts-ignore: decorator
@inline export function loadTail(at: usize, n: usize): v128 {
  if (n >= 4) return v128.load(at);
  let v = v128.load32_zero(at);
  if (n > 1) v = v128.load32_lane(at, v, 1, 4);
  if (n > 2) v = v128.load32_lane(at, v, 2, 8);
  return v;
}

/** Stores the first `n` (1 to 4) lanes and nothing beyond. */
// @ts-ignore: decorator
@inline export function storeTail(at: usize, n: usize, v: v128): void {
  if (n >= 4) {
    v128.store(at, v);
    return;
  }
  v128.store32_lane(at, v, 0);
  if (n > 1) v128.store32_lane(at, v, 1, 4);
  if (n > 2) v128.store32_lane(at, v, 2, 8);
}

/** Lanes 0 and 1 as float64. */
// @ts-ignore: decorator
@inline export function low(v: v128): v128 {
  return f64x2.promote_low_f32x4(v);
}

/** Lanes 2 and 3 as float64. */
// @ts-ignore: decorator
@inline export function high(v: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(v, v, 1, 0));
}

/** Two pairs of float64 rounded to four float32. */
// @ts-ignore: decorator
@inline export function demote(lo: v128, hi: v128): v128 {
  return v128.shuffle<i64>(f32x4.demote_f64x2_zero(lo), f32x4.demote_f64x2_zero(hi), 0, 2);
}

/** Sets `bytes` bytes, a multiple of 16, to zero; for a few, `memory.fill` takes some 30 ns longer. */
export function clear(at: usize, bytes: usize): void {
  for (const end = at + bytes; at < end; at += 16) v128.store(at, f32x4.splat(0));
}

/** Sets `n` float64 to zero, and nothing behind them. */
export function clearDoubles(at: usize, n: usize): void {
  for (; n > 1; n -= 2) {
    v128.store(at, f32x4.splat(0));
    at += 16;
  }
  if (n) store<f64>(at, 0);
}

/** Adds four float32 partial sums to four float64 at `at`. */
// @ts-ignore: decorator
@inline export function addTo(at: usize, v: v128): void {
  v128.store(at, f64x2.add(v128.load(at), low(v)));
  v128.store(at, f64x2.add(v128.load(at, 16), high(v)), 16);
}

/** The sum of four float32 lanes, in float64. */
// @ts-ignore: decorator
@inline export function sum(v: v128): f64 {
  const pair = f64x2.add(low(v), high(v));
  return f64x2.extract_lane(pair, 0) + f64x2.extract_lane(pair, 1);
}

/** ReLU that lets NaN through. */
// @ts-ignore: decorator
@inline export function relu(v: v128): v128 {
  return f32x4.pmax(v, f32x4.splat(0));
}

/** A bit for each lane that ReLU lets through (NaN included, as in PyTorch). */
// @ts-ignore: decorator
@inline export function passBits(v: v128): i32 {
  return i32x4.bitmask(v128.not(f32x4.le(v, f32x4.splat(0))));
}

/** The lanes of `v` whose bit is set; zero elsewhere. */
// @ts-ignore: decorator
@inline export function keep(v: v128, bits: u32): v128 {
  const one = i32x4(1, 2, 4, 8);
  return v128.and(v, i32x4.eq(v128.and(i32x4.splat(bits), one), one));
}
