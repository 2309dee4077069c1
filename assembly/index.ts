/**
 * The binary interface: every export takes the address of a pass. The memory is imported; nothing here allocates or keeps
 * state.
 *
 * In all of these files `@ts-ignore: decorator` stands before AssemblyScript's `@inline`, since TypeScript's own checker, which
 * editors run, takes decorators on classes only.
 */
import { columnsBackward } from "./columns/backward";
import { columnsForward } from "./columns/forward";
import { Pass, PHASE, WALK } from "./pass";
import { rowsBackward, rowsForward } from "./rows";
import { runsBackward, runsForward } from "./runs";
import { RMS } from "./steps";

/** Raised whenever the meaning of an export changes, so that a facade refuses a binary that is not its own. */
export const ABI: i32 = 2;

/** Which of the two binaries this is: 1 with relaxed SIMD. */
export const RELAXED: i32 = ASC_FEATURE_RELAXED_SIMD ? 1 : 0;

/** The first address that is free to use. */
export function heapBase(): usize {
  return __heap_base;
}

export { blend } from "./blend";

/** Writes into a pass how it falls into tiles, and how much room it needs. */
export function plan(address: usize): void {
  const pass = changetype<Pass>(address);
  const parameters = pass.walk == WALK.ROWS ? pass.length : pass.groups * pass.width;
  const n = parameters < 64 && pass.walk != WALK.ROWS ? 1024 : parameters;
  const room = ((n + 15) & ~15) + 16;
  pass.scratchBytes = 0;
  pass.partialBytes = 0;
  pass.workspaceBytes = 5248 + (pass.walk == WALK.ROWS ? 16 : 112) * room;
  pass.forwardTiles = 1;
  pass.forwardApplyTiles = 0;
  pass.backwardTiles = 1;
  pass.backwardApplyTiles = 0;
}

/** The forward pass, whole. */
export function forward(address: usize): void {
  const p = changetype<Pass>(address);
  if (p.walk == WALK.ROWS) {
    rowsForward(p.steps, (p.steps & RMS) != 0, p.x, p.y, p.outer, p.length, p.mean, p.variance, p.rstd, p.eps, p.gamma, p.beta, p.bits, p.workspace);
  } else if (p.walk == WALK.RUNS) {
    runsForward(
      p.steps, p.x, p.y, p.outer, p.rows, p.groups, p.width, p.length, p.segments, p.segmentCount, p.count, p.mean, p.variance, p.rstd,
      p.eps, p.gamma, p.beta, p.residual, p.bits, p.workspace,
    );
  } else {
    columnsForward(
      p.steps, p.x, p.y, p.outer, p.rows, p.groups, p.width, p.segments, p.segmentCount, p.count, p.mean, p.variance, p.rstd, p.eps,
      p.gamma, p.beta, p.residual, p.bits, p.workspace,
    );
  }
}

/** The backward pass, whole. */
export function backward(address: usize): void {
  const p = changetype<Pass>(address);
  if (p.walk == WALK.ROWS) {
    rowsBackward(
      p.steps, (p.steps & RMS) != 0, p.x, p.dy, p.dx, p.outer, p.length, p.mean, p.rstd, p.gamma, p.sum1, p.sum2, p.dgamma, p.dbeta, p.bits,
      p.workspace,
    );
  } else if (p.walk == WALK.RUNS) {
    runsBackward(
      p.steps, p.x, p.dy, p.dx, p.outer, p.rows, p.groups, p.width, p.length, p.segments, p.segmentCount, p.count, p.mean, p.rstd,
      p.gamma, p.sum1, p.sum2, p.dgamma, p.dbeta, p.dresidual, p.bits, p.workspace,
    );
  } else {
    columnsBackward(
      p.steps, p.x, p.dy, p.dx, p.outer, p.rows, p.groups, p.width, p.segments, p.segmentCount, p.count, p.mean, p.rstd, p.gamma,
      p.sum1, p.sum2, p.dgamma, p.dbeta, p.dresidual, p.bits, p.workspace,
    );
  }
}

/** Before a phase's tiles: what all of them share. */
export function begin(address: usize, phase: u32): void {}

/** One tile of a phase, in `worker`'s part of the workspace. */
export function tile(address: usize, phase: u32, index: u32, worker: u32): void {
  if (phase == PHASE.FORWARD) forward(address);
  else if (phase == PHASE.BACKWARD) backward(address);
}

/** After a phase's tiles: their sums, added up in the order of tiles. */
export function finish(address: usize, phase: u32): void {}
