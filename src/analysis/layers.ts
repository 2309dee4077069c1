// What is known of a normalization layer in a checkpoint: the input of every report.
import { checkFinite, rangeError, read, typeError } from "../errors.js";

/** What stands before the layer, by the shape of its weights; "unknown" where they were not found. */
export type LayerKind =
  | "depthwise"
  | "expansion"
  | "projection"
  | "pointwise"
  | "convolution"
  | "dense"
  | "unknown";

/** How an array was stored in 8 or 16 bits: its values are `lowest + k * step`. */
export interface Levels {
  /** The value of level 0. */
  lowest: number;
  /** The distance of one level from the next. */
  step: number;
}

/** The arrays of a layer, each of which may be quantized. */
export type ArrayName = "gamma" | "beta" | "mean" | "variance";
export const ARRAYS: readonly ArrayName[] = ["gamma", "beta", "mean", "variance"];

/** A normalization layer as a checkpoint holds it; every array has a value per unit. */
export interface NormLayer {
  /** Names the layer in reports and errors. */
  name: string;
  /** Null: 1 for each unit. */
  gamma: ArrayLike<number> | null;
  /** Null: 0 for each unit. */
  beta: ArrayLike<number> | null;
  /** The running mean; null in a layer that keeps none, such as layer and RMS norm. */
  mean: ArrayLike<number> | null;
  /** The running variance; null where there is no mean. */
  variance: ArrayLike<number> | null;
  /** Default 1e-5. */
  eps?: number | undefined;
  /** Default "unknown". */
  kind?: LayerKind | undefined;
  /** The activation that follows ("relu", "relu6", "linear", ...); null or absent where nothing says. */
  activation?: string | null | undefined;
  /** Minibatches that the running statistics took in; null or absent where nothing says. */
  batches?: number | null | undefined;
  /** For each array that was quantized, its levels. */
  levels?: Partial<Record<ArrayName, Levels | null>> | undefined;
}

/** The same, copied and judged. */
export interface KnownLayer {
  name: string;
  units: number;
  gamma: Float64Array | null;
  beta: Float64Array | null;
  mean: Float64Array | null;
  variance: Float64Array | null;
  eps: number;
  kind: LayerKind;
  activation: string | null;
  batches: number | null;
  levels: Partial<Record<ArrayName, Levels | null>>;
}

export const KINDS: readonly LayerKind[] = [
  "depthwise",
  "expansion",
  "projection",
  "pointwise",
  "convolution",
  "dense",
  "unknown",
];

/**
 * Copies the caller's layers and judges the copies.
 *
 * @throws TypeError, RangeError for what is no list of layers, arrays of unequal length, a variance without a mean
 */
export function readLayers(who: string, layers: unknown): KnownLayer[] {
  const list = read(who, "layers", () => (Array.isArray(layers) ? [...layers] : null));
  if (!list) throw typeError(who, "an array of layers", layers);
  return list.map((layer, i) => readLayer(who, layer, i));
}

function readLayer(who: string, layer: unknown, index: number): KnownLayer {
  if (typeof layer !== "object" || layer === null)
    throw typeError(who, `layer ${index} to be an object`, layer);
  const given = read(who, `layer ${index}`, () => ({ ...(layer as NormLayer) }));
  const name = given.name;
  if (typeof name !== "string") throw typeError(who, `the name of layer ${index} to be a string`, name);
  const arrays = Object.fromEntries(
    ARRAYS.map((key) => [key, readArray(who, `${name}.${key}`, given[key])]),
  ) as Record<ArrayName, Float64Array | null>;
  const units = ARRAYS.map((key) => arrays[key]).find((array) => array !== null)?.length ?? 0;
  for (const key of ARRAYS) {
    const array = arrays[key];
    if (array && array.length !== units)
      throw rangeError(who, `${name}.${key} to have ${units} values`, array.length);
  }
  if ((arrays.mean === null) !== (arrays.variance === null)) {
    throw typeError(who, `${name} to have a mean and a variance or neither`, given.mean ?? given.variance);
  }
  const kind = given.kind ?? "unknown";
  if (!KINDS.includes(kind))
    throw rangeError(who, `the kind of ${name} to be one of ${KINDS.join(", ")}`, kind);
  return {
    name,
    units,
    ...arrays,
    eps: checkFinite(who, `the eps of ${name}`, given.eps ?? 1e-5, 0),
    kind,
    activation: given.activation ?? null,
    batches: given.batches ?? null,
    levels: { ...given.levels },
  };
}

function readArray(who: string, name: string, value: unknown): Float64Array | null {
  if (value === null || value === undefined) return null;
  const isNumbers = Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!isNumbers) throw typeError(who, `${name} to be an array of numbers`, value);
  return read(who, name, () => Float64Array.from(value as ArrayLike<number>));
}
