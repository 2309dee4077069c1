/** From backward's sums (float64) to the float32 coefficients of dx; `careful` as in affine.ts. */
import { demote } from "../simd/lanes";
import { clamp, exponent, finite, FLAT, gradientRange, LARGE, LEAST_DY, mark, MOST_DY, power, scaleOf, set, SMALL, STEEP } from "./scales";

/** `dx = (p * (dy * dyScale) + (q * (x * scale - mu) + r)) * out`, in planes as well. */
export namespace GRADIENT {
  // @ts-ignore: decorator
  @inline export const MU: usize = 0;
  // @ts-ignore: decorator
  @inline export const P: usize = 1;
  // @ts-ignore: decorator
  @inline export const Q: usize = 2;
  // @ts-ignore: decorator
  @inline export const R: usize = 3;
  // @ts-ignore: decorator
  @inline export const SCALE: usize = 4;
  // @ts-ignore: decorator
  @inline export const DY_SCALE: usize = 5;
  // @ts-ignore: decorator
  @inline export const OUT: usize = 6;
}

// @ts-ignore: decorator
@inline function inside(x: v128, least: v128, most: v128): v128 {
  return v128.and(f64x2.ge(x, least), f64x2.le(x, most));
}

/** Fills MU and the scales of `n` GRADIENT records, all that the dot products need; `careful` as for `affineOf`. */
export function dotsOf(record: usize, plane: usize, mean: usize, rstd: usize, n: usize, careful: usize): void {
  const one = f32x4.splat(1);
  for (let c: usize = 0; c < n; c += 4) {
    v128.store(record + GRADIENT.MU * plane, demote(v128.load(mean), v128.load(mean, 16)));
    v128.store(record + GRADIENT.SCALE * plane, one);
    v128.store(record + GRADIENT.DY_SCALE * plane, one);
    v128.store(record + GRADIENT.OUT * plane, one);
    let flag = false;
    const r = demote(v128.load(rstd), v128.load(rstd, 16));
    if (!i32x4.all_true(v128.and(f32x4.gt(r, f32x4.splat(f32(FLAT))), f32x4.lt(r, f32x4.splat(f32(STEEP)))))) {
      for (let lane: usize = 0; lane < 4; lane++) {
        const m = load<f64>(mean + (lane << 3));
        const scale = scaleOf(m, load<f64>(rstd + (lane << 3)));
        if (scale != 1) {
          set(record + GRADIENT.SCALE * plane, lane, scale);
          set(record + GRADIENT.MU * plane, lane, m * scale);
          flag = true;
        }
      }
    }
    mark(careful, c, flag);
    record += 16;
    mean += 32;
    rstd += 32;
  }
}

/**
 * Completes `n` GRADIENT records after `dotsOf`: `dx = rstd * (gamma * dy - sum1 / count - xhat * sum2 / count)`
 * with the sums (float64) of `gamma * dy` and `gamma * dy * xhat`; with `frozen` statistics, `rstd * gamma * dy`. Statistics about
 * 0 (`rms`) do not move with the mean: `sum1` is left out.
 * `careful` as for `affineOf`.
 */
export function gradientOf(
  record: usize, plane: usize, mean: usize, rstd: usize, gamma: usize, sum1: usize, sum2: usize, count: f64, frozen: bool,
  rms: bool, n: usize, careful: usize,
): void {
  const single = count == 1 && !frozen && !rms;
  const inverse = -1 / count;
  const flat = f64x2.splat(FLAT);
  const steep = f64x2.splat(STEEP);
  for (let c: usize = 0; c < n; c += 2) {
    const r = v128.load(rstd);
    const g = gamma ? f64x2.promote_low_f32x4(v128.load64_zero(gamma)) : f64x2.splat(1);
    const mu = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.MU * plane));
    let p = f64x2.mul(r, g);
    let shift = f64x2.splat(0);
    let slope = f64x2.splat(0);
    if (!frozen) {
      shift = rms ? shift : f64x2.mul(f64x2.splat(inverse), v128.load(sum1));
      slope = f64x2.mul(f64x2.splat(inverse), v128.load(sum2));
    }
    let q = f64x2.mul(f64x2.mul(r, r), slope);
    const muLow = f64x2.sub(v128.load(mean), mu);
    let level = f64x2.sub(f64x2.mul(r, shift), f64x2.mul(q, muLow));
    const size = f64x2.pmax(f64x2.abs(shift), f64x2.abs(slope));
    const calm = v128.and(
      v128.and(inside(r, flat, steep), inside(f64x2.abs(p), f64x2.splat(SMALL), f64x2.splat(LARGE))),
      v128.or(inside(size, f64x2.splat(LEAST_DY), f64x2.splat(MOST_DY)), f64x2.eq(size, f64x2.splat(0))),
    );
    // A single value is its own mean: nothing of its gradient is left, to the last bit.
    if (single) p = q = level = f64x2.splat(0);
    v128.store64_lane(record + GRADIENT.P * plane, f32x4.demote_f64x2_zero(p), 0);
    v128.store64_lane(record + GRADIENT.Q * plane, f32x4.demote_f64x2_zero(q), 0);
    v128.store64_lane(record + GRADIENT.R * plane, f32x4.demote_f64x2_zero(level), 0);
    let flag = false;
    if (!single && !i64x2.all_true(calm)) {
      for (let lane: usize = 0; lane < 2; lane++) {
        if (
          wideGradient(
            record, plane, lane, load<f64>(mean + (lane << 3)), load<f64>(rstd + (lane << 3)),
            gamma ? f64(load<f32>(gamma + (lane << 2))) : 1,
            frozen || rms ? 0 : inverse * load<f64>(sum1 + (lane << 3)), frozen ? 0 : inverse * load<f64>(sum2 + (lane << 3)),
          )
        ) flag = true;
      }
    }
    mark(careful, c, flag);
    record += 8;
    mean += 16;
    rstd += 16;
    sum1 += 16;
    sum2 += 16;
    if (gamma) gamma += 8;
  }
}

/** One lane again, with scales, if it is finite and out of range. */
function wideGradient(record: usize, plane: usize, lane: usize, mean: f64, rstd: f64, gamma: f64, shift: f64, slope: f64): bool {
  const p = gamma * rstd;
  if (!finite(mean) || !finite(p) || !finite(rstd) || rstd == 0 || !finite(shift) || !finite(slope)) return false;
  const size = max(abs(shift), abs(slope));
  const dyScale = gradientRange(size);
  const scale = f64(load<f32>(record + GRADIENT.SCALE * plane + (lane << 2)));
  if (scale == 1 && dyScale == 1 && (p == 0 || (abs(p) >= SMALL && abs(p) <= LARGE))) return false;
  const top = max(abs(p) / dyScale, max(abs(rstd * shift), abs(rstd * slope)));
  const out = top == 0 ? 1 : power(clamp(exponent(top), -126, 127));
  const mu = f64(load<f32>(record + GRADIENT.MU * plane + (lane << 2)));
  const q = rstd * slope * (rstd / scale);
  set(record + GRADIENT.DY_SCALE * plane, lane, dyScale);
  set(record + GRADIENT.OUT * plane, lane, out);
  set(record + GRADIENT.P * plane, lane, p / dyScale / out);
  set(record + GRADIENT.Q * plane, lane, q / out);
  set(record + GRADIENT.R * plane, lane, (rstd * shift - q * (mean * scale - mu)) / out);
  return true;
}
