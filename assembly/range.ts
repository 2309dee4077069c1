/**
 * The careful way, for what leaves float32's range on the way to a result that has not. The kernels are float32 without
 * scales; once a row, what their sums say decides whether they may stand. The few rows that may not are computed here, in
 * float64, where squares and products of float32 values fit.
 */
import { LARGE, LEAST_DOT, LEAST_DY, MOST_DY } from "./coefficients/scales";
import { Row } from "./kernel/row";
import { EPS_RULES, TINY } from "./moments";

/** An rstd within 2^-40 to 2^40 and a mean within LARGE keep xhat, and what it is multiplied by, in range. */
// @ts-ignore: decorator
@inline const FLAT: f64 = 9.094947017729282e-13;
// @ts-ignore: decorator
@inline const STEEP: f64 = 1099511627776.0;
/** Least coefficient of x - mu in dx, unless it is 0: x - mu may be as small (2^-120). */
// @ts-ignore: decorator
@inline const SLOPE: f64 = 7.52316384526264e-37;

/** The variance that one must exceed to stand. */
export function leastVariance(eps: f64): f64 {
  return eps >= EPS_RULES ? -1 : TINY;
}

/** Whether a variance `v` may stand, as the mean square about the pivot was `q`: beyond 3 its digits are lost to the pivot's distance. */
// @ts-ignore: decorator
@inline export function stands(q: f64, v: f64, least: f64): bool {
  return q <= 3 * v && v > least && q < Infinity;
}

/** Whether float32 holds a group's coefficients. */
// @ts-ignore: decorator
@inline export function inRange(mean: f64, rstd: f64): bool {
  return rstd >= FLAT && rstd <= STEEP && abs(mean) <= LARGE;
}

/** The size from which the sum of `count` dot products stands. */
export function leastDot(count: usize): f64 {
  return f64(count) * LEAST_DOT;
}

/** Whether backward's sums may stand: nothing left the range, nothing may have vanished. */
// @ts-ignore: decorator
@inline export function dotsStand(sum1: f64, sum2: f64, least: f64): bool {
  return abs(sum1) + abs(sum2) < Infinity && abs(sum2) >= least;
}

/** Whether float32 holds dx's coefficients, `q` and the means of the two sums. */
// @ts-ignore: decorator
@inline export function gradientInRange(mean1: f64, mean2: f64, q: f64): bool {
  const size = max(abs(mean1), abs(mean2));
  const slope = abs(q);
  return size == 0 || (size >= LEAST_DY && size <= MOST_DY && (slope == 0 || (slope >= SLOPE && slope <= LARGE)));
}

/** Whether any of `n` parameters is so large that a product with it may leave the range, where what is added brings it back. */
export function anyLarge(parameters: usize, n: usize): bool {
  const large = f32x4.splat(f32(LARGE));
  let found = f32x4.splat(0);
  const end = parameters + ((n & ~3) << 2);
  let at = parameters;
  for (; at < end; at += 16) found = v128.or(found, f32x4.gt(f32x4.abs(v128.load(at)), large));
  let any = v128.any_true(found);
  for (; at < parameters + (n << 2); at += 4) any = any || abs(load<f32>(at)) > f32(LARGE);
  return any;
}

/** A row's mean and variance, by two passes; about 0 instead for `rms`. */
export function rowMoments(x: usize, length: usize, rms: bool, mean: usize, variance: usize): void {
  const end = x + (length << 2);
  const count = f64(length);
  let m: f64 = 0;
  if (!rms) {
    for (let at = x; at < end; at += 4) m += f64(load<f32>(at));
    m /= count;
  }
  let squares: f64 = 0;
  for (let at = x; at < end; at += 4) {
    const d = f64(load<f32>(at)) - m;
    squares += d * d;
  }
  store<f64>(mean, m);
  store<f64>(variance, squares / count);
}

/** The affine map of one value, with the residual, as float32. */
// @ts-ignore: decorator
@inline function affine(row: Row, at: usize, mean: f64, rstd: f64): f32 {
  const xhat = (f64(load<f32>(row.x + at)) - mean) * rstd;
  let v = xhat * f64(load<f32>(row.gamma + (at & row.gammaStep))) + f64(load<f32>(row.beta + (at & row.betaStep)));
  if (row.residual) v += f64(load<f32>(row.residual + at));
  return f32(v);
}

/** `y` of a row; with ReLU, its decisions too. */
export function rowNormalize(row: Row, mean: f64, rstd: f64, relu: bool): void {
  let bits: u32 = 0;
  for (let at: usize = 0; at < row.bytes; at += 4) {
    const v = affine(row, at, mean, rstd);
    const lane = u32(at >> 2) & 3;
    bits = (lane ? bits : 0) | (u32(!(v <= 0)) << lane);
    if (row.bits) store<u8>(row.bits + (at >> 4), bits);
    store<f32>(row.y + at, relu && v < 0 ? 0 : v);
  }
}

/** The gradient of a row before its ReLU, to `g`: by the decisions that were kept, or by taking them again. */
export function rowThroughRelu(row: Row, mean: f64, rstd: f64, kept: bool): void {
  for (let at: usize = 0; at < row.bytes; at += 4) {
    const passes = kept ? (load<u8>(row.bits + (at >> 4)) >> (u8(at >> 2) & 3)) & 1 : u8(!(affine(row, at, mean, rstd) <= 0));
    store<f32>(row.g + at, passes ? load<f32>(row.dy + at) : 0);
  }
}

/** `sum1` and `sum2` of a row whose gradient lies at `from`; adds its part of dgamma and dbeta to float64, where they are given. */
export function rowDots(row: Row, from: usize, mean: f64, rstd: f64, dgamma: usize, dbeta: usize): void {
  let sum1: f64 = 0;
  let sum2: f64 = 0;
  for (let at: usize = 0; at < row.bytes; at += 4) {
    const d = f64(load<f32>(from + at));
    const xhat = (f64(load<f32>(row.x + at)) - mean) * rstd;
    const w = d * f64(load<f32>(row.gamma + (at & row.gammaStep)));
    sum1 += w;
    sum2 += w * xhat;
    if (dgamma) {
      const to = at << 1;
      store<f64>(dgamma + to, load<f64>(dgamma + to) + d * xhat);
      store<f64>(dbeta + to, load<f64>(dbeta + to) + d);
    }
  }
  row.sum1 = sum1;
  row.sum2 = sum2;
}

/** `dx = rstd * (gamma * g - mean1 - xhat * mean2)` of a row, with the means of its two sums. */
export function rowGradient(row: Row, mean: f64, rstd: f64, mean1: f64, mean2: f64): void {
  for (let at: usize = 0; at < row.bytes; at += 4) {
    const xhat = (f64(load<f32>(row.x + at)) - mean) * rstd;
    const w = f64(load<f32>(row.g + at)) * f64(load<f32>(row.gamma + (at & row.gammaStep)));
    store<f32>(row.dx + at, f32(rstd * (w - mean1 - xhat * mean2)));
  }
}
