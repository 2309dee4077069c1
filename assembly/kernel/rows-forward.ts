/**
 * Kernels that walk one row forward, for walks/rows.ts. They take two neighbouring vectors a step, all loads before all stores.
 * What remains of a row is one vector and one that overlaps it, of which only the new lanes count; so rows have at least four
 * values here.
 *
 * They must stay functions of their own. Inlined into the loop over rows, V8 before Turboshaft (Node 20 and 22) spills their
 * registers, which takes 2.2 times as long.
 */
import { clamp, Epilogue } from "../epilogues/forward";
import { high, low, madd } from "../simd/lanes";
import { Row, from, overlap } from "./row";

/** Bytes whose sums stay in float32: each passes 15 roundings. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 512;

// @ts-ignore: decorator
@inline function wide(v: v128): v128 {
  return f64x2.add(low(v), high(v));
}

/** Two float32 at `at` as float64: from memory, where engines convert without a shuffle. */
// @ts-ignore: decorator
@inline function pair(at: usize): v128 {
  return f64x2.promote_low_f32x4(v128.load64_zero(at));
}

/**
 * `sum(x)` and `sum((x - pivot)^2)`, two float64 at `out`. The first is taken in float64 from the start: where a position of all
 * rows lies next to the mean, dgamma is as exact as the mean is.
 */
export function sumsOf(x: usize, bytes: usize, pivot: f32, out: usize): void {
  const p = f32x4.splat(pivot);
  const zero = f32x4.splat(0);
  let sum0 = f64x2.splat(0);
  let sum1 = sum0;
  let sum2 = sum0;
  let sum3 = sum0;
  let squares = sum0;
  const end = x + bytes;
  for (const whole = x + (bytes & ~31); x < whole; ) {
    const stop = min(whole, x + CHUNK);
    let q0 = zero;
    let q1 = zero;
    for (; x < stop; x += 32) {
      const a = f32x4.sub(v128.load(x), p);
      const b = f32x4.sub(v128.load(x, 16), p);
      sum0 = f64x2.add(sum0, pair(x));
      sum1 = f64x2.add(sum1, pair(x + 8));
      sum2 = f64x2.add(sum2, pair(x + 16));
      sum3 = f64x2.add(sum3, pair(x + 24));
      q0 = madd(a, a, q0);
      q1 = madd(b, b, q1);
    }
    squares = f64x2.add(squares, wide(f32x4.add(q0, q1)));
  }
  let sum = f64x2.add(f64x2.add(sum0, sum1), f64x2.add(sum2, sum3));
  for (; x < end; x += 16) {
    const skip = overlap(x, end);
    const lanes = from(skip);
    const v = v128.load(x - (skip << 2));
    const a = v128.and(f32x4.sub(v, p), lanes);
    sum = f64x2.add(sum, wide(v128.and(v, lanes)));
    squares = f64x2.add(squares, wide(f32x4.mul(a, a)));
  }
  store<f64>(out, f64x2.extract_lane(sum, 0) + f64x2.extract_lane(sum, 1));
  store<f64>(out, f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1), 8);
}

/** `sum(x^2)`, in float64. */
export function squaresOf(x: usize, bytes: usize): f64 {
  const zero = f32x4.splat(0);
  let squares = f64x2.splat(0);
  const end = x + bytes;
  for (const whole = x + (bytes & ~31); x < whole; ) {
    const stop = min(whole, x + CHUNK);
    let q0 = zero;
    let q1 = zero;
    for (; x < stop; x += 32) {
      const a = v128.load(x);
      const b = v128.load(x, 16);
      q0 = madd(a, a, q0);
      q1 = madd(b, b, q1);
    }
    squares = f64x2.add(squares, wide(f32x4.add(q0, q1)));
  }
  for (; x < end; x += 16) {
    const skip = overlap(x, end);
    const a = v128.and(v128.load(x - (skip << 2)), from(skip));
    squares = f64x2.add(squares, wide(f32x4.mul(a, a)));
  }
  return f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1);
}

/** `y = epilogue(xhat * gamma + beta)`. */
export function normalize<P extends Epilogue>(row: Row): void {
  const e = changetype<P>(0);
  const x = row.x;
  const y = row.y;
  const residual = row.residual;
  const gamma = row.gamma;
  const beta = row.beta;
  const gammaStep = row.gammaStep;
  const betaStep = row.betaStep;
  const bits = row.bits;
  const bytes = row.bytes;
  const mu = f32x4.splat(row.mu);
  const rstd = f32x4.splat(row.rstd);
  const shift = f32x4.splat(row.shift);
  const floor = f32x4.splat(row.floor);
  let at: usize = 0;
  for (const whole = bytes & ~31; at < whole; at += 32) {
    const g = gamma + (at & gammaStep);
    const b = beta + (at & betaStep);
    const h0 = madd(f32x4.sub(v128.load(x + at), mu), rstd, shift);
    const h1 = madd(f32x4.sub(v128.load(x + at, 16), mu), rstd, shift);
    const v0 = e.affine(h0, v128.load(g), v128.load(b), residual, at);
    const v1 = e.affine(h1, v128.load(g, 16), v128.load(b, 16), residual, at + 16);
    e.note(v0, bits, at >> 4, 0);
    e.note(v1, bits, (at >> 4) + 1, 0);
    v128.store(y + at, clamp(v0, floor));
    v128.store(y + at, clamp(v1, floor), 16);
  }
  for (; at < bytes; at += 16) {
    const skip = overlap(at, bytes);
    const to = at - (skip << 2);
    const h = madd(f32x4.sub(v128.load(x + to), mu), rstd, shift);
    const v = e.affine(h, v128.load(gamma + (to & gammaStep)), v128.load(beta + (to & betaStep)), residual, to);
    e.note(v, bits, at >> 4, skip);
    // In place, what overlaps was computed from what is overwritten.
    v128.store(y + to, v128.bitselect(clamp(v, floor), v128.load(y + to), from(skip)));
  }
}
