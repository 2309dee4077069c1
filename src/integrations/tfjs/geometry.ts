/** How the layers' axes cut a tensor for the kernels. */
import { sizeOf } from "../../arrays.js";
import type { Geometry } from "../../engine/geometry.js";

/** Batch norm: a statistic for each place of one axis. */
export function ofBatch(shape: readonly number[], axis: number): Geometry {
  const rows = sizeOf(shape.slice(0, axis));
  const groups = shape[axis]!;
  const length = sizeOf(shape.slice(axis + 1));
  // One channel is one run, however its values lie.
  if (groups === 1) return { outer: 1, rows: 1, groups, width: 1, length: rows * length, perElement: false };
  return { outer: 1, rows, groups, width: 1, length, perElement: false };
}

/** Layer norm, and RMS norm (`rms`): a statistic for each example of the axes before `lead`. */
export const ofLayer = (shape: readonly number[], lead: number, rms: boolean): Geometry => ({
  outer: sizeOf(shape.slice(0, lead)),
  rows: 1,
  groups: 1,
  width: 1,
  length: sizeOf(shape.slice(lead)),
  perElement: true,
  rms,
});

/** Group norm: a statistic for each group of channels of each example. `axis` is 1 or the last. */
export function ofGroup(shape: readonly number[], axis: number, groups: number): Geometry {
  const outer = shape[0]!;
  const width = shape[axis]! / groups;
  const length = sizeOf(shape.slice(axis + 1));
  const rows = sizeOf(shape.slice(1, axis));
  return { outer, rows, groups, width, length, perElement: false };
}

/** An axis counted from the front. */
export const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);
