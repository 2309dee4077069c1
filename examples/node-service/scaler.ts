// The statistics of all rows that ever came, and what standardizing by them is.
import { type Moments, mergeMoments, moments } from "wasm-norm/functional";

export type { Moments };

export const NONE = (features: number): Moments => ({
  count: 0,
  mean: new Float64Array(features),
  m2: new Float64Array(features),
});

/** The statistics with the rows of `x` added. */
export function add(to: Moments, x: Float32Array): Moments {
  const features = to.mean.length;
  return x.length === 0 ? to : mergeMoments(to, moments(x, [x.length / features, features], { axes: [0] }));
}

export const merge = (all: readonly Moments[], features: number): Moments =>
  all.reduce(mergeMoments, NONE(features));

/** Biased, as scikit-learn's. */
export const varianceOf = ({ count, m2 }: Moments): Float64Array => m2.map((value) => value / count);

/** `(x - mean) / sigma`, rounded once; a column without a deviation gives 0. */
export function transform(of: Moments, x: Float32Array): Float32Array {
  const features = of.mean.length;
  const sigma = varianceOf(of).map((variance) => Math.sqrt(variance) || 1);
  return x.map((value, i) => (value - of.mean[i % features]!) / sigma[i % features]!);
}

export interface SavedMoments {
  count: number;
  mean: number[];
  m2: number[];
}

/** JSON keeps float64 exactly. */
export const toJSON = ({ count, mean, m2 }: Moments): SavedMoments => ({
  count,
  mean: [...mean],
  m2: [...m2],
});

/** @throws TypeError, RangeError unless these are statistics of so many features: numbers, no words for them */
export function fromJSON(saved: unknown, features: number): Moments {
  const { count, mean, m2 } = (saved ?? {}) as Partial<SavedMoments>;
  if (!Number.isSafeInteger(count) || count! < 0) throw new TypeError(`count is no whole number: ${count}`);
  for (const [name, values] of Object.entries({ mean, m2 })) {
    if (!Array.isArray(values)) throw new TypeError(`${name} is no array`);
    if (values.length !== features)
      throw new RangeError(`${name} has ${values.length} values, not ${features}`);
    const odd = values.find((value) => !Number.isFinite(value) || (name === "m2" && value < 0));
    if (odd !== undefined) throw new RangeError(`${name} holds ${JSON.stringify(odd)}`);
  }
  return { count: count!, mean: Float64Array.from(mean!), m2: Float64Array.from(m2!) };
}
