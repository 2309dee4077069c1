/** Axes that stand in an order that no walk takes are brought to one that some walk takes, and back. */
import { sizeOf } from "../arrays.js";

/** An array's shape, and its axes in the order that they are walked in. */
export interface Order {
  readonly shape: readonly number[];
  readonly axes: readonly number[];
}

/** The order of those axes alone that `taken` says; undefined where it is their own. */
export function orderOf(
  shape: readonly number[],
  order: readonly number[] | undefined,
  taken: (axis: number) => boolean,
): Order | undefined {
  const axes = order?.filter(taken);
  if (!axes || axes.every((axis, i) => i === 0 || axis > axes[i - 1]!)) return undefined;
  const own = [...axes].sort((a, b) => a - b);
  return { shape: own.map((axis) => shape[axis]!), axes: axes.map((axis) => own.indexOf(axis)) };
}

/** Fills `to` with the values of `from` in the order that is walked; with `back`, from there into their own. */
export function permute<T extends Float32Array | Float64Array>(
  from: T,
  to: T,
  { shape, axes }: Order,
  back = false,
): T {
  const extents = axes.map((axis) => shape[axis]!);
  const strides = axes.map((axis) => sizeOf(shape.slice(axis + 1)));
  const index = axes.map(() => 0);
  const n = sizeOf(shape);
  for (let i = 0, at = 0; i < n; i++) {
    if (back) to[at] = from[i]!;
    else to[i] = from[at]!;
    for (let k = axes.length - 1; k >= 0; k--) {
      at += strides[k]!;
      if (++index[k]! < extents[k]!) break;
      at -= strides[k]! * extents[k]!;
      index[k] = 0;
    }
  }
  return to;
}
