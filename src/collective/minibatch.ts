import { isFloat32Array } from "../arrays.js";
import { describe, rangeError, readShape, typeError } from "../errors.js";

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
}

/** Copies an array of the caller's. @throws TypeError unless it is a Float32Array */
export function readValues(who: string, name: string, value: unknown): Float32Array {
  if (!isFloat32Array(value)) throw typeError(who, `${name} to be a Float32Array`, value);
  return Float32Array.from(value);
}

/** Reads x and its shape, which may be left out for rows of `features` values. @throws TypeError, RangeError */
export function readShard(
  who: string,
  value: unknown,
  shape: unknown,
  features: number,
  layout: Layout,
): Shard {
  const x = readValues(who, "x", value);
  if (shape === undefined && x.length % features) {
    throw rangeError(who, `a multiple of ${features} values, or a shape`, x.length);
  }
  const extents = shape === undefined ? [x.length / features, features] : readShape(who, shape);
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
    inner: shape === undefined && size === 0 ? null : extents.slice(1).join(" x "),
  };
}
