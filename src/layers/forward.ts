import { copyInto } from "../arrays.js";
import { type Context, emptySaved, isUnsaved, passingContext } from "../engine/context.js";
import { addressOf, bringExtras, isFinished, setExtras } from "../engine/extras.js";
import { countOf, type Geometry, statisticsOf } from "../engine/geometry.js";
import { countsOf, isApart, runParts } from "../engine/masked.js";
import { drop, type Minibatch, newLike, type Operand, ownPlace, readOperand } from "../engine/operand.js";
import { DOUBLE, FIELD, PHASE, STEP } from "../engine/pass.js";
import { runAround, runForward } from "../engine/run.js";
import { placeSegments } from "../engine/segments.js";
import { castRows, isLong, isStaged, Parts, type Tiles, tilesOf } from "../engine/staged.js";
import { makeRoom } from "../engine/workspace.js";
import type { Runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import { type Core, coreOf } from "../tensor.js";
import type { LayerCore } from "./core.js";
import { type Prepared, read } from "./prepare.js";
import { correct } from "./renorm.js";

/** Normalizes x into `out`, or into a new minibatch for NEW. */
export function forward(core: LayerCore, who: string, x: unknown, out: unknown, options: unknown): Minibatch {
  core.checkAlive(who);
  const held = core.use(who);
  if (options === undefined && repeat(core, who, held, x, out)) return out as Minibatch;
  const prepared = read(core, who, x, out, options);
  const { call, from, shape, geometry, into, residual, extras, segments } = prepared;
  const context = call.context ?? (call.save ? core.own : passingContext(held));
  const { f32 } = held;

  // Whatever can be refused comes first: new memory, then what the layer keeps.
  const scratch = new Scratch(held);
  let fresh: Minibatch | undefined;
  try {
    if (!into) fresh = newLike(from, shape);
    const to = into ?? readOperand(who, "out", fresh);
    const operands = [from, to, residual, extras?.stream];
    const tiles = core.family.renorm ? undefined : tilesFor(held, scratch, prepared, operands);
    const parts = new Parts(held, scratch, tiles, geometry, operands);
    const copied = isCopied(prepared);
    // The largest first: memory does not grow for a tile's room where there is none for the copy that is kept.
    if (tiles && copied && call.save && !context.places?.x) held.free(held.alloc(4 * from.size));
    const added = residual ? parts.take(residual) : 0;
    const stream = extras?.stream ? parts.take(extras.stream, true) : 0;
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    // What is added to a stream is not kept: the sum is. Nor is what a Tensor of 16 bits becomes.
    const stays = copied ? call.save : ownPlace(from) !== undefined;
    const staged = stream || !stays ? parts.take(from) : 0;
    // Kernels may write over what they read, unless that is kept, or is read again.
    const y = parts.takeOut(to, stream ? 0 : staged);
    const unkept = extras?.bytes && !call.save ? scratch.take(extras.bytes) : 0;
    reserve(core, who, context, prepared, held.f32 !== f32, (g) => makeRoom(held, scratch, g, pairs));
    const input = staged || (copied ? context.places!.x : from.address!);
    const inPlace = !copied && from.address === to.address;
    if (!staged) parts.keep(from, input);
    parts.bring();
    if (extras) bringExtras(who, held, scratch, extras, unkept || context.places!.extra, geometry);
    if (from.size > 0) {
      const base = unkept || context.places!.extra;
      run(core, who, context, prepared, { x: input, y, residual: added, stream, base, pairs }, parts);
      parts.carry();
    }
    settle(core, context, prepared, x, inPlace && from.size > 0);
    const apart = input === from.address && y === to.address && !inPlace;
    const repeatable = options === undefined && call.save && from.size > 0 && apart;
    core.ready = repeatable
      ? { prepared, context, shape: from.shape, training: core.training, f32: held.f32 }
      : undefined;
    return into ? (out as Minibatch) : fresh!;
  } catch (error) {
    drop(fresh);
    scratch.release();
    if (held.reclaim(error)) return forward(core, who, x, out, options);
    throw error;
  } finally {
    scratch.release();
  }
}

/** The tiles that a call goes by; undefined where it goes as a whole. */
function tilesFor(
  held: Runtime,
  scratch: Scratch,
  { from, geometry, segments, extras, cast }: Prepared,
  operands: readonly (Operand | undefined)[],
): Tiles | undefined {
  const { turned, perElement } = geometry;
  if (from.size === 0 || turned !== undefined || !(perElement || !(segments || extras))) return;
  if (!cast && !(isLong(from.size) && operands.some(isStaged))) return;
  // Several threads make up for arrays' room; 16-bit minibatches are for theirs.
  if (held.team && !operands.some((operand) => operand?.element)) return;
  return tilesOf(held, scratch, geometry, false);
}

/** A forward of two Tensors without options, ready to be made again. */
interface Ready {
  prepared: Prepared;
  context: Context;
  shape: readonly number[];
  training: boolean;
  /** Memory has not grown as long as this is its view. */
  f32: Float32Array;
}

/** Makes the last forward again, if nothing but its Tensors differs, and tells whether it did. @throws as `forward` */
function repeat(core: LayerCore, who: string, held: Runtime, x: unknown, out: unknown): boolean {
  const ready = core.ready as Ready | undefined;
  if (ready === undefined || ready.training !== core.training || ready.f32 !== held.f32 || isUnsaved())
    return false;
  const from = coreOf(x);
  const to = coreOf(out);
  if (from?.shape !== ready.shape || to?.shape !== ready.shape || from === to) return false;
  if (from.element + to.element > 0) return false;
  const { prepared, context } = ready;
  prepared.vectors = core.learned.read(who);
  core.family.running?.check(who);
  // The caller's own code may have run.
  if (core.ready !== ready || ready.f32 !== held.f32 || from.address === 0 || to.address === 0) return false;
  prepared.from = from;
  run(core, who, context, prepared, {
    x: from.address,
    y: to.address,
    residual: 0,
    stream: 0,
    base: 0,
    pairs: 0,
  });
  settle(core, context, prepared, x, false);
  return true;
}

/** Whether backward finds the kernels' input in the context rather than in a Tensor. */
const isCopied = ({ from, geometry, extras }: Prepared): boolean =>
  Boolean(from.array) || geometry.turned !== undefined || extras?.stream !== undefined;

/**
 * Makes sure that the context has room, and before that, by `first`, that the call has.
 *
 * @throws RangeError, or what `learned.check` throws where memory has grown
 */
function reserve(
  core: LayerCore,
  who: string,
  context: Context,
  prepared: Prepared,
  grown: boolean,
  first: (g: Geometry) => void,
): void {
  const { call, from, geometry, residual, extras } = prepared;
  const { places, held } = context;
  const x = isCopied(prepared) && call.save ? 4 * from.size : 0;
  const extra = call.save ? (extras?.bytes ?? 0) : 0;
  // Without a residual ReLU's decisions are taken again from x.
  const bits = call.save && residual !== undefined && core.activation !== 0 && !extras?.late;
  if (
    !grown &&
    places?.geometry === geometry &&
    (!x || places.x) &&
    (!bits || places.bits) &&
    extra <= places.extraBytes
  )
    return;
  const { f32 } = held;
  if (from.size > 0) first(geometry);
  core.forget(context);
  context.reserve(
    geometry,
    { x, bits, extra, running: core.family.running !== undefined },
    core.eps,
    core.activation,
    () => {
      // Growth has detached what is a Tensor's view.
      if (grown || held.f32 !== f32) core.learned.check(who);
    },
  );
}

interface Addresses {
  x: number;
  y: number;
  residual: number;
  stream: number;
  /** Where the extras' copies lie. */
  base: number;
  pairs: number;
}

/** Writes the pass and runs it. */
function run(
  core: LayerCore,
  who: string,
  context: Context,
  prepared: Prepared,
  at: Addresses,
  parts?: Parts,
): void {
  const { frozen, segments, count, extras, call, geometry, cast } = prepared;
  const { held, pass } = context;
  const places = context.places!;
  const { running } = core.family;
  const { gamma, beta } = prepared.vectors;
  if (!frozen && !core.training) core.forgetBatch(context);
  context.useStatistics(frozen);
  // Nothing counts: a spread without bounds leaves beta alone.
  const { perElement } = places.geometry;
  const empty = !frozen && count === 0 && segments !== undefined && !perElement;
  const apart = segments !== undefined && !frozen && !empty && !perElement && isApart(places.geometry);
  const whole = empty || perElement || apart;
  const renorm = core.training && !empty ? core.family.renorm : undefined;
  const plan = (steps: number) =>
    context.plan(steps, whole ? 0 : at.pairs, whole ? 0 : (segments?.pairs.length ?? 0) / 2);
  plan(frozen || empty ? STEP.APPLY : renorm ? STEP.REDUCE : STEP.REDUCE | STEP.APPLY);
  const { f32, f64 } = held;
  if (gamma) copyInto(f32, gamma.data, places.gamma / 4, core.channels);
  if (beta) copyInto(f32, beta.data, places.beta / 4, core.channels);
  const { gammaOffset } = core.family;
  if (gamma && gammaOffset) {
    for (let i = places.gamma / 4, end = i + core.channels; i < end; i++) f32[i]! += gammaOffset;
  }
  pass.set(FIELD.gamma, gamma && !cast ? places.gamma : 0);
  pass.set(FIELD.beta, beta ? places.beta : 0);
  // What is normalized is the new stream.
  pass.set(FIELD.x, at.stream ? (call.save ? places.x : at.stream) : at.x);
  pass.set(FIELD.y, at.y);
  const late = extras?.late ?? 0;
  pass.set(FIELD.activation, late ? 0 : core.activation);
  pass.set(FIELD.residual, extras?.lateResidual ? 0 : at.residual);
  pass.set(FIELD.bits, at.residual && call.save && !late ? places.bits : 0);
  pass.setDouble(DOUBLE.count, perElement ? countOf(geometry) : count);
  if (frozen) running!.place(context);
  if (empty) {
    const n = statisticsOf(places.geometry);
    f64.fill(0, places.mean / 8, places.mean / 8 + n);
    f64.fill(Infinity, places.variance / 8, places.variance / 8 + n);
  }
  prepared.correction = undefined;
  if (renorm) {
    if (!gamma) f32.fill(1, places.gamma / 4, places.gamma / 4 + core.channels);
    if (!beta) f32.fill(0, places.beta / 4, places.beta / 4 + core.channels);
    runForward(held, pass);
    prepared.correction = correct(context, renorm, running!, core.eps);
    pass.set(FIELD.gamma, places.gamma);
    pass.set(FIELD.beta, places.beta);
    plan(STEP.APPLY);
  }
  if (extras) {
    setExtras(pass, extras, {
      stream: at.stream,
      scale: addressOf(who, extras.scale, at.base),
      shift: addressOf(who, extras.shift, at.base),
      gate: addressOf(who, extras.gate, at.base),
    });
    pass.set(FIELD.lateResidual, extras.lateResidual ? at.residual : 0);
    pass.set(FIELD.copy, at.stream && call.save ? places.x : 0);
    pass.set(FIELD.added, at.x);
  }
  const after = extras !== undefined && (isFinished(extras) || extras.lateResidual);
  if (parts?.tiles) {
    const { kernels } = held;
    const { address } = pass;
    parts.run(pass, false, (i, first, end) => {
      if (at.stream) kernels.before(address, first, end);
      kernels.tile(address, PHASE.FORWARD, i, 0);
      if (cast) {
        const y = (pass.get(FIELD.y) + 4 * first * geometry.length) >>> 0;
        castRows(held, y, end - first, geometry.length, cast, gamma ? places.gamma : 0);
      }
      if (after) kernels.after(address, first, end, 0);
    });
    // Backward has it again.
    if (cast) pass.set(FIELD.gamma, gamma ? places.gamma : 0);
    return;
  }
  const kernels = () => {
    if (apart) runParts(context, segments, at.pairs, false, STEP.REDUCE | STEP.APPLY);
    else runForward(held, pass);
  };
  if (extras) runAround(held, pass, geometry, after, kernels);
  else kernels();
}

/** What is left of a forward: running statistics, and what backward needs. */
function settle(
  core: LayerCore,
  context: Context,
  prepared: Prepared,
  x: unknown,
  overwritten: boolean,
): void {
  const { call, from, shape, geometry, residual, extras, segments, count, frozen } = prepared;
  const { training, family } = core;
  const { running } = family;
  if (from.size > 0) {
    if (running && training && call.updateRunning) {
      if (count === 0) running.skipAll();
      else if (family.virtual) running.trackEach(context, countsOf(geometry, segments, count));
      else running.track(context, count);
    }
    if (!(training && count === 0)) {
      core.note(context, frozen, statisticsOf(geometry), training, call.save);
      if (training) core.correction = prepared.correction;
    }
  }
  if (!call.save) return;
  const saved = (context.saved ??= emptySaved());
  saved.interrupted = !training && saved.training && saved.size > 0 && !saved.used;
  saved.shape = shape;
  saved.size = from.size;
  saved.x = isCopied(prepared) ? undefined : (from as Core);
  saved.owner = isCopied(prepared) ? undefined : x;
  saved.overwritten = overwritten;
  saved.frozen = frozen;
  saved.training = training;
  saved.count = count;
  saved.residual = residual !== undefined;
  saved.extras = extras;
  saved.segments = segments;
  saved.correction = prepared.correction;
  saved.cast = prepared.cast;
  saved.used = false;
}
