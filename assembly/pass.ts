/**
 * The record that a call is made of: the only thing that both sides of the binary interface agree on. TypeScript writes it
 * (src/engine/pass.ts has the same offsets, and a test compares them with `offsetof`), the kernels read it.
 *
 *     0 ┌──────────────┬──────────────┬──────────────┬──────────────┐
 *       │ walk         │ steps        │ activation   │ elements     │  what to do
 *    16 │ outer        │ rows         │ groups       │ width        │  the extents
 *    32 │ length       │ segmentCount │ segments     │ perCondition │
 *    48 │ count                  f64 │ eps                    f64 │
 *    64 │ x            │ y            │ dy           │ dx           │  minibatches
 *    80 │ residual     │ dresidual    │ bits         │ stream       │
 *    96 │ dstream      │ gate         │ dgate        │ scale        │
 *   112 │ shift        │ dscale       │ dshift       │ gamma        │  parameters
 *   128 │ beta         │ dgamma       │ dbeta        │ mean         │  statistics
 *   144 │ variance     │ rstd         │ sum1         │ sum2         │
 *   160 │ runningMean  │ runningVar   │ momentum               f64 │
 *   176 │ scratch      │ partials     │ workspace    │ workspaceStr.│  room
 *   192 │ scratchBytes │ partialBytes │ workspaceBy. │ forwardTiles │  written by `plan`
 *   208 │ forwardAppl. │ backwardTil. │ backwardApp. │ tileRows     │
 *   224 │ tileGroups   │ tileApart    │ skipped      │ reserved     │
 *   240 │ shiftOf …                                                │
 *   256 ├──────────────┴──────────────┴──────────────┴──────────────┤
 *       │ next         │ done         │ late         │ lateResidual │  what threads claim; what stages do around the kernels
 *   272 │ z            │ sums         │ copy         │ added        │
 *   288 │ frame: how a walk cuts the pass, for itself              │
 *   344 │ …                                                        │
 *   384 └──────────────┴────────────────────────────────────────────┘
 *
 * All are u32 (addresses in bytes, counts of values) where nothing else is said; 0 is the address of nothing.
 */
@unmanaged
export class Pass {
  /** How memory is walked: one of `WALK`. */
  walk: u32;
  /** What to do: a sum of `STEPS`. */
  steps: u32;
  /** What comes last: one of `ACTIVATION`. */
  activation: u32;
  /** How minibatches lie in memory, four bits each, in the order of `OPERAND`: 0 float32, 1 float16, 2 bfloat16. */
  elements: u32;

  /** The minibatch is [outer, rows, groups, width, length]; for ROWS it is [outer, length]. */
  outer: u32;
  rows: u32;
  groups: u32;
  width: u32;
  length: u32;
  /** Pairs [from, to) of rows or positions (uint32) that take part in the statistics; 0: all do. */
  segmentCount: u32;
  segments: usize;
  /** Rows that share one row of `scale` and `shift`. */
  perCondition: u32;

  /** Values behind each statistic. */
  count: f64;
  /** Added to the variance. */
  eps: f64;

  x: usize;
  y: usize;
  dy: usize;
  dx: usize;

  /** Added after the affine map; backward, where its gradient goes (COLUMNS and RUNS write it with ReLU alone: else it is dy). */
  residual: usize;
  dresidual: usize;
  /** ReLU's decisions, a byte for every four values; where a residual lets them not be taken again. */
  bits: usize;
  /** The residual stream: it becomes `stream + x`, which is normalized. */
  stream: usize;
  dstream: usize;
  gate: usize;
  dgate: usize;
  /** Modulation, a row for every `perCondition` rows: `y = n * (1 + scale) + shift`. */
  scale: usize;
  shift: usize;
  dscale: usize;
  dshift: usize;

  /** float32, a value a channel (ROWS: a position). */
  gamma: usize;
  beta: usize;
  /** Sums over the minibatch, float64, set by a backward. */
  dgamma: usize;
  dbeta: usize;

  /** float64, a value a group. */
  mean: usize;
  variance: usize;
  rstd: usize;
  /** Backward's `sum(gamma * dy)` and `sum(gamma * dy * xhat)`, float64, a value a group. */
  sum1: usize;
  sum2: usize;

  /** float64, a value a group, for `updateRunning`. */
  runningMean: usize;
  runningVariance: usize;
  /** The weight of the new minibatch; `updateRunning` takes its variance times `unbiased`. */
  momentum: f64;

  /** Room for what all tiles share, of `scratchBytes`. */
  scratch: usize;
  /** Room for the sums of every tile, of `partialBytes`. */
  partials: usize;
  /** Room for a tile while it runs, `workspaceBytes` for each thread, `workspaceStride` bytes apart. */
  workspace: usize;
  workspaceStride: usize;

  scratchBytes: usize;
  partialBytes: usize;
  workspaceBytes: usize;
  /** How many tiles each phase has; 0 where the phase before does all. */
  forwardTiles: u32;
  forwardApplyTiles: u32;
  backwardTiles: u32;
  backwardApplyTiles: u32;
  /**
   * How a tile is cut.
   *
   * COLUMNS. Where FORWARD_APPLY has no tiles, tile i is examples [i * tileGroups, (i + 1) * tileGroups), whole. Else each example
   * has `tiles / outer` tiles of `tileRows` rows; tileApart 0: tile i of an example is rows [i * tileRows, (i + 1) * tileRows),
   * the last one ends with the example. Otherwise, with `quarter = tileApart / row bytes`, it is four blocks, rows [i * tileRows,
   * min((i + 1) * tileRows, quarter)) of each quarter, `tileApart` bytes apart, and the last tile also has rows from 4 * quarter on.
   * `begin` reads up to eight rows of x for the pivots: those at multiples of `rows / min(rows, 8)`, rounded down, or as many of
   * the first segment; `finish` may read any.
   *
   * RUNS. Tile i is examples [i * tileRows, (i + 1) * tileRows), whole, where tileRows is more than 1. Else each example has
   * `ceil(groups / tileGroups)` tiles, and its tile i is groups [i * tileGroups, (i + 1) * tileGroups) of every row.
   */
  tileRows: u32;
  tileGroups: u32;
  tileApart: u32;
  /** How many channels `updateRunning` left as they were. */
  skipped: u32;
  reserved: u32;
  /** For `updateRunning`: what the variance is multiplied by, `count / (count - 1)` or 1. */
  unbiased: f64;
  reserved2: f64;

  /** The next tile to be claimed, and how many are done. */
  next: u32;
  done: u32;
  /** The activation that a stage does after the kernels (then theirs is none): one of `ACTIVATION`. */
  late: u32;
  /** A residual that a stage adds, as it comes after the modulation; in backward, the one that the activation's input had. */
  lateResidual: usize;
  /** Backward: n, the kernels' output, computed again; may be dx. */
  z: usize;
  /** Room for modulation's two sums, float64, a value a position of a row each, in whole vectors; 0: not wanted. */
  sums: usize;
  /** Where the new stream goes too; 0: nowhere. */
  copy: usize;
  /** What is added to the stream. */
  added: usize;

  /** 56 bytes that the walk's own `plan` writes. */
  frame: u64;
}

/** How memory is walked. */
export namespace WALK {
  // @ts-ignore: decorator
  @inline export const COLUMNS: u32 = 0;
  // @ts-ignore: decorator
  @inline export const ROWS: u32 = 1;
  // @ts-ignore: decorator
  @inline export const RUNS: u32 = 2;
}

/** A pass's halves, each of which falls into tiles. */
export namespace PHASE {
  // @ts-ignore: decorator
  @inline export const FORWARD: u32 = 0;
  // @ts-ignore: decorator
  @inline export const FORWARD_APPLY: u32 = 1;
  // @ts-ignore: decorator
  @inline export const BACKWARD: u32 = 2;
  // @ts-ignore: decorator
  @inline export const BACKWARD_APPLY: u32 = 3;
}

/** What comes last. */
export namespace ACTIVATION {
  // @ts-ignore: decorator
  @inline export const NONE: u32 = 0;
  // @ts-ignore: decorator
  @inline export const RELU: u32 = 1;
  // From here on a stage's work, not a kernel's.
  // @ts-ignore: decorator
  @inline export const RELU6: u32 = 2;
  // @ts-ignore: decorator
  @inline export const LEAKY_RELU: u32 = 3;
  // @ts-ignore: decorator
  @inline export const SILU: u32 = 4;
  // @ts-ignore: decorator
  @inline export const GELU: u32 = 5;
  // @ts-ignore: decorator
  @inline export const GELU_TANH: u32 = 6;
  // @ts-ignore: decorator
  @inline export const HARDSWISH: u32 = 7;
  // @ts-ignore: decorator
  @inline export const SIGMOID: u32 = 8;
  // @ts-ignore: decorator
  @inline export const TANH: u32 = 9;
}
