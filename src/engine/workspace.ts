/**
 * What a pass needs only while it runs: it belongs to the runtime, once, and every call uses it anew.
 *
 *   │ sum1 │ sum2 │ dgamma │ dbeta │ running mean, variance │ scratch │ partials │ a workspace for each thread │
 */
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Geometry, parametersOf, room, statisticsOf, valuesOf, walkOf } from "./geometry.js";
import { FIELD, PASS_BYTES, Pass } from "./pass.js";

const align = (bytes: number): number => (bytes + 63) & ~63;

/** A pass of a shape, for a call. @throws RangeError if memory cannot hold it */
export function draft(held: Runtime, scratch: Scratch, g: Geometry): Pass {
  const pass = new Pass(held, scratch.take(PASS_BYTES));
  pass.set(FIELD.walk, walkOf(g));
  for (const name of ["outer", "rows", "groups", "width", "length"] as const) pass.set(FIELD[name], g[name]);
  return pass;
}

/**
 * Makes sure that there is room for what passes of a shape need while they run, before anything is given up for one. `segments` is the
 * address of pairs, or 0. @throws RangeError if memory cannot hold it
 */
export function makeRoom(held: Runtime, scratch: Scratch, g: Geometry, segments: number): void {
  const pass = draft(held, scratch, g);
  pass.set(FIELD.segments, segments);
  prepare(held, pass, g);
  if (g.turned !== undefined) scratch.passage(4 * valuesOf(g));
}

/** Has the kernels cut a pass into tiles, and gives it room. @throws RangeError if memory cannot hold it */
export function prepare(held: Runtime, pass: Pass, g: Geometry): void {
  held.kernels.plan(pass.address);
  const sums = 8 * room(statisticsOf(g), g.perElement ? 1 : g.outer);
  const parameters = 8 * room(parametersOf(g));
  const results = 2 * sums + 4 * parameters;
  const scratch = align(pass.get(FIELD.scratchBytes));
  const partials = align(pass.get(FIELD.partialBytes));
  const stride = align(pass.get(FIELD.workspaceBytes));
  const places = held.team?.places ?? 1;
  const bytes = results + scratch + partials + stride * places;
  const at = held.workspace(bytes);
  pass.set(FIELD.sum1, at);
  pass.set(FIELD.sum2, at + sums);
  pass.set(FIELD.dgamma, at + 2 * sums);
  pass.set(FIELD.dbeta, at + 2 * sums + parameters);
  pass.set(FIELD.runningMean, at + 2 * sums + 2 * parameters);
  pass.set(FIELD.runningVariance, at + 2 * sums + 3 * parameters);
  pass.set(FIELD.scratch, at + results);
  pass.set(FIELD.partials, at + results + scratch);
  pass.set(FIELD.workspace, at + results + scratch + partials);
  pass.set(FIELD.workspaceStride, stride);
}
