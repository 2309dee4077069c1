/** Sums over dy that say where a gradient's energy goes, without a backward. */
import type { GradientSums } from "../analysis/gap.js";
import type { Context, Saved } from "../engine/context.js";
import { statisticsOf } from "../engine/geometry.js";
import { copyIn, place, readSized } from "../engine/operand.js";
import { FIELD, STEP } from "../engine/pass.js";
import { runBackward } from "../engine/run.js";
import { placeSegments } from "../engine/segments.js";
import { Scratch } from "../runtime/scratch.js";
import { live } from "../tensor.js";
import { bringInput, differentiate, inputOf, overwritten, run, stagesOf } from "./backward.js";
import type { LayerCore } from "./core.js";

/** @throws RangeError for the statistics of several virtual batches, where one for each channel is needed */
export function checkWhole(who: string, batches: number): void {
  if (batches > 1)
    throw new RangeError(`${who}: expected one batch's statistics, got those of ${batches} virtual batches`);
}

/**
 * Sums of dy over the groups of the last forward, and of its statistics the variance; no gradient is touched, and the forward
 * is not used up. @throws as `backward`
 */
export function gradientSums(
  core: LayerCore,
  who: string,
  dy: unknown,
): { sums: GradientSums; count: number; variance: Float64Array | null } {
  const held = core.use(who);
  const saved = core.saved(who, undefined);
  const context = core.own;
  if (saved.x) live(who, saved.x);
  if (saved.overwritten) throw overwritten(who);
  checkWhole(who, context.places!.geometry.outer);
  const { segments, frozen, count } = saved;
  const from = readSized(who, "dy", dy, saved.shape);
  const n = core.channels;
  if (saved.size === 0 || count === 0) {
    const zeros = () => new Float64Array(n);
    return { sums: { dy: zeros(), dyXhat: zeros(), dySquared: zeros() }, count: 0, variance: null };
  }
  return Scratch.with(held, (scratch) => {
    let source: number = place(scratch, from);
    const x = inputOf(context, scratch);
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    copyIn(held, from, source);
    bringInput(context, x);
    const stages = stagesOf(context, saved, undefined, scratch, false);
    if (stages) {
      const g = scratch.take(4 * saved.size);
      differentiate(who, context, saved, stages, { x, dy: source, dx: g, dresidual: 0, pairs });
      source = g;
    }
    run(core, context, saved, { x, dy: source, dx: 0, dresidual: 0, pairs }, 0);
    const { pass, places } = context;
    const copy = (address: number) => held.f64.slice(address / 8, address / 8 + n);
    const dyXhat = copy(pass.get(FIELD.dgamma));
    const dySum = copy(pass.get(FIELD.dbeta));
    const variance = frozen ? null : copy(places!.variance);
    energy(context, saved, source, pairs, scratch);
    const dySquared = copy(pass.get(FIELD.dgamma));
    return { sums: { dy: dySum, dyXhat, dySquared }, count, variance };
  });
}

/** Leaves `sum(dy^2)` of each channel as dgamma: dy stands in the place of x, with a mean of 0 and an rstd of 1. */
function energy(context: Context, saved: Saved, dy: number, pairs: number, scratch: Scratch): void {
  const { pass, held, places } = context;
  const n = statisticsOf(places!.geometry);
  const bytes = 8 * (n + 16);
  const mean = scratch.take(2 * bytes);
  const rstd = mean + bytes;
  held.f64.fill(0, mean / 8, rstd / 8);
  held.f64.fill(1, rstd / 8, (rstd + bytes) / 8);
  pass.set(FIELD.mean, mean);
  pass.set(FIELD.rstd, rstd);
  pass.set(FIELD.x, dy);
  pass.set(FIELD.dy, dy);
  context.plan(STEP.REDUCE, pairs, (saved.segments?.pairs.length ?? 0) / 2);
  runBackward(held, pass);
}
