import { sizeOf } from "../arrays.js";
import { checkWord, rangeError } from "../errors.js";

/** Where the channels lie: `[..., C]` or `[N, C, ...]`. */
export type Layout = "channels-last" | "channels-first";

export const readLayout = (who: string, value: unknown): Layout =>
  checkWord(who, "layout", value, "channels-last", "channels-first");

/** The values before and after a minibatch's channel axis. @throws RangeError unless it has `channels` there */
export function channelAxis(
  who: string,
  shape: readonly number[],
  channels: number,
  layout: Layout,
): { outer: number; inner: number } {
  if (shape.length < 2) throw rangeError(who, "a shape of rank 2 or more", shape);
  const axis = layout === "channels-last" ? shape.length - 1 : 1;
  if (shape[axis] !== channels)
    throw rangeError(who, `${channels} channels on axis ${axis} (${layout})`, shape);
  return { outer: sizeOf(shape.slice(0, axis)), inner: sizeOf(shape.slice(axis + 1)) };
}

/** The shape [rows, columns] of `size` values. @throws RangeError unless they are whole rows */
export function matrixOf(who: string, size: number, columns: number): number[] {
  if (columns === 0 ? size : size % columns)
    throw rangeError(who, `a multiple of ${columns} values, or a shape`, size);
  return [columns === 0 ? 0 : size / columns, columns];
}
