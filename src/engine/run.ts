/** Where passes run, on the calling thread or on several: all that calls the kernels on a minibatch is here, once. */
import type { Runtime } from "../runtime/runtime.js";
import { type Geometry, rowsOf } from "./geometry.js";
import { FIELD, type Pass, PHASE } from "./pass.js";

/** What sweeps over rows before and after the kernels, as they export it. */
export type Stage = "before" | "after" | "beforeBackward" | "afterBackward";

/** Runs a planned pass forward. */
export function runForward(held: Runtime, pass: Pass): void {
  const { team } = held;
  if (team === undefined || !team.forward(pass.address)) held.kernels.forward(pass.address);
}

/** Runs a planned pass backward. */
export function runBackward(held: Runtime, pass: Pass): void {
  const { team } = held;
  if (team === undefined || !team.backward(pass.address)) held.kernels.backward(pass.address);
}

/** Runs a stage over all rows of a planned pass. */
export function runStage(held: Runtime, pass: Pass, stage: Stage, g: Geometry): void {
  const rows = rowsOf(g);
  if (!held.team?.stage(pass.address, stage, rows)) held.kernels[stage](pass.address, 0, rows, 0);
}

/**
 * Runs a planned pass forward with the stages before it (a stream, where the pass has one) and after it. Where examples are rows,
 * all is done on a tile while it is in cache; `kernels` runs all others' pass.
 */
export function runAround(held: Runtime, pass: Pass, g: Geometry, after: boolean, kernels: () => void): void {
  const stream = pass.get(FIELD.stream) !== 0;
  if (g.perElement) {
    const rows = rowsOf(g);
    if (!held.team?.around(pass.address, rows, stream, after)) runTiles(held, pass, rows, stream, after);
    return;
  }
  if (stream) runStage(held, pass, "before", g);
  kernels();
  if (after) runStage(held, pass, "after", g);
}

/** Tiles of whole rows, each with its stages. */
function runTiles({ kernels }: Runtime, pass: Pass, rows: number, stream: boolean, after: boolean): void {
  const { address } = pass;
  const tiles = pass.get(FIELD.forwardTiles);
  const tileRows = pass.get(FIELD.tileRows);
  kernels.begin(address, PHASE.FORWARD);
  for (let i = 0; i < tiles; i++) {
    const from = i * tileRows;
    const to = Math.min(from + tileRows, rows);
    if (stream) kernels.before(address, from, to);
    kernels.tile(address, PHASE.FORWARD, i, 0);
    if (after) kernels.after(address, from, to, 0);
  }
  kernels.finish(address, PHASE.FORWARD);
}
