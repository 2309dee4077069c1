/**
 * `exp`, `erf` and `tanh` of four lanes, and what activations need of them. All of it stands on `e^x` for x <= 0, which cannot
 * overflow, times 2^64, so that what is multiplied into it is rounded only once, where the result itself is subnormal.
 *
 * Worst errors without fused multiply-add, in units of u = 2^-23 of the value, at every float32 of where the value is neither x nor
 * settled (`STRIDE=1 npx tsx test/simd/sweep.ts exp`), and at which x:
 *
 *     exp, x <= 0   0.68   -5.1969142
 *     erf           1.80    0.8006433
 *     tanh          1.26    0.63558316
 *
 * Coefficients are minimax polynomials by Remez' algorithm.
 */
import { madd } from "./lanes";

/** 1.5 * 2^23: a float32 near it has a unit in the last place of 1, so that adding it rounds to an integer in its low bits. */
// @ts-ignore: decorator
@inline const ROUND: f32 = 12582912;
/** 2^-64. */
// @ts-ignore: decorator
@inline export const UNSCALE: f32 = 5.421010862427522e-20;

// @ts-ignore: decorator
@inline function s(x: f32): v128 {
  return f32x4.splat(x);
}

/** `e^x * 2^64`, for -120 <= x <= 40. */
// @ts-ignore: decorator
@inline export function scaledExp(x: v128): v128 {
  return scaledExpOf(x, s(0));
}

/** `e^(x + rest) * 2^64` for a rest below 0.06 that x has no digits for. */
// @ts-ignore: decorator
@inline export function scaledExpOf(x: v128, rest: v128): v128 {
  const k = madd(x, s(1.4426950408889634), s(ROUND));
  const n = f32x4.sub(k, s(ROUND));
  // ln 2 in two parts, the first of ten bits: its product with n is exact.
  const r = f32x4.add(madd(n, s(2.12194440054690583e-4), madd(n, s(-0.693359375), x)), rest);
  let p = madd(r, s(0.0013813144760206342), s(0.008369418792426586));
  p = madd(r, p, s(0.04166845604777336));
  p = madd(r, p, s(0.16666515171527863));
  p = madd(r, p, s(0.4999999403953552));
  p = f32x4.add(madd(f32x4.mul(r, r), p, r), s(1));
  return f32x4.mul(p, i32x4.shl(i32x4.add(k, i32x4.splat(127 + 64)), 23));
}

/** `e^x` for x <= 0; NaN for NaN. */
// @ts-ignore: decorator
@inline export function exp(x: v128): v128 {
  return f32x4.mul(scaledExp(f32x4.pmax(x, s(-120))), s(UNSCALE));
}

/** `e^(-a^2 / 2) * 2^64` for 0 <= a <= 15: a float32 square alone would lose the last digits of the result. */
// @ts-ignore: decorator
@inline export function scaledGauss(a: v128): v128 {
  const upper = v128.and(a, i32x4.splat(0xfffff000));
  const rest = f32x4.mul(f32x4.mul(f32x4.sub(a, upper), f32x4.add(a, upper)), s(-0.5));
  return scaledExpOf(f32x4.mul(f32x4.mul(upper, upper), s(-0.5)), rest);
}

/** `erfc(a / sqrt 2) / 2 * e^(a^2 / 2)` for a >= 0: the upper tail of the normal distribution by its density, smooth and never small. */
// @ts-ignore: decorator
@inline export function tailRatio(a: v128): v128 {
  const t = f32x4.div(s(1), madd(a, s(0.25), s(1)));
  return f32x4.mul(t, tailPolynomial(t));
}

/** The same divided by `t = 4 / (a + 4)`. */
// @ts-ignore: decorator
@inline export function tailPolynomial(t: v128): v128 {
  let p = madd(t, s(0.016892412677407265), s(-0.06453719735145569));
  p = madd(t, p, s(0.05587949976325035));
  p = madd(t, p, s(0.022610921412706375));
  p = madd(t, p, s(0.017734652385115623));
  p = madd(t, p, s(0.08385128527879715));
  p = madd(t, p, s(0.07301277667284012));
  p = madd(t, p, s(0.09528786689043045));
  p = madd(t, p, s(0.0995214581489563));
  return madd(t, p, s(0.09974633157253265));
}

/** The hyperbolic tangent: of small values a polynomial, else from `e^(-2 |x|)`. */
// @ts-ignore: decorator
@inline export function tanh(x: v128): v128 {
  const a = f32x4.abs(x);
  const e = exp(f32x4.mul(a, s(-2)));
  const q = f32x4.div(f32x4.sub(s(1), e), f32x4.add(s(1), e));
  const large = v128.bitselect(x, q, i32x4.splat(0x80000000));
  const t = f32x4.mul(x, x);
  let p = madd(t, s(-0.005704985465854406), s(0.02063908614218235));
  p = madd(t, p, s(-0.05373971536755562));
  p = madd(t, p, s(0.13331441581249237));
  p = madd(t, p, s(-0.3333328068256378));
  const small = madd(f32x4.mul(x, t), p, x);
  return v128.bitselect(large, small, f32x4.gt(a, s(0.625)));
}

/** The error function: of small values a polynomial, else from the upper tail. */
// @ts-ignore: decorator
@inline export function erf(x: v128): v128 {
  const a = f32x4.pmin(f32x4.mul(f32x4.abs(x), s(1.4142135623730951)), s(15));
  const tail = f32x4.mul(f32x4.mul(scaledGauss(a), tailRatio(a)), s(UNSCALE));
  const large = v128.bitselect(x, f32x4.sub(s(1), f32x4.add(tail, tail)), i32x4.splat(0x80000000));
  const t = f32x4.mul(x, x);
  let p = madd(t, s(-0.0006566724623553455), s(0.005090672522783279));
  p = madd(t, p, s(-0.0268243495374918));
  p = madd(t, p, s(0.11283211410045624));
  p = madd(t, p, s(-0.37612611055374146));
  // 2 / sqrt(pi) - 1 in float32, so that x itself is not rounded away.
  const small = f32x4.add(madd(f32x4.mul(x, t), p, f32x4.mul(x, s(0.12837916709551256))), x);
  return v128.bitselect(large, small, f32x4.gt(f32x4.abs(x), s(0.8)));
}

/**
 * `e^-x` by the exponent that 1 is to have, 127 for itself, where that fits; NaN where `z` is infinite and asks for it. 1.4 u: a
 * degree less.
 */
// @ts-ignore: decorator
@inline export function scaledExpMinus(x: v128, bias: i32, z: v128, infinite: bool): v128 {
  const k = madd(x, s(-1.4426950408889634), s(ROUND));
  const n = f32x4.sub(k, s(ROUND));
  let r = madd(n, s(-2.12194440054690583e-4), madd(n, s(0.693359375), x));
  if (infinite) r = f32x4.add(r, f32x4.sub(z, z));
  let p = madd(r, s(-0.008312332443892956), s(0.041890256106853485));
  p = madd(r, p, s(-0.16667117178440094));
  p = madd(r, p, s(0.499992311000824));
  p = madd(r, madd(r, p, s(-1)), s(1));
  return f32x4.mul(p, i32x4.shl(i32x4.add(k, i32x4.splat(bias)), 23));
}
