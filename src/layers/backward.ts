import type { GradientSums } from "../analysis/gap.js";
import type { Context, Saved } from "../engine/context.js";
import { statisticsOf } from "../engine/geometry.js";
import {
  copyIn,
  copyOut,
  drop,
  type Minibatch,
  NEW,
  newLike,
  place,
  readOperand,
  readOutput,
  readSized,
} from "../engine/operand.js";
import { DOUBLE, FIELD, STEP } from "../engine/pass.js";
import { clearOthers, placeSegments } from "../engine/segments.js";
import { typeError } from "../errors.js";
import { Scratch } from "../runtime/scratch.js";
import { live } from "../tensor.js";
import type { LayerCore } from "./core.js";
import { readBackwardCall } from "./options.js";
import type { Parameter } from "./parameters.js";

const inputOf = ({ saved, places }: Context): number => (saved!.x ? saved!.x.address : places!.x);

/** A parameter that takes gradients: one that is there and not frozen. */
const wanted = (parameter: Parameter | null): Parameter | null =>
  parameter && !parameter.frozen ? parameter : null;

/** @throws Error where the forward has not left what its backward needs */
function checkSaved(core: LayerCore, who: string, saved: Saved, gamma: Parameter | null): void {
  if (saved.used) {
    throw new Error(
      `${who}: expected a forward for each backward, got a second backward: give the first { retain: true }, or each forward a context() of its own`,
    );
  }
  // Back in training, what is meant is the training forward; in evaluation it is the last one.
  if (saved.interrupted && core.training) {
    throw new Error(
      `${who}: expected the training forward's context, got that of an evaluation that took its place: evaluate under noGrad, with { save: false } or in a context() of its own`,
    );
  }
  if (saved.x) live(who, saved.x);
  if (saved.overwritten && (!saved.frozen || gamma || core.activation !== 0)) throw overwritten(who);
}

const overwritten = (who: string): Error =>
  new Error(`${who}: expected x, but forwardInto(x, x) has overwritten it: give forward another place for y`);

/** The gradient of a forward into `out`, or into a new minibatch for NEW; that of its residual goes to the core. */
export function backward(
  core: LayerCore,
  who: string,
  dy: unknown,
  out: unknown,
  options: unknown,
): Minibatch {
  core.checkAlive(who);
  const held = core.use(who);
  const call = readBackwardCall(core, who, options);
  const vectors = core.learned.read(who);
  core.checkAlive(who);
  const gamma = wanted(vectors.gamma);
  const beta = wanted(vectors.beta);
  const saved = core.saved(who, call.context);
  const context = call.context ?? core.own;
  const places = context.places!;
  const { shape, segments } = saved;
  checkSaved(core, who, saved, gamma);
  const from = readSized(who, "dy", dy, shape);
  const into = out === NEW ? undefined : readOutput(who, "dx", out, shape);
  if (call.residualGrad !== undefined && !saved.residual) {
    throw typeError(who, "no residualGrad without a residual", call.residualGrad);
  }

  const scratch = new Scratch(held);
  const { f32 } = held;
  let fresh: Minibatch | undefined;
  let through: Minibatch | undefined;
  try {
    const source = place(scratch, from);
    if (!into) fresh = newLike(from, shape);
    const to = into ?? readOperand(who, "dx", fresh);
    // An array's gradient needs one place for both: kernels write dx over dy.
    const dx = to.address ?? (from.array ? source : scratch.take(4 * to.size));
    const passed = saved.residual && (!into || call.residualGrad !== undefined);
    if (passed && call.residualGrad === undefined) through = newLike(from, shape);
    const other = passed ? readOutput(who, "residualGrad", call.residualGrad ?? through, shape) : undefined;
    const dresidual = other ? place(scratch, other) : 0;
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    if (held.f32 !== f32) core.learned.check(who);
    if (from.array) copyIn(held, from, source);
    const some = saved.size > 0 && saved.count > 0;
    if (some) {
      if (other && core.activation === 0)
        held.f32.copyWithin(dresidual / 4, source / 4, source / 4 + saved.size);
      run(context, saved, { dy: source, dx, dresidual: core.activation === 0 ? 0 : dresidual, pairs });
      if (segments) {
        clearOthers(held, segments, places.geometry, dx);
        if (other) clearOthers(held, segments, places.geometry, dresidual);
      }
    } else if (saved.size > 0) {
      held.f32.fill(0, dx / 4, dx / 4 + saved.size);
      if (other) held.f32.fill(0, dresidual / 4, dresidual / 4 + saved.size);
    }
    // What can fail comes before what is added.
    if (to.array) copyOut(held, to, dx);
    if (other?.array) copyOut(held, other, dresidual);
    if (some) addGradients(context, core.channels, gamma, beta);
    core.residualGrad = passed ? ((call.residualGrad as Minibatch | undefined) ?? through!) : null;
    if (!call.retain) saved.used = true;
    return into ? (out as Minibatch) : fresh!;
  } catch (error) {
    drop(fresh);
    drop(through);
    scratch.release();
    if (held.reclaim(error)) return backward(core, who, dy, out, options);
    throw error;
  } finally {
    scratch.release();
  }
}

interface Addresses {
  dy: number;
  dx: number;
  dresidual: number;
  pairs: number;
}

function run(context: Context, saved: Saved, at: Addresses, steps: number = STEP.APPLY): void {
  const { pass, held } = context;
  context.useStatistics(saved.frozen);
  context.plan(
    steps | STEP.REDUCE | (saved.frozen ? STEP.FROZEN : STEP.OWN),
    at.pairs,
    (saved.segments?.pairs.length ?? 0) / 2,
  );
  pass.set(FIELD.x, inputOf(context));
  pass.set(FIELD.dy, at.dy);
  pass.set(FIELD.dx, at.dx);
  pass.set(FIELD.residual, 0);
  pass.set(FIELD.dresidual, at.dresidual);
  pass.set(FIELD.bits, saved.residual ? context.places!.bits : 0);
  pass.setDouble(DOUBLE.count, saved.count);
  held.kernels.backward(pass.address);
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
  const { segments, frozen, count } = saved;
  const from = readSized(who, "dy", dy, saved.shape);
  const n = core.channels;
  if (saved.size === 0 || count === 0) {
    const zeros = () => new Float64Array(n);
    return { sums: { dy: zeros(), dyXhat: zeros(), dySquared: zeros() }, count: 0, variance: null };
  }
  return Scratch.with(held, (scratch) => {
    const source: number = place(scratch, from);
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    if (from.array) copyIn(held, from, source);
    run(context, saved, { dy: source, dx: 0, dresidual: 0, pairs }, 0);
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
  held.kernels.backward(pass.address);
}

/** Adds dgamma and dbeta to the gradients, which may be one array. */
function addGradients(
  { held, pass }: Context,
  n: number,
  gamma: Parameter | null,
  beta: Parameter | null,
): void {
  if (gamma) add(gamma.grad, held.f64, pass.get(FIELD.dgamma) / 8, n);
  if (beta) add(beta.grad, held.f64, pass.get(FIELD.dbeta) / 8, n);
}

function add(grad: Float32Array, sums: Float64Array, from: number, n: number): void {
  for (let i = 0; i < n; i++) grad[i]! += sums[from++]!;
}
