/**
 * The two passes over linear memory, for every family: a family is a geometry. Statistics, sums and parameters lie in
 * one block, laid out here.
 */
import type { Runtime } from "./runtime/runtime.js";

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
  /** Statistics about 0 instead of the mean; for `perElement` only. */
  readonly rms?: boolean;
}

export const statisticsOf = (g: Geometry): number => g.outer * g.groups;
export const parametersOf = (g: Geometry): number => (g.perElement ? g.length : g.groups * g.width);
export const countOf = (g: Geometry): number => g.rows * g.width * g.length;

/** Byte addresses; statistics (float64) for each group, sums (float64) and parameters for each channel. */
export interface Block {
  mean: number;
  variance: number;
  rstd: number;
  sum1: number;
  sum2: number;
  dgamma: number;
  dbeta: number;
  gamma: number;
  beta: number;
  work: number;
}

/** Room for the next multiple of 16 values and 16 more: kernels write whole vectors. */
const room = (n: number): number => 16 * Math.ceil(n / 16) + 16;

/** Bytes of the block for a geometry. */
export function blockBytes(g: Geometry): number {
  const n = parametersOf(g);
  // Scratch is a head, room for columns to move on by, and so much for each position of a row, or for each column, where
  // narrow ones lie side by side; a layer's shapes may change from runs to columns, and its block, with the statistics in
  // it, must not move then.
  const work = g.perElement ? 16 * room(n) : 112 * room(n < 64 ? 1024 : n);
  return 40 * room(statisticsOf(g)) + 24 * room(n) + 5248 + work;
}

/** The block at `address`. */
export function blockAt(address: number, g: Geometry): Block {
  const s = 8 * room(statisticsOf(g));
  const p = room(parametersOf(g));
  const sums = address + 5 * s;
  return {
    mean: address,
    variance: address + s,
    rstd: address + 2 * s,
    sum1: address + 3 * s,
    sum2: address + 4 * s,
    dgamma: sums,
    dbeta: sums + 8 * p,
    gamma: sums + 16 * p,
    beta: sums + 20 * p,
    work: sums + 24 * p,
  };
}

/** Bytes that the ReLU's bits take: one for every four values of a row or run. */
export function bitBytes({ outer, rows, groups, width, length }: Geometry): number {
  const channels = outer * rows * groups * width;
  return length > 1 ? channels * Math.ceil(length / 4) : outer * rows * Math.ceil((groups * width) / 4);
}

/** The steps of a pass, as the kernels name them. */
export const REDUCE = 1;
export const APPLY = 2;
export const FROZEN = 4;
export const OWN = 8;
export const EXACTLY = 16;

/** What a pass may have beside its minibatch; addresses, 0 for none. */
export interface Extras {
  gamma: boolean;
  beta: boolean;
  /** Forward: what is added; backward: where its gradient goes. */
  added: number;
  bits: number;
  segments: number;
  segmentCount: number;
  /** Values behind each statistic. */
  count: number;
}

/** The record of a call, one for each runtime: see assembly/pass.ts. */
const records = new WeakMap<Runtime, number>();

const RMS = 32;

/** Byte offsets of a pass's fields: assembly/pass.ts draws them. */
const FIELDS = {
  walk: 0,
  steps: 4,
  outer: 16,
  rows: 20,
  groups: 24,
  width: 28,
  length: 32,
  segmentCount: 36,
  segments: 40,
  x: 64,
  y: 68,
  dy: 72,
  dx: 76,
  residual: 80,
  dresidual: 84,
  bits: 88,
  gamma: 124,
  beta: 128,
  dgamma: 132,
  dbeta: 136,
  mean: 140,
  variance: 144,
  rstd: 148,
  sum1: 152,
  sum2: 156,
  workspace: 184,
} as const;

function record(
  held: Runtime,
  g: Geometry,
  steps: number,
  eps: number,
  b: Block,
  e: Extras,
  fields: { [field in keyof typeof FIELDS]?: number },
): number {
  let at = records.get(held);
  if (at === undefined) {
    at = held.alloc(320);
    records.set(held, at);
  }
  const { u32, f64 } = held;
  u32.fill(0, at / 4, at / 4 + 80);
  const all: typeof fields = {
    ...g,
    ...b,
    ...e,
    ...fields,
    walk: g.perElement ? 1 : g.length > 1 ? 2 : 0,
    steps: g.rms ? steps | RMS : steps,
    gamma: gammaAt(held, g, b, e),
    beta: e.beta ? b.beta : 0,
    workspace: b.work,
  };
  for (const name of Object.keys(FIELDS) as (keyof typeof FIELDS)[])
    u32[(at + FIELDS[name]) / 4] = all[name] ?? 0;
  f64[(at + 48) / 8] = e.count;
  f64[(at + 56) / 8] = eps;
  return at;
}

/** Where gamma lies, or 0 for none; the rows walk always takes one. */
function gammaAt({ f32 }: Runtime, { perElement, length }: Geometry, b: Block, e: Extras): number {
  if (e.gamma) return b.gamma;
  if (!perElement) return 0;
  f32.fill(1, b.gamma / 4, b.gamma / 4 + length);
  return b.gamma;
}

export function forwardPass(
  held: Runtime,
  g: Geometry,
  steps: number,
  x: number,
  y: number,
  eps: number,
  b: Block,
  e: Extras,
): void {
  held.kernels.forward(record(held, g, steps, eps, b, e, { x, y, residual: e.added }));
}

/** dx may lie over dy. */
export function backwardPass(
  held: Runtime,
  g: Geometry,
  steps: number,
  x: number,
  dy: number,
  dx: number,
  b: Block,
  e: Extras,
): void {
  if (g.perElement && dx === dy && steps & REDUCE && steps & APPLY) {
    // One pass over rows may read dy again after it wrote dx.
    backwardPass(held, g, steps & ~APPLY, x, dy, dx, b, e);
    backwardPass(held, g, steps & ~REDUCE, x, dy, dx, b, e);
    return;
  }
  held.kernels.backward(record(held, g, steps, 0, b, e, { x, dy, dx, dresidual: e.added }));
}
