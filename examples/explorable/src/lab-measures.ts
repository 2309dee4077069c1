// What the laboratory measures, the same for every normalization.
import type { Groups } from "./lab-norms.ts";

/** Shares of a gradient's energy; their sum is 1. */
export interface Shares {
  /** Along the mean of its group, and along its normalized values: both stop at the layer. */
  mean: number;
  xhat: number;
  /** Goes on to h. */
  rest: number;
}

/**
 * Where the energy of `g`, the gradient at the normalized values, lies: in each group of h, whose statistics are shared,
 * the part along the constant and the part along h about its mean. Without centring the constant passes.
 */
export function sharesOf(h: Float32Array, g: Float32Array, { centred, members }: Groups): Shares {
  let [energy, mean, xhat] = [0, 0, 0];
  for (const places of members) {
    const count = places.length;
    let [sumG, sumH] = [0, 0];
    for (const at of places) {
      sumG += g[at]!;
      sumH += h[at]!;
    }
    const center = centred ? sumH / count : 0;
    let [gh, hh] = [0, 0];
    for (const at of places) {
      const own = h[at]! - center;
      energy += g[at]! ** 2;
      gh += g[at]! * own;
      hh += own * own;
    }
    if (centred) mean += sumG ** 2 / count;
    if (hh > 0) xhat += gh ** 2 / hh;
  }
  if (energy === 0) return { mean: 0, xhat: 0, rest: 1 };
  return { mean: mean / energy, xhat: xhat / energy, rest: Math.max(0, 1 - (mean + xhat) / energy) };
}

/** Mean and standard deviation (`sqrt(var + 1e-5)`) of every unit of [rows, units]. */
export function unitStatistics(h: Float32Array, units: number): { mean: Float64Array; sigma: Float64Array } {
  const rows = h.length / units;
  const mean = new Float64Array(units);
  const sigma = new Float64Array(units);
  for (let i = 0; i < h.length; i++) mean[i % units]! += h[i]! / rows;
  for (let i = 0; i < h.length; i++) sigma[i % units]! += (h[i]! - mean[i % units]!) ** 2 / rows;
  return { mean, sigma: sigma.map((variance) => Math.sqrt(variance + 1e-5)) };
}

/**
 * How far a layer's output y is from its input h: mean over units and rows of `((y - h) / sigma)^2`, sigma each unit's
 * over all rows. For batch normalization its root is `identityGap().rms`.
 */
export function squaredGap(h: Float32Array, y: Float32Array, units: number): number {
  const { sigma } = unitStatistics(h, units);
  let sum = 0;
  for (let i = 0; i < h.length; i++) sum += ((y[i]! - h[i]!) / sigma[i % units]!) ** 2;
  return sum / h.length;
}

/**
 * gamma and beta with which `gamma * xhat + beta` comes nearest to h, unit by unit (least squares). For batch
 * normalization that is the undoing itself; where each example has its own statistics, nothing comes nearer.
 */
export function nearest(
  h: Float32Array,
  xhat: Float32Array,
  units: number,
  shifted: boolean,
): { gamma: Float32Array; beta: Float32Array } {
  const zeros = new Float64Array(units);
  const from = shifted ? unitStatistics(h, units).mean : zeros;
  const own = shifted ? unitStatistics(xhat, units).mean : zeros;
  const [product, square] = [new Float64Array(units), new Float64Array(units)];
  for (let i = 0; i < h.length; i++) {
    const c = i % units;
    product[c]! += (xhat[i]! - own[c]!) * (h[i]! - from[c]!);
    square[c]! += (xhat[i]! - own[c]!) ** 2;
  }
  const gamma = Float32Array.from(product, (value, c) => (square[c]! > 0 ? value / square[c]! : 1));
  return { gamma, beta: Float32Array.from(from, (mean, c) => mean - gamma[c]! * own[c]!) };
}
