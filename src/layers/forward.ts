import { checkLength, copyInto, isArray } from "../arrays.js";
import { rangeError, readOptions, readShape, typeError } from "../errors.js";
import { APPLY, countOf, forwardPass, REDUCE } from "../passes.js";
import { Scratch } from "../runtime/scratch.js";
import {
  copyIn,
  copyOut,
  drop,
  type Minibatch,
  NEW,
  newLike,
  place,
  readOperand,
  readSized,
} from "./call.js";
import { extrasOf, type LayerCore, type Saved } from "./core.js";
import { type Flags, placeSegments, readFlags, segmentsOf } from "./mask.js";

/** What a forward is given beside its minibatch. */
interface Call {
  shape?: readonly number[] | undefined;
  residual?: unknown;
  flags?: Flags | undefined;
}

function readCall(core: LayerCore, who: string, options: unknown, x: unknown): Call {
  // A shape seen before needs no second look: its copy serves.
  const known = core.known(options);
  if (known) return { shape: known };
  if (isArray(options)) return { shape: readShape(who, options) };
  const { shape, residual, mask } = readOptions(who, options, {
    shape: undefined,
    residual: undefined,
    mask: undefined,
  });
  const refuse = (what: string, got: unknown) => {
    if (got !== undefined && !core.family.running)
      throw typeError(who, `no ${what}: only BatchNorm takes one`, got);
  };
  refuse("residual", residual);
  refuse("mask", mask);
  return {
    shape: shape === undefined ? undefined : readShape(who, shape),
    residual,
    flags: mask === undefined ? undefined : readFlags(who, mask, readOperand(who, "x", x).size),
  };
}

/** Normalizes x into `out`, or into a new minibatch for NEW. */
export function forward(core: LayerCore, who: string, x: unknown, out: unknown, options: unknown): Minibatch {
  // What may run code of the caller's comes first, so that all that follows stays as it was checked.
  core.checkAlive(who);
  const call = options === undefined ? undefined : readCall(core, who, options, x);
  const vectors = core.learned.read(who);
  const { gamma, beta } = vectors;
  const held = core.use(who);
  const { family, training } = core;
  const from = readOperand(who, "x", x);
  const shape = call?.shape ?? from.shape ?? family.shapeOf(who, from.size);
  if (shape !== from.shape) checkLength(who, "x", shape, from.size);
  const geometry = core.cut(who, shape);
  const into = out === NEW ? undefined : readSized(who, "out", out, shape);
  if (training && x === out) throw typeError(who, "out to be another than x in training", out);
  const frozen = core.frozen(who);
  const residual =
    call?.residual === undefined ? undefined : readSized(who, "residual", call.residual, shape);
  const segments =
    call?.flags && segmentsOf(who, call.flags, geometry.rows * geometry.length, geometry.length);
  const count = segments ? segments.rows * geometry.width : countOf(geometry);
  if (training && from.size > 0 && count < family.least) {
    const counted = segments ? " unmasked" : "";
    throw rangeError(who, `at least ${family.least}${counted} values for each statistic in training`, count);
  }

  // Arrays are told apart here and not where they are copied: an engine inlines only so many calls, and Tensors should
  // not pay for those that concern arrays.
  // Whatever can be refused comes first: new memory, then what the layer keeps.
  const scratch = new Scratch(held);
  const { f32 } = held;
  let fresh: Minibatch | undefined;
  try {
    const added = residual ? place(scratch, residual) : 0;
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    if (!into) fresh = newLike(from, shape);
    const to = into ?? readOperand(who, "out", fresh);
    const y = place(scratch, to);
    const places =
      core.fits(geometry, from) && held.f32 === f32
        ? core.places!
        : core.reserve(who, held, geometry, from, f32);
    const input = from.address ?? places.x;
    const { running } = family;
    const block = frozen ? places.frozen : places.block;
    if (from.array) copyIn(held, from, input);
    if (residual?.array) copyIn(held, residual, added);
    if (gamma) copyInto(held.f32, gamma.data, block.gamma / 4, core.channels);
    if (beta) copyInto(held.f32, beta.data, block.beta / 4, core.channels);
    if (frozen) running!.place(held, block);
    const saved: Saved = {
      places,
      shape,
      size: from.size,
      x: from.array ? undefined : from,
      owner: from.array ? undefined : x,
      overwritten: input === y && from.size > 0,
      frozen,
      count,
      added: residual !== undefined,
      segments,
    };
    if (from.size > 0) {
      const steps = frozen ? APPLY : REDUCE | APPLY;
      forwardPass(held, geometry, steps, input, y, core.eps, block, extrasOf(saved, pairs, vectors, added));
      if (to.array) copyOut(held, to, y);
      if (running && training) running.track(held, block, count);
    }
    core.saved = saved;
    return into ? (out as Minibatch) : fresh!;
  } catch (error) {
    drop(fresh);
    throw error;
  } finally {
    scratch.release();
  }
}
