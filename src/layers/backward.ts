import type { Context, Saved } from "../engine/context.js";
import { addressOf, bring, carry, isFinished, ownPlaceOf, placeOf, setExtras } from "../engine/extras.js";
import { type Geometry, rowOf } from "../engine/geometry.js";
import { isApart, runParts } from "../engine/masked.js";
import {
  copyIn,
  drop,
  type Minibatch,
  NEW,
  newLike,
  type Operand,
  ownPlace,
  place,
  readOperand,
  readOutput,
  readSized,
} from "../engine/operand.js";
import { DOUBLE, FIELD, PHASE, STEP } from "../engine/pass.js";
import { runBackward, runForward, runStage } from "../engine/run.js";
import { clearOthers, placeSegments } from "../engine/segments.js";
import { isLong, isStaged, Parts, type Tiles, tilesOf } from "../engine/staged.js";
import type { Runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import { live } from "../tensor.js";
import { castSums, runCast } from "./cast.js";
import type { LayerCore } from "./core.js";
import { checkAsked, FurtherGradients } from "./gradients.js";
import { readBackwardCall } from "./options.js";
import type { Parameter } from "./parameters.js";
import { correctSums } from "./renorm.js";

/** Where the forward's input is, as kernels take it; of a Tensor of 16 bits room for it, which `bringInput` fills. */
export const inputOf = ({ saved, places }: Context, scratch: Scratch): number =>
  saved!.x ? place(scratch, saved!.x) : places!.x;

/** Widens the forward's input, if it is a Tensor of 16 bits. */
export function bringInput({ held, saved }: Context, address: number): void {
  if (saved!.x) copyIn(held, saved!.x, address);
}

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
  const late = saved.extras !== undefined && isFinished(saved.extras);
  if (saved.overwritten && (!saved.frozen || gamma || core.activation !== 0 || late)) throw overwritten(who);
  for (const kept of [saved.extras?.scale, saved.extras?.shift, saved.extras?.gate, saved.extras?.residual]) {
    addressOf(who, kept, 0);
  }
}

export const overwritten = (who: string): Error =>
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
  checkAsked(who, call, saved);
  if (into && runDirectly(core, context, saved, from, into)) {
    addGradients(context, core.channels, gamma, beta);
    core.residualGrad = core.gateGrad = core.modulationGrad = null;
    if (!call.retain) saved.used = true;
    return out as Minibatch;
  }

  const scratch = new Scratch(held);
  const { f32 } = held;
  let fresh: Minibatch | undefined;
  let further: FurtherGradients | undefined;
  const { geometry } = places;
  try {
    if (!into) fresh = newLike(from, shape);
    const to = into ?? readOperand(who, "dx", fresh);
    const tiles = tilesFor(held, scratch, saved, geometry, [from, to, saved.x]);
    if (tiles && call.stream === undefined) {
      const parts = new Parts(held, scratch, tiles, geometry, [from, to, saved.x]);
      const x = saved.x ? parts.take(saved.x) : places.x;
      const dy = parts.take(from);
      const dx = parts.takeOut(to, dy);
      if (held.f32 !== f32) core.learned.check(who);
      parts.bring();
      run(core, context, saved, { x, dy, dx, dresidual: 0, pairs: 0 }, STEP.APPLY, parts);
      parts.carry();
      addGradients(context, core.channels, gamma, beta);
      core.residualGrad = core.gateGrad = core.modulationGrad = null;
      if (!call.retain) saved.used = true;
      return into ? (out as Minibatch) : fresh!;
    }
    const source = placeOf(scratch, from, geometry);
    const x = inputOf(context, scratch);
    // What is brought needs one place for both: kernels write dx over dy.
    const own = ownPlaceOf(to, geometry);
    const brought = geometry.turned === undefined && ownPlace(from) === undefined;
    further = new FurtherGradients(who, call, saved, geometry, scratch, from, !into);
    const { residual: other, stream } = further;
    // The stream's gradient is read after dx is there.
    const apart = own !== undefined && own === stream?.address;
    const dx = apart ? scratch.take(4 * to.size) : (own ?? (brought ? source : scratch.take(4 * to.size)));
    const dresidual = other?.address ?? 0;
    const stages = stagesOf(context, saved, further, scratch, source === dx);
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    if (held.f32 !== f32) core.learned.check(who);
    bring(held, scratch, from, source, geometry);
    bringInput(context, x);
    further.bringStream(held, scratch);
    const some = saved.size > 0 && saved.count > 0;
    let dgamma: Float64Array | undefined;
    if (some) {
      if (stages) {
        differentiate(who, context, saved, stages, { x, dy: source, dx, dresidual, pairs });
        if (gamma && saved.cast) dgamma = castSums(context, saved, x, dx, pairs, scratch);
        run(core, context, saved, { x, dy: dx, dx, dresidual: 0, pairs });
      } else {
        if (other && core.activation === 0)
          held.f32.copyWithin(dresidual / 4, source / 4, source / 4 + saved.size);
        if (gamma && saved.cast) dgamma = castSums(context, saved, x, source, pairs, scratch);
        run(core, context, saved, {
          x,
          dy: source,
          dx,
          dresidual: core.activation === 0 ? 0 : dresidual,
          pairs,
        });
      }
      if (segments) {
        clearOthers(held, segments, places.geometry, dx);
        if (other) clearOthers(held, segments, places.geometry, dresidual);
      }
    } else if (saved.size > 0) {
      held.f32.fill(0, dx / 4, dx / 4 + saved.size);
      further.clear(held);
    }
    if (stream && saved.size > 0) {
      context.pass.set(FIELD.dstream, stream.address);
      context.pass.set(FIELD.dx, dx);
      runStage(held, context.pass, "afterBackward", geometry);
    }
    // What can fail comes before what is added.
    carry(held, scratch, to, dx, geometry);
    further.carryOut(held, scratch);
    if (some && dgamma && gamma) add(gamma.grad, dgamma, 0, core.channels);
    else if (some) addGradients(context, core.channels, gamma, beta);
    further.settle(core);
    if (!call.retain) saved.used = true;
    return into ? (out as Minibatch) : fresh!;
  } catch (error) {
    drop(fresh);
    further?.drop();
    scratch.release();
    if (held.reclaim(error)) return backward(core, who, dy, out, options);
    throw error;
  } finally {
    scratch.release();
  }
}

/** The tiles that a backward goes by; undefined where it goes as a whole. */
function tilesFor(
  held: Runtime,
  scratch: Scratch,
  { size, count, extras, segments, residual, cast }: Saved,
  g: Geometry,
  operands: readonly (Operand | undefined)[],
): Tiles | undefined {
  const whole = residual || segments || cast || (extras && isFinished(extras));
  if (whole || count === 0 || g.turned !== undefined) return;
  // As in forward.
  if (held.team && !operands.some((operand) => operand?.element)) return;
  return isLong(size) && operands.some(isStaged) ? tilesOf(held, scratch, g, true) : undefined;
}

/** Runs where the kernels read and write the caller's Tensors and nothing came beside x; tells whether it did. */
function runDirectly(core: LayerCore, context: Context, saved: Saved, from: Operand, into: Operand): boolean {
  const { extras, segments, residual, size, count } = saved;
  if (extras || segments || residual || size === 0 || count === 0) return false;
  if (context.places!.geometry.turned) return false;
  const x = saved.x ? ownPlace(saved.x) : context.places!.x;
  const dy = ownPlace(from);
  const dx = ownPlace(into);
  if (!x || !dy || !dx) return false;
  run(core, context, saved, { x, dy, dx, dresidual: 0, pairs: 0 });
  return true;
}

interface Addresses {
  x: number;
  dy: number;
  dx: number;
  dresidual: number;
  pairs: number;
}

/** What backward's stages need beside the minibatches. */
interface Stages {
  /** Where the kernels' output is computed again; of a tile alone where examples are rows. */
  z: number;
  /** Where modulation's sums are kept. */
  sums: number;
  /** A copy of dy without what does not count, where there is a mask. */
  masked: number;
  further: FurtherGradients | undefined;
}

/** Takes room for the stages. */
export function stagesOf(
  { places }: Context,
  { extras, size, segments }: Saved,
  further: FurtherGradients | undefined,
  scratch: Scratch,
  inPlace: boolean,
): Stages | undefined {
  if (!extras || !isFinished(extras) || size === 0) return undefined;
  const z = inPlace ? scratch.take(4 * size) : 0;
  const { perElement, length } = places!.geometry;
  // Kernels of runs sum whether or not anyone asks.
  const wanted = extras.scale && (further?.scale || (!perElement && length > 1));
  const sums = wanted ? scratch.take(16 * (rowOf(places!.geometry) + 8)) : 0;
  const masked = segments ? scratch.take(4 * size) : 0;
  return { z, sums, masked, further };
}

/** What stages make of dy, at dx: the gradient of the kernels' own output. */
export function differentiate(
  who: string,
  context: Context,
  saved: Saved,
  { z, sums, masked, further }: Stages,
  at: Addresses,
): void {
  const { pass, held, places } = context;
  const extras = saved.extras!;
  const base = places!.extra;
  const g = places!.geometry;
  context.useStatistics(saved.frozen);
  const apart = saved.segments !== undefined && isApart(g);
  context.plan(STEP.APPLY, apart ? 0 : at.pairs, apart ? 0 : (saved.segments?.pairs.length ?? 0) / 2);
  pass.set(FIELD.activation, 0);
  pass.set(FIELD.residual, 0);
  pass.set(FIELD.bits, 0);
  pass.set(FIELD.x, at.x);
  pass.set(FIELD.y, z || at.dx);
  pass.setDouble(DOUBLE.count, saved.count);
  if (apart && !g.perElement && !saved.frozen)
    runParts(context, saved.segments!, at.pairs, false, STEP.APPLY);
  else if (saved.cast) runCast(context, saved, z || at.dx, true);
  else runForward(held, pass);
  if (masked) {
    // What does not count gives nothing to any sum, whatever its values are.
    held.f32.copyWithin(masked / 4, at.dy / 4, at.dy / 4 + saved.size);
    clearOthers(held, saved.segments!, g, masked);
    clearOthers(held, saved.segments!, g, z || at.dx);
  }
  setExtras(pass, extras, {
    stream: 0,
    scale: addressOf(who, extras.scale, base),
    shift: addressOf(who, extras.shift, base),
    gate: addressOf(who, extras.gate, base),
  });
  pass.set(FIELD.lateResidual, addressOf(who, extras.residual, base));
  pass.set(FIELD.z, z || at.dx);
  pass.set(FIELD.sums, sums);
  pass.set(FIELD.dy, masked || at.dy);
  pass.set(FIELD.dx, at.dx);
  pass.set(FIELD.dresidual, at.dresidual);
  pass.set(FIELD.dgate, further?.gate?.address ?? 0);
  pass.set(FIELD.dscale, further?.scale?.address ?? 0);
  pass.set(FIELD.dshift, further?.shift?.address ?? 0);
  runStage(held, pass, "beforeBackward", g);
}

export function run(
  core: LayerCore,
  context: Context,
  saved: Saved,
  at: Addresses,
  steps: number = STEP.APPLY,
  parts?: Parts,
): void {
  const { pass, held } = context;
  context.useStatistics(saved.frozen);
  const { segments } = saved;
  const apart = segments !== undefined && isApart(context.places!.geometry);
  const all = steps | STEP.REDUCE | (saved.frozen ? STEP.FROZEN : STEP.OWN);
  context.plan(all, apart ? 0 : at.pairs, apart ? 0 : (segments?.pairs.length ?? 0) / 2);
  pass.set(FIELD.x, at.x);
  pass.set(FIELD.dy, at.dy);
  pass.set(FIELD.dx, at.dx);
  pass.set(FIELD.residual, 0);
  pass.set(FIELD.dresidual, at.dresidual);
  const late = saved.extras !== undefined && isFinished(saved.extras);
  pass.set(FIELD.activation, late ? 0 : core.activation);
  pass.set(FIELD.bits, saved.residual && !late ? context.places!.bits : 0);
  pass.setDouble(DOUBLE.count, saved.count);
  if (apart) runParts(context, segments, at.pairs, true, all);
  else if (parts) parts.run(pass, true, (i) => held.kernels.tile(pass.address, PHASE.BACKWARD, i, 0));
  else runBackward(held, pass);
}

/** Adds dgamma and dbeta to the gradients, which may be one array. */
function addGradients(
  { held, pass, saved }: Context,
  n: number,
  gamma: Parameter | null,
  beta: Parameter | null,
): void {
  if (saved!.correction)
    correctSums(held.f64, pass.get(FIELD.dgamma), pass.get(FIELD.dbeta), saved!.correction);
  if (gamma) add(gamma.grad, held.f64, pass.get(FIELD.dgamma) / 8, n);
  if (beta) add(beta.grad, held.f64, pass.get(FIELD.dbeta) / 8, n);
}

function add(grad: Float32Array, sums: Float64Array, from: number, n: number): void {
  for (let i = 0; i < n; i++) grad[i]! += sums[from++]!;
}
