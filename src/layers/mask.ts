import { isUint8Array, lengthOf } from "../arrays.js";
import { rangeError, read, typeError } from "../errors.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";

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

/**
 * Copies a mask: nonzero or true where the row counts (Keras's sense), 0 or false for padding. No more of it than `most`,
 * which no mask that fits exceeds, so that a lying length costs nothing. @throws TypeError
 */
export function readFlags(who: string, mask: unknown, most: number): Flags {
  const flags = read(who, "mask", () => {
    if (isUint8Array(mask))
      return { length: lengthOf(mask), values: new Uint8Array(lengthOf(mask) > 0 ? mask : []) };
    if (!Array.isArray(mask)) return null;
    const { length } = mask;
    return { length, values: Array.from({ length: Math.min(length, most) }, (_, i) => mask[i] as unknown) };
  });
  if (!flags || (Array.isArray(flags.values) && flags.values.some((flag) => typeof flag !== "boolean"))) {
    throw typeError(who, "mask to be a Uint8Array or an array of booleans", mask);
  }
  return flags;
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
