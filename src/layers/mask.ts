import { rangeError, read, typeError } from "../errors.js";

/** Rows that take part in the statistics: [from, to) pairs, and how many rows they hold. */
export interface Segments {
  pairs: Uint32Array;
  rows: number;
}

/**
 * Reads a mask of `n` rows: nonzero or true where the row counts (Keras's sense), 0 or false for padding. No segment
 * crosses a multiple of `length`, the positions of an example. @throws TypeError, RangeError
 */
export function readMask(who: string, mask: unknown, n: number, length: number): Segments {
  const flags = read(who, "mask", () =>
    mask instanceof Uint8Array ? mask.slice() : Array.isArray(mask) ? Array.from(mask as unknown[]) : null,
  );
  if (!flags || (Array.isArray(flags) && flags.some((flag) => typeof flag !== "boolean"))) {
    throw typeError(who, "mask to be a Uint8Array or an array of booleans", mask);
  }
  if (flags.length !== n) {
    throw rangeError(who, `mask to have a value for each of ${n} rows`, flags.length);
  }
  const pairs: number[] = [];
  let rows = 0;
  for (let at = 0; at < n; at++) {
    if (!flags[at]) continue;
    if (pairs.at(-1) === at && at % length !== 0) pairs[pairs.length - 1] = at + 1;
    else pairs.push(at, at + 1);
    rows++;
  }
  return { pairs: Uint32Array.from(pairs), rows };
}
