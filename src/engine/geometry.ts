/**
 * How a minibatch is cut into groups: it is [outer, rows, groups, width, length], with a statistic for each of
 * outer * groups groups (over rows, width and length), and gamma and beta for each of groups * width channels; or,
 * if `perElement`, for each of `length` positions (then rows = groups = width = 1).
 */
export interface Geometry {
  readonly outer: number;
  readonly rows: number;
  readonly groups: number;
  readonly width: number;
  readonly length: number;
  readonly perElement: boolean;
  /** Statistics about 0 instead of the mean. */
  readonly rms?: boolean;
  /** The minibatch is [examples, length, positions] and is brought to [examples, positions, length]: its examples. */
  readonly turned?: number | undefined;
}

/** How many statistics there are. */
export const statisticsOf = (g: Geometry): number => g.outer * g.groups;
/** How many values gamma and beta have. */
export const parametersOf = (g: Geometry): number => (g.perElement ? g.length : g.groups * g.width);
/** How many values are behind each statistic. */
export const countOf = (g: Geometry): number => g.rows * g.width * g.length;
/** How many values a minibatch has. */
export const valuesOf = (g: Geometry): number => g.outer * g.rows * g.groups * g.width * g.length;

/** Values of a row, as stages take them: a run, or a row of the minibatch. */
export const rowOf = (g: Geometry): number => (g.perElement || g.length > 1 ? g.length : g.groups * g.width);

/** Rows as stages count them. */
export const rowsOf = (g: Geometry): number => valuesOf(g) / (rowOf(g) || 1);

/** Bytes that ReLU's decisions take: one for every four values of a row or run. */
export function bitBytes({ outer, rows, groups, width, length }: Geometry): number {
  const channels = outer * rows * groups * width;
  return length > 1 ? channels * Math.ceil(length / 4) : outer * rows * Math.ceil((groups * width) / 4);
}

/** The walk that suits a geometry, as the kernels number them. */
export const walkOf = (g: Geometry): number => (g.perElement ? 1 : g.length > 1 ? 2 : 0);

/** Room for n values of a vector: kernels read and write whole vectors, eight values at most, and of several examples sixteen more. */
export const room = (n: number, outer = 1): number =>
  outer > 1 ? 16 * Math.ceil(n / 16) + 16 : 8 * Math.ceil(n / 8);
