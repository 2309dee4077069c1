// What one wants to know of normalization layers before debugging the network around them.
import { type KnownLayer, type NormLayer, readLayers } from "./layers.js";
import { isRectified } from "./limits.js";
import { quantile } from "./rank.js";

/** What is wrong or odd in a layer; units are given by their index. */
export interface LayerHealth {
  /** The layer, as its checkpoint names it. */
  name: string;
  /** Values in each of its arrays. */
  units: number;
  /** The output is constant: gamma is 0 (within a millionth of the layer's largest), or the input never varied. */
  dead: number[];
  /** A ReLU follows and `beta + 4 |gamma| < 0`: of a normal input 1 value in 30,000 gets through. */
  silent: number[];
  /** The variance is at most eps: eps, not the input's deviation, sets the scale. */
  atEps: number[];
  /** A parameter or statistic is not finite, or the variance is negative. */
  notFinite: number[];
  /** |gamma| is more than 8 times the layer's median |gamma|, or less than an eighth of it, dead ones aside. */
  outlying: number[];
  /** The statistics are those of a new layer: mean 0 and variance 1 everywhere, or no minibatch was counted. */
  neverUpdated: boolean;
  /** The median |gamma|; null without gamma. About 0 in checkpoints that store gamma - 1 (`zeroCenteredGamma`). */
  medianGamma: number | null;
  /** What folding into the weights before the layer would multiply each unit by; null without statistics. */
  folding: Folding | null;
}

/** `gamma / sqrt(var + eps)` over a layer's units: what folding multiplies the units' weights by. */
export interface Folding {
  /** The least size of the factor, dead units aside. */
  least: number;
  /** The greatest size of the factor. */
  greatest: number;
  /** Their ratio: how much wider the folded weights spread, which counts where one scale quantizes all of them. */
  ratio: number;
  /** The greatest |bias| that folding leaves, `|beta - mean * factor|`. */
  bias: number;
  /** Whether all factors and biases are finite in float32. */
  finite: boolean;
}

/** A factor by which a gamma lies off the median to be outlying. */
const OUTLYING = 8;

/**
 * Dead channels, variances at eps, statistics never updated or not finite, gammas of outlying size, and what folding
 * would give, for each layer. Pure; layers without statistics are judged by gamma and beta alone.
 *
 * @throws TypeError, RangeError for wrong layers
 */
export function healthReport(layers: readonly NormLayer[]): LayerHealth[] {
  return readLayers("healthReport", layers).map(health);
}

function health(layer: KnownLayer): LayerHealth {
  const { name, units, gamma, beta, mean, variance, eps, batches } = layer;
  const where = (is: (unit: number) => boolean) =>
    Array.from({ length: units }, (_, unit) => unit).filter(is);
  const notFinite = where(
    (unit) =>
      [gamma, beta, mean, variance].some((array) => array && !Number.isFinite(array[unit])) ||
      (variance?.[unit] ?? 0) < 0,
  );
  const bad = new Set(notFinite);
  const sizes = gamma?.map(Math.abs).filter(Number.isFinite);
  const largest = sizes?.reduce((a, b) => Math.max(a, b), 0) ?? 0;
  const medianGamma = sizes?.length ? quantile(sizes, 0.5) : null;
  const dead = where(
    (unit) =>
      !bad.has(unit) &&
      ((gamma !== null && Math.abs(gamma[unit]!) <= 1e-6 * largest) || variance?.[unit] === 0),
  );
  const constant = new Set(dead);
  return {
    name,
    units,
    dead,
    silent: isRectified(layer.activation)
      ? where((unit) => (beta?.[unit] ?? 0) + 4 * Math.abs(gamma?.[unit] ?? 1) < 0)
      : [],
    atEps: variance ? where((unit) => variance[unit]! >= 0 && variance[unit]! <= eps) : [],
    notFinite,
    outlying: where((unit) => {
      if (!gamma || !medianGamma || constant.has(unit) || bad.has(unit)) return false;
      const factor = Math.abs(gamma[unit]!) / medianGamma;
      return factor > OUTLYING || factor < 1 / OUTLYING;
    }),
    neverUpdated:
      mean !== null &&
      units > 0 &&
      (batches === 0 || (mean.every((value) => value === 0) && variance!.every((value) => value === 1))),
    medianGamma,
    folding: mean ? folding(layer, constant) : null,
  };
}

function folding({ units, gamma, beta, mean, variance, eps }: KnownLayer, constant: Set<number>): Folding {
  let [least, greatest, bias, finite] = [Number.POSITIVE_INFINITY, 0, 0, true];
  for (let unit = 0; unit < units; unit++) {
    const factor = Math.abs((gamma?.[unit] ?? 1) / Math.sqrt(variance![unit]! + eps));
    const left = Math.abs((beta?.[unit] ?? 0) - mean![unit]! * Math.sign(gamma?.[unit] ?? 1) * factor);
    finite &&= Number.isFinite(Math.fround(factor)) && Number.isFinite(Math.fround(left));
    if (Number.isFinite(left)) bias = Math.max(bias, left);
    if (constant.has(unit) || !Number.isFinite(factor)) continue;
    least = Math.min(least, factor);
    greatest = Math.max(greatest, factor);
  }
  if (least > greatest) least = 0;
  return { least, greatest, ratio: least > 0 ? greatest / least : 0, bias, finite };
}
