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

/**
 * Reads a shape as [outer, rows, groups, width, length]: neighbouring axes of one kind (reduced or kept, with
 * parameters or without) become one, in this order of kinds.
 */
export function cut(who: string, shape: readonly number[], reduced: boolean[], own: boolean[]): Geometry {
  const runs: { kind: string; extent: number }[] = [];
  shape.forEach((extent, axis) => {
    if (extent === 1) return;
    const kind = (reduced[axis] ? "r" : "k") + (own[axis] ? "p" : "");
    if (runs.at(-1)?.kind === kind) runs.at(-1)!.extent *= extent;
    else runs.push({ kind, extent });
  });
  const word = ` ${runs.map(({ kind }) => kind).join(" ")}`;
  // A reduction between two kept parts is over rows; one at the end over the length of a run.
  const match =
    /^( k)?( r)?( kp)?( rp)?( r)?$/.exec(word === " " ? "" : word) ??
    (word.includes("p") ? null : /^( k)?( r)?( k)?( r)?$/.exec(word));
  if (!match) {
    throw rangeError(who, "axes that leave the shape as [kept, reduced, kept, reduced] at most", [...shape]);
  }
  const extents = runs.map(({ extent }) => extent);
  for (const [what, kind] of [
    ["statistics", "k"],
    ["values of gamma", "p"],
  ] as const) {
    const n = runs.reduce((size, run) => (run.kind.includes(kind) ? size * run.extent : size), 1);
    if (n > MOST_GROUPS) throw rangeError(who, `at most ${MOST_GROUPS} ${what}`, n);
  }
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
