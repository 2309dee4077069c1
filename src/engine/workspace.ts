/**
 * What a pass needs only while it runs: it belongs to the runtime, once, and every call uses it anew.
 *
 *   │ sum1 │ sum2 │ dgamma │ dbeta │ running mean, variance │ scratch │ partials │ a workspace for each thread │
 */
import type { Runtime } from "../runtime/runtime.js";
import { type Geometry, parametersOf, room, statisticsOf } from "./geometry.js";
import { FIELD, type Pass } from "./pass.js";

const align = (bytes: number): number => (bytes + 63) & ~63;

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
