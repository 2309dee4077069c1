import { sizeOf } from "../arrays.js";
import { checkInteger, rangeError, read, typeError } from "../errors.js";
import type { Geometry } from "./geometry.js";

/** As many as a layer may have channels. */
const MOST_GROUPS = 2 ** 28;

/** The axes given, as a flag for each axis of the shape. */
export function readAxes(who: string, name: string, value: unknown, rank: number): boolean[] {
  // One more than allowed is enough to see that there are too many: a lying length costs nothing.
  const axes = read(who, name, () =>
    Array.isArray(value)
      ? Array.from({ length: Math.min(value.length, rank + 1) }, (_, i) => value[i] as unknown)
      : null,
  );
  if (!axes) throw typeError(who, `${name} to be an array of axes`, value);
  const flags = new Array<boolean>(rank).fill(false);
  for (const axis of axes) {
    const at = checkInteger(who, `each of ${name}`, axis, -rank, rank - 1);
    if (flags[at < 0 ? at + rank : at]) throw rangeError(who, `${name} without repetition`, axes);
    flags[at < 0 ? at + rank : at] = true;
  }
  return flags;
}

/** A shape as the kernels walk it. */
export interface Cut {
  readonly geometry: Geometry;
  /** The axes in the order that they are walked in; undefined where that is their own. */
  readonly order: readonly number[] | undefined;
}

/** What an axis is: kept or reduced, with parameters or without. */
type Kind = "k" | "r" | "kp" | "rp";

/** The order that some walk takes, whatever the axes are: with gamma and beta, and without. */
const WITH: readonly Kind[] = ["k", "r", "kp", "rp"];
const WITHOUT: readonly Kind[] = ["r", "k"];

/**
 * Reads a shape as [outer, rows, groups, width, length], its axes moved where no walk takes them as they stand.
 * @param own the axes that gamma and beta have a value for; undefined without them
 */
export function cut(
  who: string,
  shape: readonly number[],
  reduced: boolean[],
  own: boolean[] | undefined,
): Cut {
  const kinds = shape.map((_, axis): Kind => `${reduced[axis] ? "r" : "k"}${own?.[axis] ? "p" : ""}`);
  for (const [what, kind] of [
    ["statistics", "k"],
    ["values of gamma", "p"],
  ] as const) {
    const n = sizeOf(shape.filter((_, axis) => kinds[axis]!.includes(kind)));
    if (n > MOST_GROUPS) throw rangeError(who, `at most ${MOST_GROUPS} ${what}`, n);
  }
  const geometry = geometryOf(shape, kinds, own === undefined);
  if (geometry) return { geometry, order: undefined };
  const order = (own ? WITH : WITHOUT).flatMap((kind) =>
    [...shape.keys()].filter((axis) => kinds[axis] === kind),
  );
  const moved = geometryOf(
    order.map((axis) => shape[axis]!),
    order.map((axis) => kinds[axis]!),
    own === undefined,
  );
  return { geometry: moved!, order };
}

/** Neighbouring axes of one kind become one, in an order of kinds that a walk takes; undefined for another order. */
function geometryOf(shape: readonly number[], kinds: readonly Kind[], free: boolean): Geometry | undefined {
  const runs: { kind: Kind; extent: number }[] = [];
  shape.forEach((extent, axis) => {
    if (extent === 1) return;
    const kind = kinds[axis]!;
    if (runs.at(-1)?.kind === kind) runs.at(-1)!.extent *= extent;
    else runs.push({ kind, extent });
  });
  const word = runs.map(({ kind }) => ` ${kind}`).join("");
  // A reduction between two kept parts is over rows; one at the end over the length of a run.
  const match =
    /^( k)?( r)?( kp)?( rp)?( r)?$/.exec(word) ?? (free ? /^( k)?( r)?( k)?( r)?$/.exec(word) : null);
  if (!match) return undefined;
  const extents = runs.map(({ extent }) => extent);
  const take = (part: string | undefined) => (part ? extents.shift()! : 1);
  if (match.length === 5) {
    const [outer, rows, groups, length] = [1, 2, 3, 4].map((i) => take(match[i])) as [
      number,
      number,
      number,
      number,
    ];
    return { outer, rows, groups, width: 1, length, perElement: false };
  }
  const outer = take(match[1]);
  let rows = take(match[2]);
  const groups = take(match[3]);
  const width = take(match[4]);
  let length = take(match[5]);
  if (groups === 1 && width === 1 && length === 1) [rows, length] = [1, rows];
  if (match[4] && rows === 1 && groups === 1 && length === 1) {
    return { outer, rows, groups, width: 1, length: width, perElement: true };
  }
  return { outer, rows, groups, width, length, perElement: false };
}
