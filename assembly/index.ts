/**
 * The binary interface: every export takes the address of a pass. The memory is imported; nothing here allocates or keeps
 * state.
 *
 * In all of these files `@ts-ignore: decorator` stands before AssemblyScript's `@inline`, since TypeScript's own checker, which
 * editors run, takes decorators on classes only.
 */
import { Pass, PHASE, WALK } from "./pass";
import { addGradient, addStream, finishRows as finishStages, STAGE_BYTES, startRows } from "./stages/walk";
export { narrow, scale, widen } from "./stages/elements";
export { transpose } from "./stages/transpose";
import { columnsBegin, columnsFinish, columnsPass, columnsTile } from "./walks/columns";
import { planColumns } from "./walks/columns/frame";
import { planRows, rowsBegin, rowsFinish, rowsPass, rowsTile } from "./walks/rows";
import { runsBegin, runsFinish, runsPass, runsTile } from "./walks/runs";
import { planRuns } from "./walks/runs/frame";

/** Raised whenever the meaning of an export changes, so that a facade refuses a binary that is not its own. */
export const ABI: i32 = 4;

/** Which of the two binaries this is: 1 with relaxed SIMD. */
export const RELAXED: i32 = ASC_FEATURE_RELAXED_SIMD ? 1 : 0;

/** The first address that is free to use. */
export function heapBase(): usize {
  return __heap_base;
}

/** Writes into a pass how it falls into tiles, and how much room it needs. */
export function plan(address: usize): void {
  const pass = changetype<Pass>(address);
  if (pass.walk == WALK.ROWS) planRows(pass);
  else if (pass.walk == WALK.RUNS) planRuns(pass);
  else planColumns(pass);
  pass.workspaceBytes = max(pass.workspaceBytes, STAGE_BYTES);
}

/** A pass in one direction, whole. */
function whole(address: usize, backward: bool): void {
  const pass = changetype<Pass>(address);
  if (pass.walk == WALK.ROWS) rowsPass(pass, backward);
  else if (pass.walk == WALK.RUNS) runsPass(pass, backward);
  else columnsPass(pass, backward);
}

/** The forward pass, whole. */
export function forward(address: usize): void {
  whole(address, false);
}

/** The backward pass, whole. */
export function backward(address: usize): void {
  whole(address, true);
}

/** Before the kernels, rows [from, to): `stream += added`. */
export function before(address: usize, from: usize, to: usize): void {
  addStream(changetype<Pass>(address), from, to);
}

/** After the kernels, rows [from, to), in `worker`'s part of the workspace: what stages make of y. */
export function after(address: usize, from: usize, to: usize, worker: u32): void {
  finishStages(changetype<Pass>(address), from, to, worker);
}

/**
 * Before the backward kernels, rows [from, to), in `worker`'s part of the workspace: what stages make of dy. Where modulation's sums
 * are wanted, all rows come in order and from one thread.
 */
export function beforeBackward(address: usize, from: usize, to: usize, worker: u32): void {
  startRows(changetype<Pass>(address), from, to, worker);
}

/** After the backward kernels, rows [from, to): the stream's gradient. */
export function afterBackward(address: usize, from: usize, to: usize): void {
  addGradient(changetype<Pass>(address), from, to);
}

/** Before a phase's tiles: what all of them share. */
export function begin(address: usize, phase: u32): void {
  const pass = changetype<Pass>(address);
  if (pass.walk == WALK.ROWS) rowsBegin(pass);
  else if (pass.walk == WALK.RUNS) runsBegin(pass, phase == PHASE.BACKWARD);
  else columnsBegin(pass, phase);
}

/** One tile of a phase, in `worker`'s part of the workspace. */
export function tile(address: usize, phase: u32, index: u32, worker: u32): void {
  const pass = changetype<Pass>(address);
  if (pass.walk == WALK.ROWS) rowsTile(pass, phase, index, worker);
  else if (pass.walk == WALK.RUNS) runsTile(pass, phase == PHASE.BACKWARD, index, worker);
  else columnsTile(pass, phase, index, worker);
}

/** After a phase's tiles: their sums, added up in the order of tiles. */
export function finish(address: usize, phase: u32): void {
  const pass = changetype<Pass>(address);
  if (pass.walk == WALK.ROWS) rowsFinish(pass, phase);
  else if (pass.walk == WALK.RUNS) runsFinish(pass, phase == PHASE.BACKWARD);
  else columnsFinish(pass, phase);
}
