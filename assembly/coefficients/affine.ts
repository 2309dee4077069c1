/**
 * From statistics (float64) to the float32 coefficients that the kernels apply, four groups at a time.
 *
 * The mean is kept as a pair, `mu + muLow`, since rounding it to float32 costs |mu| / sigma units in y. Where the low
 * half can go into `b` without being felt, or is below half a unit itself, it goes there and saves a subtraction for
 * each value; a vector where it cannot, or which needs scales, is `careful` and takes the `...Lanes` kernels. Either
 * way a lane's result is the same to the bit, whatever its neighbours hold: a scale of 1 and a low half of 0 change
 * nothing.
 */
import { demote, high, low } from "../simd/lanes";
import { clamp, exponent, finite, LARGE, mark, power, set, SMALL } from "./scales";

/**
 * `y = ((x * scale - mu - muLow) * a + b) * out`. A coefficient is a plane of float32, a value a group; the planes lie
 * `plane` bytes apart in this order.
 */
export namespace AFFINE {
  // @ts-ignore: decorator
  @inline export const MU: usize = 0;
  // @ts-ignore: decorator
  @inline export const A: usize = 1;
  // @ts-ignore: decorator
  @inline export const B: usize = 2;
  // @ts-ignore: decorator
  @inline export const MU_LOW: usize = 3;
  // @ts-ignore: decorator
  @inline export const SCALE: usize = 4;
  // @ts-ignore: decorator
  @inline export const OUT: usize = 5;
}

/** Sets `rstd = 1 / sqrt(variance + eps)` of `n` groups. */
export function rstdOf(variance: usize, rstd: usize, n: usize, eps: f64): void {
  const one = f64x2.splat(1);
  const e = f64x2.splat(eps);
  for (; n > 1; n -= 2) {
    v128.store(rstd, f64x2.div(one, f64x2.sqrt(f64x2.add(v128.load(variance), e))));
    variance += 16;
    rstd += 16;
  }
  // What lies behind the last group may be another thread's.
  if (n) store<f64>(rstd, 1 / sqrt(load<f64>(variance) + eps));
}

/**
 * Fills the AFFINE records of `n` groups from their means and rstd (float64) and gamma and beta (float32, or 0 for
 * none); `careful` has a byte for every sixteen, whether any of them is.
 */
export function affineOf(
  record: usize, plane: usize, mean: usize, rstd: usize, gamma: usize, beta: usize, n: usize, careful: usize,
): void {
  const one = f32x4.splat(1);
  for (let c: usize = 0; c < n; c += 4) {
    const mean0 = v128.load(mean);
    const mean1 = v128.load(mean, 16);
    const rstd0 = v128.load(rstd);
    const rstd1 = v128.load(rstd, 16);
    const g = gamma ? v128.load(gamma) : one;
    const b = beta ? v128.load(beta) : f32x4.splat(0);
    const mu = demote(mean0, mean1);
    const muLow = demote(f64x2.sub(mean0, low(mu)), f64x2.sub(mean1, high(mu)));
    const a0 = f64x2.mul(rstd0, low(g));
    const a1 = f64x2.mul(rstd1, high(g));
    const a = demote(a0, a1);
    // Rounding b - muLow * a costs half a unit of |b|, at most one of |gamma|; leaving muLow out costs its own size.
    const r = demote(rstd0, rstd1);
    const fold = f32x4.le(f32x4.abs(b), f32x4.mul(f32x4.splat(2), f32x4.abs(g)));
    const drop = f32x4.le(f32x4.mul(f32x4.abs(muLow), r), f32x4.splat(5.9604644775390625e-8));
    const settled = v128.or(fold, drop);
    // Where muLow is 0, b stays as it is: a may be infinite.
    const folded = v128.bitselect(f32x4.sub(b, f32x4.mul(muLow, a)), b, v128.andnot(fold, f32x4.eq(muLow, f32x4.splat(0))));
    v128.store(record + AFFINE.MU * plane, mu);
    v128.store(record + AFFINE.A * plane, a);
    v128.store(record + AFFINE.B * plane, folded);
    v128.store(record + AFFINE.MU_LOW * plane, v128.andnot(muLow, settled));
    v128.store(record + AFFINE.SCALE * plane, one);
    v128.store(record + AFFINE.OUT * plane, one);
    let flag = !i32x4.all_true(settled);
    const steep = f32x4.abs(a);
    const most = f32x4.pmax(f32x4.pmax(steep, r), f32x4.pmax(f32x4.abs(mu), f32x4.pmax(f32x4.abs(g), f32x4.abs(b))));
    const calm = v128.and(f32x4.lt(most, f32x4.splat(f32(LARGE))), f32x4.gt(f32x4.pmin(steep, r), f32x4.splat(f32(SMALL))));
    if (!i32x4.all_true(calm)) {
      for (let lane: usize = 0; lane < 4; lane++) {
        if (
          wideAffine(
            record, plane, lane, load<f64>(mean + (lane << 3)), load<f64>(rstd + (lane << 3)),
            gamma ? f64(load<f32>(gamma + (lane << 2))) : 1, beta ? f64(load<f32>(beta + (lane << 2))) : 0,
          )
        ) flag = true;
      }
    }
    mark(careful, c, flag);
    record += 16;
    mean += 32;
    rstd += 32;
    if (gamma) gamma += 16;
    if (beta) beta += 16;
  }
}

/** One lane again, with scales, if it is finite and any of its coefficients is out of range. */
function wideAffine(record: usize, plane: usize, lane: usize, mean: f64, rstd: f64, gamma: f64, beta: f64): bool {
  const a = gamma * rstd;
  if (!finite(mean) || !finite(rstd) || rstd == 0 || !finite(a) || !finite(beta)) return false;
  const size = max(abs(gamma), abs(beta));
  const wideOut = size > LARGE || (size < SMALL && size > 0);
  const calm = rstd >= SMALL && rstd <= LARGE && abs(mean) < LARGE;
  if (calm && !wideOut && (a == 0 || (abs(a) >= SMALL && abs(a) <= LARGE))) return false;
  const scale = power(clamp(exponent(rstd), -128, min(100, 110 - exponent(mean))));
  const out = wideOut ? power(clamp(exponent(size), -126, 127)) : 1;
  const mu = f32(mean * scale);
  set(record + AFFINE.MU * plane, lane, mu);
  set(record + AFFINE.MU_LOW * plane, lane, mean * scale - f64(mu));
  set(record + AFFINE.A * plane, lane, a / scale / out);
  set(record + AFFINE.B * plane, lane, beta / out);
  set(record + AFFINE.SCALE * plane, lane, scale);
  set(record + AFFINE.OUT * plane, lane, out);
  return true;
}
