/**
 * What comes around a normalization from given statistics. All of it is a stage after the kernels, the residual and ReLU too: the
 * backward steps compute the kernels' output again, and take every decision by the same bits.
 */
import { checkVector, copyFrom, copyOf, type Given, isImmutable } from "../arrays.js";
import { ACTIVATIONS } from "../engine/activation.js";
import type { Context } from "../engine/context.js";
import { parametersOf, rowOf } from "../engine/geometry.js";
import { FIELD, STEP } from "../engine/pass.js";
import { runForward, runStage } from "../engine/run.js";
import { clearOthers } from "../engine/segments.js";
import { checkWord, rangeError, readOptions, typeError } from "../errors.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Frame, type Options, place, plan, readMinibatch, taken } from "./frame.js";

/** A scale and a shift: a row of gamma's values each, or several. */
export interface FunctionalModulation {
  /** What n is multiplied by, less 1. */
  scale: Float32Array;
  /** What is added then. */
  shift: Float32Array;
}

/** What comes around, read. */
export interface Around {
  readonly activation: number;
  readonly residual: Given | undefined;
  readonly gate: Given | undefined;
  readonly modulation: { scale: Float32Array; shift: Float32Array; perCondition: number } | undefined;
}

/** Places for what a backward gives beside dx. */
export interface Further {
  readonly residual: Float32Array | undefined;
  readonly gate: Float32Array | undefined;
  readonly modulation: { scale: Float32Array; shift: Float32Array } | undefined;
}

/** Rows of modulation that there may be: one for all, or one for each index of the first axes. */
function conditionsOf({ geometry: g, axes, shape, own }: Frame): number[] {
  if (own) return [];
  const lead = g.outer * g.rows;
  const counts = [1];
  for (let i = 0; axes[i] === i && counts.at(-1)! * shape[i]! <= lead; i++)
    counts.push(counts.at(-1)! * shape[i]!);
  // A run has one scale: then only one row for each is there to choose.
  return g.perElement || g.length === 1 ? counts : counts.filter((count) => count === lead);
}

function readModulation(who: string, name: string, value: unknown, sizes: number[]) {
  const { scale, shift } = readOptions(`${who}: ${name}`, value, { scale: undefined, shift: undefined });
  const one = (part: string, given: unknown, allowed: number[]) => {
    const size = allowed.find((count) => count === (given as ArrayLike<number> | undefined)?.length);
    if (size === undefined && allowed.length !== 1)
      throw rangeError(who, `${name}.${part} to have ${allowed.join(" or ") || "no"} values`, given);
    return checkVector(who, `${name}.${part}`, given, size ?? allowed[0]!);
  };
  const first = one("scale", scale, sizes);
  return { scale: first, shift: one("shift", shift, [first.length]) };
}

/** @throws TypeError, RangeError */
export function readAround(who: string, o: Options, frame: Frame, held: Runtime): Around | undefined {
  const activation = ACTIVATIONS.indexOf(checkWord(who, "activation", o.activation, ...ACTIVATIONS));
  if (!activation && o.residual === undefined && o.gate === undefined && o.modulation === undefined)
    return undefined;
  const { geometry: g, shape } = frame;
  const channels = parametersOf(g);
  const minibatch = (name: "residual" | "gate") =>
    o[name] === undefined ? undefined : readMinibatch(who, name, o[name], shape, held);
  const residual = minibatch("residual");
  const gate = minibatch("gate");
  if (o.modulation === undefined) return { activation, residual, gate, modulation: undefined };
  const counts = conditionsOf(frame);
  if (counts.length === 0) throw rangeError(who, "no modulation where these axes are to be moved", shape);
  const { scale, shift } = readModulation(
    who,
    "modulation",
    o.modulation,
    [...new Set(counts)].map((count) => count * channels),
  );
  const runs = !g.perElement && g.length > 1;
  const perCondition = runs ? 1 : Math.max(1, (g.outer * g.rows * channels) / (scale.length || 1));
  const modulation = { scale: copyOf(scale), shift: copyOf(shift), perCondition };
  return { activation, residual, gate, modulation };
}

/** @throws TypeError, RangeError; TypeError also for what was not there to have a gradient */
export function readFurther(who: string, o: Options, frame: Frame, around: Around | undefined): Further {
  const output = (name: "residualGrad" | "gateGrad", there: unknown) => {
    if (o[name] === undefined) return undefined;
    if (!there) throw typeError(who, `no ${name} without a ${name.slice(0, -4)}`, o[name]);
    return writable(name, checkVector(who, name, o[name], frame.size));
  };
  const writable = (name: string, array: Float32Array) => {
    if (isImmutable(array)) throw typeError(who, `${name} that can be written to`, array);
    return array;
  };
  const residual = output("residualGrad", around?.residual);
  const gate = output("gateGrad", around?.gate);
  if (o.modulationGrad === undefined) return { residual, gate, modulation: undefined };
  const { modulation: given } = around ?? {};
  if (!given) throw typeError(who, "no modulationGrad without a modulation", o.modulationGrad);
  const modulation = readModulation(who, "modulationGrad", o.modulationGrad, [given.scale.length]);
  writable("modulationGrad.scale", modulation.scale);
  writable("modulationGrad.shift", modulation.shift);
  return { residual, gate, modulation };
}

/** Writes into a pass what stages need of a forward. */
function setAround(context: Context, scratch: Scratch, around: Around, frame: Frame): void {
  const { held, pass } = context;
  const { residual, gate, modulation } = around;
  const vector = (values: Float32Array | undefined) => {
    if (!values) return 0;
    const address = scratch.take(4 * values.length);
    held.f32.set(values, address / 4);
    return address;
  };
  pass.set(FIELD.late, around.activation);
  pass.set(FIELD.lateResidual, residual ? place(held, scratch, residual, frame.whole) : 0);
  pass.set(FIELD.gate, gate ? place(held, scratch, gate, frame.whole) : 0);
  pass.set(FIELD.scale, vector(modulation?.scale));
  pass.set(FIELD.shift, vector(modulation?.shift));
  pass.set(FIELD.perCondition, modulation?.perCondition ?? 1);
}

/** What stages make of the kernels' y. */
export function finishForward(context: Context, scratch: Scratch, around: Around, frame: Frame): void {
  setAround(context, scratch, around, frame);
  runStage(context.held, context.pass, "after", frame.geometry);
}

/** Makes of dy, in place, the gradient of the kernels' output; what else has a gradient is given out. */
export function startBackward(
  context: Context,
  scratch: Scratch,
  around: Around,
  frame: Frame,
  x: number,
  dy: number,
  further: Further | undefined,
): void {
  const { held, pass } = context;
  const { geometry: g, size, segments, whole } = frame;
  const z = scratch.take(4 * size);
  plan(context, scratch, frame, STEP.APPLY);
  pass.set(FIELD.x, x);
  pass.set(FIELD.y, z);
  runForward(held, pass);
  if (segments) {
    // What does not count gives nothing to any sum, whatever its values are.
    clearOthers(held, segments, g, z);
    clearOthers(held, segments, g, dy);
  }
  setAround(context, scratch, around, frame);
  const { modulation } = around;
  const room = (wanted: unknown, values: number) => (wanted ? scratch.take(4 * values) : 0);
  const dresidual = room(further?.residual, size);
  const dgate = room(further?.gate, size);
  const dscale = room(modulation, modulation?.scale.length ?? 0);
  const dshift = room(modulation, modulation?.shift.length ?? 0);
  pass.set(FIELD.sums, modulation ? scratch.take(16 * (rowOf(g) + 8)) : 0);
  pass.set(FIELD.z, z);
  pass.set(FIELD.dy, dy);
  pass.set(FIELD.dx, dy);
  pass.set(FIELD.dresidual, dresidual);
  pass.set(FIELD.dgate, dgate);
  pass.set(FIELD.dscale, dscale);
  pass.set(FIELD.dshift, dshift);
  runStage(held, pass, "beforeBackward", g);
  pass.set(FIELD.dresidual, 0);
  if (further?.residual) copyFrom(taken(held, dresidual, size, whole), 0, further.residual);
  if (further?.gate) copyFrom(taken(held, dgate, size, whole), 0, further.gate);
  if (further?.modulation) {
    copyFrom(held.f32, dscale / 4, further.modulation.scale);
    copyFrom(held.f32, dshift / 4, further.modulation.shift);
  }
}
