/**
 * The numerics contract: how far float32 results may stand from the float64 reference, in units of u.
 * Each check goes over a whole array and reports the worst place; nothing here depends on a test framework, so
 * that the benchmark suite reports its accuracy by the same rule.
 */
import type { Backward, Forward, Geometry, Numbers, Statistics } from "./reference.js";

/** The distance from 1 to the next float32. */
export const u = 2 ** -23;
/** The smallest step of float32: what rounding costs where its numbers are subnormal. */
const smallest = 2 ** -149;

export interface Verdict {
  readonly what: string;
  /** The worst error, in units of u times the scale that the contract names; Infinity for a wrong NaN. */
  readonly units: number;
  /** How many such units the contract allows. */
  readonly limit: number;
  readonly index: number;
  readonly got: number;
  readonly want: number;
  readonly holds: boolean;
}

interface Rule {
  readonly what: string;
  readonly limit: number;
  /** What one unit of u is multiplied with, at each index. */
  readonly scale: (index: number) => number;
  /** Units in the last place of the result itself that are allowed on top, for its last rounding. */
  readonly rounding?: number;
}

/** Compares float32 results with the reference, each within `limit` * u * scale. */
export function compare(got: Numbers, want: Numbers, { what, limit, scale, rounding = 0 }: Rule): Verdict {
  let worst: Verdict = { what, units: 0, limit, index: -1, got: 0, want: 0, holds: true };
  if (got.length !== want.length) {
    return { ...worst, units: Infinity, got: got.length, want: want.length, holds: false };
  }
  for (let index = 0; index < want.length; index++) {
    const units = unitsOff(got[index]!, want[index]!, scale(index), rounding);
    if (units > worst.units) {
      worst = { what, units, limit, index, got: got[index]!, want: want[index]!, holds: units <= limit };
    }
  }
  return worst;
}

function unitsOff(got: number, want: number, scale: number, rounding: number): number {
  if (Number.isNaN(want)) return Number.isNaN(got) ? 0 : Infinity;
  // a result too large for float32 becomes the infinity of its sign
  if (got === want || got === Math.fround(want)) return 0;
  if (!Number.isFinite(got) || !Number.isFinite(want)) return Infinity;
  const error = Math.abs(got - want) - (rounding * u * Math.abs(want) + smallest);
  return error <= 0 ? 0 : error / (u * scale);
}

/** Throws an error that names the worst place, where the contract does not hold. */
export function expectHolds(verdict: Verdict, context: string): void {
  if (verdict.holds) return;
  const { what, units, limit, index, got, want } = verdict;
  const place =
    index < 0 ? `length ${got} instead of ${want}` : `${what}[${index}] is ${got} instead of ${want}`;
  throw new Error(`${context}: ${place}, off by ${units.toPrecision(4)} u, allowed ${limit} u`);
}

/** |y - ref| <= 4u * |gamma| * max(1, |xhat|), and half a unit of |y| for the last rounding. */
export function yVerdict(
  y: Numbers,
  { y: want, xhat }: Forward,
  { parameter }: Geometry,
  gamma?: Numbers | null,
): Verdict {
  const scale = (i: number) => Math.abs(gamma ? gamma[parameter[i]!]! : 1) * Math.max(1, Math.abs(xhat[i]!));
  return compare(y, want, { what: "y", limit: 4, scale, rounding: 0.5 });
}

/** |dx - ref| <= 4u * rstd * max |gamma * dy| of its group, times max(1, |xhat|). */
export function dxVerdict(
  dx: Numbers,
  x: Numbers,
  { dx: want, largest }: Backward,
  { group }: Geometry,
  { mean, rstd }: Statistics,
): Verdict {
  const scale = (i: number) => {
    const g = group[i]!;
    return rstd[g]! * largest[g]! * Math.max(1, Math.abs((x[i]! - mean[g]!) * rstd[g]!));
  };
  return compare(dx, want, { what: "dx", limit: 4, scale });
}

/** dgamma within 4u of the sum of its terms' sizes. */
export function dgammaVerdict(dgamma: Numbers, { dgamma: want, dgammaSize }: Backward): Verdict {
  return compare(dgamma, want, { what: "dgamma", limit: 4, scale: (p) => dgammaSize[p]! });
}

/** dbeta within 4u of the sum of its terms' sizes. */
export function dbetaVerdict(dbeta: Numbers, { dbeta: want, dbetaSize }: Backward): Verdict {
  return compare(dbeta, want, { what: "dbeta", limit: 4, scale: (p) => dbetaSize[p]! });
}

/** The mean within 2u of max(|mean|, sigma). */
export function meanVerdict(mean: Numbers, { mean: want, variance }: Statistics): Verdict {
  const scale = (g: number) => Math.max(Math.abs(want[g]!), Math.sqrt(variance[g]!));
  return compare(mean, want, { what: "mean", limit: 2, scale });
}

/**
 * rstd within 2u relative, seen in the variance it comes from: rstd = (variance + eps) ^ -1/2, so 4u of
 * (variance + eps) there; and half a unit for storing the variance as float32.
 */
export function varianceVerdict(variance: Numbers, { variance: want }: Statistics, eps: number): Verdict {
  return compare(variance, want, { what: "variance", limit: 4, scale: (g) => want[g]! + eps, rounding: 0.5 });
}

/** y of a forward pass, to the contract. */
export function expectForward(
  y: Numbers,
  want: Forward,
  geometry: Geometry,
  gamma: Numbers | null | undefined,
  context: string,
): void {
  expectHolds(yVerdict(y, want, geometry, gamma), context);
}

export interface Gradients {
  readonly dx: Numbers;
  readonly dgamma?: Numbers | null | undefined;
  readonly dbeta?: Numbers | null | undefined;
}

/** dx of a backward pass, and dgamma and dbeta where they are given, to the contract. */
export function expectBackward(
  { dx, dgamma, dbeta }: Gradients,
  x: Numbers,
  want: Backward,
  geometry: Geometry,
  statistics: Statistics,
  context: string,
): void {
  expectHolds(dxVerdict(dx, x, want, geometry, statistics), context);
  if (dgamma) expectHolds(dgammaVerdict(dgamma, want), context);
  if (dbeta) expectHolds(dbetaVerdict(dbeta, want), context);
}

/** Mean and (biased) variance, to the contract. */
export function expectStatistics(
  { mean, variance }: { mean: Numbers; variance: Numbers },
  want: Statistics,
  eps: number,
  context: string,
): void {
  expectHolds(meanVerdict(mean, want), context);
  expectHolds(varianceVerdict(variance, want, eps), context);
}

/** @throws Error where a value is further from the expected one than it may be */
export function within(
  what: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: (i: number) => number,
): void {
  if (got.length !== want.length) throw new Error(`${what}: ${got.length} values instead of ${want.length}`);
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!);
    if (!(error <= bound(i) + 2 ** -148))
      throw new Error(
        `${what}[${i}]: ${got[i]} instead of ${want[i]}, off by ${error / bound(i)} of what is allowed`,
      );
  }
}
