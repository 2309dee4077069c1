import { isFloat32Array } from "../arrays.js";
import { brandOf } from "../brand.js";
import { describe, rangeError, readShape, typeError } from "../errors.js";
import type { Tensor } from "../tensor.js";

/** Where the channels lie: `[..., C]` or `[N, C, ...]`. */
export type Layout = "channels-last" | "channels-first";

/** One rank's part of a minibatch. */
export interface Shard {
  /** A copy. */
  x: Float32Array;
  shape: number[];
  /** What a statistic is taken over, and where gamma and beta lie. */
  axes: number[];
  parameterAxes: number[];
  /** The extents that all ranks must have in common; null for an empty shard without a shape, which fits any. */
  inner: string | null;
  /** What a Tensor for the results is made with, where x is one. */
  Class: TensorClass | undefined;
}

/** A Tensor's own class: this entry does not load what makes Tensors. */
type TensorClass = new (shape: readonly number[], data: Float32Array) => Tensor;

/** A Tensor of this copy of the package or of another: only what all have in common is used. */
const isTensor = (value: unknown): value is Tensor => brandOf(value) !== undefined;

/** Results in the kind that x, or dy, came in. */
export const likeGiven = (values: Float32Array, { shape }: Shard, Class: TensorClass | undefined) =>
  Class ? new Class(shape, values) : values;

/** What values come in, and the kind that results have then. */
export interface Values {
  /** A copy. */
  values: Float32Array;
  Class: TensorClass | undefined;
}

/** Copies an array or Tensor of the caller's. @throws TypeError for anything else, and for a disposed Tensor */
export function readValues(who: string, name: string, value: unknown): Values {
  if (isTensor(value)) return { values: value.toArray(), Class: value.constructor as TensorClass };
  if (!isFloat32Array(value)) throw typeError(who, `${name} to be a Float32Array or a Tensor`, value);
  return { values: Float32Array.from(value), Class: undefined };
}

/** Reads x and its shape, which may be left out for a Tensor and for rows of `features` values. @throws TypeError, RangeError */
export function readShard(
  who: string,
  value: unknown,
  shape: unknown,
  features: number,
  layout: Layout,
): Shard {
  const { values: x, Class } = readValues(who, "x", value);
  const ownShape = shape ?? (isTensor(value) ? [...value.shape] : undefined);
  if (ownShape === undefined && x.length % features) {
    throw rangeError(who, `a multiple of ${features} values, or a shape`, x.length);
  }
  const extents = ownShape === undefined ? [x.length / features, features] : readShape(who, ownShape);
  if (extents.length < 2) throw rangeError(who, "a shape of rank 2 or more", extents);
  const axis = layout === "channels-last" ? extents.length - 1 : 1;
  if (extents[axis] !== features) {
    throw rangeError(who, `${features} channels on axis ${axis} (${layout})`, extents);
  }
  const size = extents.reduce((product, extent) => product * extent, 1);
  if (size !== x.length) {
    throw rangeError(who, `x to have ${size} values (shape ${describe(extents)})`, x.length);
  }
  return {
    x,
    shape: extents,
    axes: extents.map((_, at) => at).filter((at) => at !== axis),
    parameterAxes: [axis],
    inner: ownShape === undefined && size === 0 ? null : extents.slice(1).join(" x "),
    Class,
  };
}
