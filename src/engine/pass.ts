/** The record that a call is made of; assembly/pass.ts draws it and says what each field means. */
import type { Runtime } from "../runtime/runtime.js";

/** Bytes of a record. */
export const PASS_BYTES = 384;

/** Where each field of 32 bits lies, in units of four bytes. A test compares them with the kernels' own. */
export const FIELD = {
  walk: 0,
  steps: 1,
  activation: 2,
  elements: 3,
  outer: 4,
  rows: 5,
  groups: 6,
  width: 7,
  length: 8,
  segmentCount: 9,
  segments: 10,
  perCondition: 11,
  x: 16,
  y: 17,
  dy: 18,
  dx: 19,
  residual: 20,
  dresidual: 21,
  bits: 22,
  stream: 23,
  dstream: 24,
  gate: 25,
  dgate: 26,
  scale: 27,
  shift: 28,
  dscale: 29,
  dshift: 30,
  gamma: 31,
  beta: 32,
  dgamma: 33,
  dbeta: 34,
  mean: 35,
  variance: 36,
  rstd: 37,
  sum1: 38,
  sum2: 39,
  runningMean: 40,
  runningVariance: 41,
  scratch: 44,
  partials: 45,
  workspace: 46,
  workspaceStride: 47,
  scratchBytes: 48,
  partialBytes: 49,
  workspaceBytes: 50,
  forwardTiles: 51,
  forwardApplyTiles: 52,
  backwardTiles: 53,
  backwardApplyTiles: 54,
  tileRows: 55,
  tileGroups: 56,
  tileApart: 57,
  skipped: 58,
  late: 66,
  lateResidual: 67,
  z: 68,
  sums: 69,
  copy: 70,
  added: 71,
} as const;

/** Where each float64 lies, in units of eight bytes. */
export const DOUBLE = { count: 6, eps: 7, momentum: 21, unbiased: 30 } as const;

export type Field = (typeof FIELD)[keyof typeof FIELD];

/** What a pass does; the kernels' names. */
export const STEP = { REDUCE: 1, APPLY: 2, FROZEN: 4, OWN: 8, EXACTLY: 16, RMS: 32 } as const;

/** The halves of a pass, each of which falls into tiles. */
export const PHASE = { FORWARD: 0, FORWARD_APPLY: 1, BACKWARD: 2, BACKWARD_APPLY: 3 } as const;

/** A record in linear memory. */
export class Pass {
  readonly held: Runtime;
  /** In bytes. */
  readonly address: number;

  /** @param address of PASS_BYTES bytes, a multiple of 64 */
  constructor(held: Runtime, address: number) {
    this.held = held;
    this.address = address;
    held.u32.fill(0, address / 4, (address + PASS_BYTES) / 4);
  }

  get(field: Field): number {
    return this.held.u32[(this.address >>> 2) + field]!;
  }

  /** Writes a field, unless it holds just that. */
  set(field: Field, value: number): void {
    const { u32 } = this.held;
    const at = (this.address >>> 2) + field;
    if (u32[at] !== value) u32[at] = value;
  }

  setDouble(field: (typeof DOUBLE)[keyof typeof DOUBLE], value: number): void {
    const { f64 } = this.held;
    const at = (this.address >>> 3) + field;
    if (f64[at] !== value) f64[at] = value;
  }
}
