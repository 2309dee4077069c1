/** The exports of the WebAssembly module: the TypeScript side of assembly/index.ts. All sizes are counts, all addresses bytes. */
export interface Kernels {
  /** The version of this interface; a binary with another one is refused. */
  ABI: WebAssembly.Global;
  heapBase(): number;
  columnsWork(columns: number): number;
  columnsForward(
    steps: number,
    x: number,
    y: number,
    outer: number,
    rows: number,
    groups: number,
    width: number,
    segments: number,
    segmentCount: number,
    count: number,
    mean: number,
    variance: number,
    rstd: number,
    eps: number,
    gamma: number,
    beta: number,
    residual: number,
    bits: number,
    work: number,
  ): void;
  columnsBackward(
    steps: number,
    x: number,
    dy: number,
    dx: number,
    outer: number,
    rows: number,
    groups: number,
    width: number,
    segments: number,
    segmentCount: number,
    count: number,
    mean: number,
    rstd: number,
    gamma: number,
    sum1: number,
    sum2: number,
    dgamma: number,
    dbeta: number,
    dresidual: number,
    bits: number,
    work: number,
  ): void;
  promote(from: number, to: number, n: number): void;
  updateRunning(
    mean: number,
    variance: number,
    n: number,
    momentum: number,
    correction: number,
    runningMean: number,
    runningVar: number,
  ): number;
}

/** The value of the module's `ABI` that this facade speaks. */
export const ABI = 1;

/** Every export the facade relies on; a test compares it with the module's own list. */
export const EXPORTS = [
  "ABI",
  "columnsBackward",
  "columnsForward",
  "columnsWork",
  "heapBase",
  "memory",
  "promote",
  "updateRunning",
] as const;
