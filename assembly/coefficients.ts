/**
 * From statistics (float64) to the float32 coefficients that the kernels apply, four groups at a time.
 *
 * The mean is kept as a pair, `mu + muLow`, since rounding it to float32 costs |mu| / sigma units in y. Where the low
 * half can go into `b` without being felt, or is below half a unit itself, it goes there and saves a subtraction for
 * each value; a vector where it cannot, or which needs scales, is `careful` and takes the `...Lanes` kernels. Either
 * way a lane's result is the same to the bit, whatever its neighbours hold: a scale of 1 and a low half of 0 change
 * nothing.
 */
import { demote, high, low } from "./simd/lanes";

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

/** Coefficients outside of `SMALL` to `LARGE` take scales: products with them could leave float32's range. */
// @ts-ignore: decorator
@inline const LARGE: f64 = 1.2676506002282294e30; // 2^100
// @ts-ignore: decorator
@inline const SMALL: f64 = 7.888609052210118e-31; // 2^-100
/** Spreads (1 / rstd) beyond these make `dy * (x - mu)` or its coefficient leave the range for ordinary dy. */
// @ts-ignore: decorator
@inline const STEEP: f64 = 1048576.0; // 2^20
// @ts-ignore: decorator
@inline const FLAT: f64 = 9.5367431640625e-7; // 2^-20
/** Gradients whose mean size lies beyond these are scaled. */
// @ts-ignore: decorator
@inline const LOUD: f64 = 1.2089258196146292e24; // 2^80
// @ts-ignore: decorator
@inline const FAINT: f64 = 8.271806125530277e-25; // 2^-80

/** The exponent of a finite, nonzero float64; -1023 for zero. */
export function exponent(x: f64): i32 {
  return (i32(reinterpret<u64>(x) >> 52) & 0x7ff) - 1023;
}

/** `2^e` in float64, for e from -1022 to 1023. */
export function power(e: i32): f64 {
  return reinterpret<f64>(u64(e + 1023) << 52);
}

function clamp(e: i32, least: i32, most: i32): i32 {
  return min(max(e, least), most);
}

// @ts-ignore: decorator
@inline function finite(x: f64): bool {
  return abs(x) < Infinity;
}

/** The power of two that brings a group's spread near 1, as far as its mean stays in range. */
export function scaleOf(mean: f64, rstd: f64): f64 {
  if (!finite(mean) || !finite(rstd) || rstd == 0) return 1;
  if (rstd >= FLAT && rstd <= STEEP) return 1;
  return power(clamp(exponent(rstd), -128, min(100, 110 - exponent(mean))));
}

// @ts-ignore: decorator
@inline function set(at: usize, lane: usize, value: f64): void {
  store<f32>(at + (lane << 2), f32(value));
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

/** Notes at `careful`, a byte for every sixteen groups, whether four of them are. */
// @ts-ignore: decorator
@inline function mark(careful: usize, c: usize, flag: bool): void {
  const at = careful + (c >> 4);
  store<u8>(at, c & 15 ? load<u8>(at) | u8(flag) : u8(flag));
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

// @ts-ignore: decorator
@inline function inside(x: v128, least: v128, most: v128): v128 {
  return v128.and(f64x2.ge(x, least), f64x2.le(x, most));
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
      v128.or(inside(size, f64x2.splat(FAINT), f64x2.splat(LOUD)), f64x2.eq(size, f64x2.splat(0))),
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

/** What brings a gradient of mean size `size` into range. */
export function gradientRange(size: f64): f64 {
  if (size > LOUD) return power(-min(126, exponent(size)));
  return size == 0 || size >= FAINT ? 1 : power(64);
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

/** What x is multiplied by beside dy's 2^-64, where their products are too large (2^-20). */
export const LESS: f32 = 9.5367431640625e-7;

/** Mean size of `dy * (x - mu)` below which such products may have vanished in float32 (2^-110). */
export const FAINT_DOT: f64 = 7.703719777548943e-34;

/**
 * The power of two by which dy is to be multiplied before it is summed again, where the sums of `count` terms left the
 * range or their terms may have vanished below it; 1 where they may stand.
 */
export function gradientScale(sumDy: f64, sumDyD: f64, count: f64): f64 {
  const size = abs(sumDy) + abs(sumDyD);
  if (!(size < Infinity)) return power(-64);
  return abs(sumDyD) < count * FAINT_DOT ? power(64) : 1;
}
