import { isFloat32Array, isUint8Array, lengthOf } from "../arrays.js";
import { rangeError, read, typeError } from "../errors.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import type { Geometry } from "./geometry.js";

/** Rows that take part in the statistics: [from, to) pairs, and how many rows they hold. */
export interface Segments {
  pairs: Uint32Array;
  rows: number;
}

/** A mask as it was given, copied. */
export interface Flags {
  length: number;
  values: ArrayLike<unknown>;
}

/** Which rows count: 1 or true where one does (Keras's sense), 0 or false for padding. */
export type Mask = Uint8Array | Float32Array | readonly (boolean | number)[];

const isFlag = (value: unknown): boolean => typeof value === "boolean" || value === 0 || value === 1;

/**
 * Copies a mask. In a Uint8Array all but 0 counts. No more of it is read than `most`, which no mask that fits exceeds, so
 * that a lying length costs nothing.
 *
 * @throws TypeError for another kind; RangeError for another number in a Float32Array or an array
 */
export function readFlags(who: string, mask: unknown, most: number): Flags {
  const flags = read(who, "mask", () => {
    const bytes = isUint8Array(mask);
    const typed = bytes || isFloat32Array(mask);
    if (!typed && !Array.isArray(mask)) return null;
    const length = typed ? lengthOf(mask) : mask.length;
    const values = Array.from({ length: Math.min(length, most) }, (_, i) => mask[i] as unknown);
    return { length, values: bytes ? values.map(Boolean) : values };
  });
  if (!flags) throw typeError(who, "mask to be a Uint8Array, a Float32Array or an array", mask);
  const odd = flags.values.findIndex((flag) => !isFlag(flag));
  if (odd < 0) return flags;
  const error = typeof flags.values[odd] === "number" ? rangeError : typeError;
  throw error(who, `mask[${odd}] to be a boolean, 0 or 1`, flags.values[odd]);
}

/**
 * The segments of a mask of `n` rows. None crosses a multiple of `length`, the positions of an example.
 * @throws RangeError
 */
export function segmentsOf(who: string, flags: Flags, n: number, length: number): Segments {
  if (flags.length !== n) {
    throw rangeError(who, `mask to have a value for each of ${n} rows`, flags.length);
  }
  const pairs: number[] = [];
  let rows = 0;
  for (let at = 0; at < n; at++) {
    if (!flags.values[at]) continue;
    if (pairs.at(-1) === at && at % length !== 0) pairs[pairs.length - 1] = at + 1;
    else pairs.push(at, at + 1);
    rows++;
  }
  return { pairs: Uint32Array.from(pairs), rows };
}

/** Brings segments to linear memory for a call. */
export function placeSegments(held: Runtime, scratch: Scratch, { pairs }: Segments): number {
  const address = scratch.take(4 * pairs.length);
  held.u32.set(pairs, address / 4);
  return address;
}
/** Sets what lies outside of the segments to zero. */
export function clearOthers({ f32 }: Runtime, { pairs }: Segments, g: Geometry, address: number): void {
  // Channels-last the channels of a position lie together: one run, of so many values a position.
  const last = g.perElement || g.length === 1;
  const channels = g.perElement ? g.length : g.groups * g.width;
  const positions = g.perElement ? g.outer : g.outer * g.rows * g.length;
  const [runs, unit, length] = last ? [1, channels, positions * channels] : [channels, 1, g.length];
  let from = 0;
  for (let i = 0; i <= pairs.length; i += 2) {
    const gap = unit * (pairs[i] ?? positions);
    while (from < gap) {
      const row = Math.floor(from / length);
      const to = Math.min(gap, (row + 1) * length);
      for (let c = 0; c < runs; c++) {
        const run = address / 4 + (row * (runs - 1) + c) * length;
        f32.fill(0, run + from, run + to);
      }
      from = to;
    }
    from = unit * pairs[i + 1]!;
  }
}
