/** Backward where the normalized values had been rounded before gamma multiplied them: rows, without a mean. */
import type { Context, Saved } from "../engine/context.js";
import { rowsOf, statisticsOf } from "../engine/geometry.js";
import { runParts } from "../engine/masked.js";
import { FIELD, STEP } from "../engine/pass.js";
import { runBackward, runForward } from "../engine/run.js";
import { castRows } from "../engine/staged.js";
import type { Scratch } from "../runtime/scratch.js";

/** Computes the normalized values at `y` again, rounded as the forward's were; times gamma where that is asked for. */
export function runCast({ pass, held, places }: Context, saved: Saved, y: number, multiplied: boolean): void {
  const { geometry } = places!;
  const gamma = pass.get(FIELD.gamma);
  pass.set(FIELD.gamma, 0);
  runForward(held, pass);
  castRows(held, y, rowsOf(geometry), geometry.length, saved.cast, multiplied ? gamma : 0);
  pass.set(FIELD.gamma, gamma);
}

/** dgamma: `sum(dy * xhat)` of what gamma multiplied, xhat in the place of an x whose mean is 0 and whose rstd is 1. */
export function castSums(
  context: Context,
  saved: Saved,
  x: number,
  dy: number,
  pairs: number,
  scratch: Scratch,
): Float64Array {
  const { pass, held, places } = context;
  const { segments, size, frozen } = saved;
  const { geometry } = places!;
  const xhat = scratch.take(4 * size);
  const bytes = 8 * (statisticsOf(geometry) + 16);
  const mean = scratch.take(2 * bytes);
  const rstd = mean + bytes;
  context.useStatistics(frozen);
  context.plan(STEP.APPLY, 0, 0);
  pass.set(FIELD.activation, 0);
  pass.set(FIELD.residual, 0);
  pass.set(FIELD.bits, 0);
  pass.set(FIELD.x, x);
  pass.set(FIELD.y, xhat);
  runCast(context, saved, xhat, false);
  held.f64.fill(0, mean / 8, rstd / 8);
  held.f64.fill(1, rstd / 8, (rstd + bytes) / 8);
  pass.set(FIELD.mean, mean);
  pass.set(FIELD.rstd, rstd);
  pass.set(FIELD.x, xhat);
  pass.set(FIELD.dy, dy);
  context.plan(STEP.REDUCE, 0, 0);
  if (segments) runParts(context, segments, pairs, true, STEP.REDUCE);
  else runBackward(held, pass);
  const at = pass.get(FIELD.dgamma) / 8;
  return held.f64.slice(at, at + geometry.length);
}
