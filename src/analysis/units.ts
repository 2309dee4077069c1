// A layer's units in the plane of scale and shift, and which of them are measured at all.
import type { ArrayName, KnownLayer } from "./layers.js";

/** Arrays over all units, and those over the measured ones alone, in the order of `indices`. */
export interface MeasuredUnits {
  scale: Float64Array;
  shift: Float64Array;
  counted: boolean[];
  atLowest: number;
  notFinite: number;
  within: number;
  surely: number;
  possibly: number;
  /** Sum over the measured units of `(scale - 1)^2 + shift^2`. */
  squares: number;
  /** The measured units. */
  indices: Uint32Array;
  gamma: Float64Array;
  beta: Float64Array;
  mean: Float64Array;
  sigma: Float64Array;
}

/** Whether a variance is the lowest level that its quantization has: it may stand for anything down to 0. */
export function isAtLowest({ variance, levels }: KnownLayer, unit: number): boolean {
  const of = levels.variance;
  return of ? variance![unit]! <= of.lowest + of.step / 2 : false;
}

export function measure(layer: KnownLayer, tolerance: number): MeasuredUnits {
  const { units, eps } = layer;
  const at = (key: ArrayName, unit: number) => layer[key]?.[unit] ?? (key === "gamma" ? 1 : 0);
  const scale = new Float64Array(units);
  const shift = new Float64Array(units);
  const counted: boolean[] = [];
  let [atLowest, notFinite, within, surely, possibly, squares] = [0, 0, 0, 0, 0, 0];
  for (let unit = 0; unit < units; unit++) {
    const variance = at("variance", unit);
    const sigma = Math.sqrt(variance + eps);
    const s = (scale[unit] = at("gamma", unit) / sigma);
    const t = (shift[unit] = (at("beta", unit) - at("mean", unit)) / sigma);
    const finite = Number.isFinite(s) && Number.isFinite(t) && Number.isFinite(sigma) && variance >= 0;
    const lowest = finite && isAtLowest(layer, unit);
    counted.push(finite && !lowest);
    if (!finite) notFinite++;
    if (lowest) atLowest++;
    if (!finite || lowest) continue;
    if (Math.abs(s - 1) <= tolerance && Math.abs(t) <= tolerance) within++;
    squares += (s - 1) ** 2 + t ** 2;
    const [nearest, farthest] = reach(layer, unit);
    if (nearest <= tolerance) possibly++;
    if (farthest <= tolerance) surely++;
  }
  const indices = Uint32Array.from(counted.flatMap((is, unit) => (is ? unit : [])));
  const pick = (key: ArrayName) => Float64Array.from(indices, (unit) => at(key, unit));
  return {
    ...{ scale, shift, counted, atLowest, notFinite, within, surely, possibly, squares, indices },
    gamma: pick("gamma"),
    beta: pick("beta"),
    mean: pick("mean"),
    sigma: pick("variance").map((variance) => Math.sqrt(variance + eps)),
  };
}

/**
 * The least and the greatest distance from the undoing, the greater of `|scale - 1|` and `|shift|`, that a unit may
 * have when each of its quantized values may be half a step off.
 */
function reach(layer: KnownLayer, unit: number): [nearest: number, farthest: number] {
  const range = (key: ArrayName, value: number): [number, number] => {
    const half = (layer.levels[key]?.step ?? 0) / 2;
    return [value - half, value + half];
  };
  const [leastVariance, greatestVariance] = range("variance", layer.variance![unit]!);
  const sigma = [leastVariance, greatestVariance].map((v) => Math.sqrt(Math.max(0, v) + layer.eps));
  const gamma = range("gamma", layer.gamma?.[unit] ?? 1);
  const [b0, b1] = range("beta", layer.beta?.[unit] ?? 0);
  const [m0, m1] = range("mean", layer.mean![unit]!);
  // A quotient of intervals has its ends at their ends, as sigma is positive.
  const scale = gamma.flatMap((g) => sigma.map((s) => g / s - 1));
  const shift = [b0 - m1, b1 - m0].flatMap((d) => sigma.map((s) => d / s));
  const from = (ends: number[]): [number, number] => {
    const [low, high] = [Math.min(...ends), Math.max(...ends)];
    return [low <= 0 && high >= 0 ? 0 : Math.min(Math.abs(low), Math.abs(high)), Math.max(-low, high)];
  };
  const [near1, far1] = from(scale);
  const [near2, far2] = from(shift);
  return [Math.max(near1, near2), Math.max(far1, far2)];
}
