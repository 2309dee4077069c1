/** Which coefficients float32 cannot hold together, and the powers of two that bring them into its range. */

/** Coefficients outside of `SMALL` to `LARGE` take scales: products with them could leave float32's range. */
// @ts-ignore: decorator
@inline export const LARGE: f64 = 1.2676506002282294e30; // 2^100
// @ts-ignore: decorator
@inline export const SMALL: f64 = 7.888609052210118e-31; // 2^-100
/** Spreads (1 / rstd) beyond these make `dy * (x - mu)` or its coefficient leave the range for ordinary dy. */
// @ts-ignore: decorator
@inline export const STEEP: f64 = 1048576.0; // 2^20
// @ts-ignore: decorator
@inline export const FLAT: f64 = 9.5367431640625e-7; // 2^-20
/** Gradients whose mean size lies beyond these are scaled. */
// @ts-ignore: decorator
@inline export const MOST_DY: f64 = 1.2089258196146292e24; // 2^80
// @ts-ignore: decorator
@inline export const LEAST_DY: f64 = 8.271806125530277e-25; // 2^-80

/** The exponent of a finite, nonzero float64; -1023 for zero. */
export function exponent(x: f64): i32 {
  return (i32(reinterpret<u64>(x) >> 52) & 0x7ff) - 1023;
}

/** `2^e` in float64, for e from -1022 to 1023. */
export function power(e: i32): f64 {
  return reinterpret<f64>(u64(e + 1023) << 52);
}

export function clamp(e: i32, least: i32, most: i32): i32 {
  return min(max(e, least), most);
}

// @ts-ignore: decorator
@inline export function finite(x: f64): bool {
  return abs(x) < Infinity;
}

/** The power of two that brings a group's spread near 1, as far as its mean stays in range. */
export function scaleOf(mean: f64, rstd: f64): f64 {
  if (!finite(mean) || !finite(rstd) || rstd == 0) return 1;
  if (rstd >= FLAT && rstd <= STEEP) return 1;
  return power(clamp(exponent(rstd), -128, min(100, 110 - exponent(mean))));
}

// @ts-ignore: decorator
@inline export function set(at: usize, lane: usize, value: f64): void {
  store<f32>(at + (lane << 2), f32(value));
}

/** Notes at `careful`, a byte for every sixteen groups, whether four of them are. */
// @ts-ignore: decorator
@inline export function mark(careful: usize, c: usize, flag: bool): void {
  const at = careful + (c >> 4);
  store<u8>(at, c & 15 ? load<u8>(at) | u8(flag) : u8(flag));
}

/** What brings a gradient of mean size `size` into range. */
export function gradientRange(size: f64): f64 {
  if (size > MOST_DY) return power(-min(126, exponent(size)));
  return size == 0 || size >= LEAST_DY ? 1 : power(64);
}

/** What x is multiplied by beside dy's 2^-64, where their products are too large (2^-20). */
export const LESS: f32 = 9.5367431640625e-7;

/** Mean size of `dy * (x - mu)` below which such products may have vanished in float32 (2^-110). */
export const LEAST_DOT: f64 = 7.703719777548943e-34;

/**
 * The power of two by which dy is to be multiplied before it is summed again, where the sums of `count` terms left the
 * range or their terms may have vanished below it; 1 where they may stand.
 */
export function gradientScale(sumDy: f64, sumDyD: f64, count: f64): f64 {
  const size = abs(sumDy) + abs(sumDyD);
  if (!(size < Infinity)) return power(-64);
  return abs(sumDyD) < count * LEAST_DOT ? power(64) : 1;
}
