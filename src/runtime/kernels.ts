/**
 * The exports of the WebAssembly module: the TypeScript side of assembly/index.ts. Addresses are in bytes, sizes are
 * counts of values, and 0 is the address of nothing.
 */

/** How the columns walk is cut; the runs walk has the length of a channel's run beside it. */
type Columns = [outer: number, rows: number, groups: number, width: number];
type Runs = [...Columns, length: number];

/** Rows that count, as [from, to) pairs of uint32, and the values behind each statistic. */
type Share = [segments: number, segmentCount: number, count: number];

type Forward<Cut extends number[]> = (
  ...args: [
    ...[steps: number, x: number, y: number],
    ...Cut,
    ...Share,
    ...[mean: number, variance: number, rstd: number, eps: number],
    ...[gamma: number, beta: number, residual: number, bits: number, work: number],
  ]
) => void;

type Backward<Cut extends number[]> = (
  ...args: [
    ...[steps: number, x: number, dy: number, dx: number],
    ...Cut,
    ...Share,
    ...[mean: number, rstd: number, gamma: number],
    ...[sum1: number, sum2: number, dgamma: number, dbeta: number],
    ...[dresidual: number, bits: number, work: number],
  ]
) => void;

export interface Kernels {
  /** The version of this interface; a binary with another one is refused. */
  ABI: WebAssembly.Global;
  /** 1 in the binary for relaxed SIMD, 0 in the other. */
  RELAXED: WebAssembly.Global;
  heapBase(): number;
  columnsForward: Forward<Columns>;
  columnsBackward: Backward<Columns>;
  runsForward: Forward<Runs>;
  runsBackward: Backward<Runs>;
  rowsForward(
    ...args: [
      ...[steps: number, rms: number, x: number, y: number, rows: number, length: number],
      ...[mean: number, variance: number, rstd: number, eps: number],
      ...[gamma: number, beta: number, bits: number, work: number],
    ]
  ): void;
  rowsBackward(
    ...args: [
      ...[steps: number, rms: number, x: number, dy: number, dx: number, rows: number, length: number],
      ...[mean: number, rstd: number, gamma: number],
      ...[sum1: number, sum2: number, dgamma: number, dbeta: number, bits: number, work: number],
    ]
  ): void;
  /** Returns how many of `n` channels kept their own. */
  blend(
    ...args: [
      ...[n: number, a: number, b: number, fromA: number, fromB: number],
      ...[rest: number, shareA: number, shareB: number, any: number],
    ]
  ): number;
}

/** The value of the module's `ABI` that this facade speaks. */
export const ABI = 1;

/** Every export the facade relies on; a test compares it with the module's own list. */
export const EXPORTS: readonly string[] = [
  "ABI",
  "RELAXED",
  "blend",
  "columnsBackward",
  "columnsForward",
  "heapBase",
  "rowsBackward",
  "rowsForward",
  "runsBackward",
  "runsForward",
];
