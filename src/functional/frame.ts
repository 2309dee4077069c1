/** Which values of a minibatch make a group, read: how the kernels walk them, and what lies where. */
import { checkArray, checkLength, copyInto, type Given, given, renewed, sizeOf } from "../arrays.js";
import { cut, readAxes } from "../engine/axes.js";
import { type Context, passingContext } from "../engine/context.js";
import type { Geometry } from "../engine/geometry.js";
import { flagsOf, unitOf } from "../engine/masked.js";
import { FIELD } from "../engine/pass.js";
import { type Mask, placeSegments, readFlags, type Segments, segmentsOf } from "../engine/segments.js";
import { checkBoolean, rangeError, readOptions, readShape } from "../errors.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Order, orderOf, permute } from "./order.js";

/** Which values make a group, and what a statistic is taken about. */
export interface AxesOptions {
  /** The axes that a statistic is taken over, any of them, from 0; negative ones count from the last. */
  axes: readonly number[];
  /** True: about 0 instead of the mean, as RMS norm takes it; means are 0 then, and `m2` is `sum(x^2)`. Default false. */
  rms?: boolean | undefined;
  /** Which values count, the same for each group: a flag for each index of `axes`, in row-major order. */
  mask?: Mask | undefined;
}

/** Every option of every function here, so that one object serves all. */
const OPTIONS = {
  axes: undefined,
  rms: false,
  mask: undefined,
  eps: 1e-5,
  gamma: null,
  beta: null,
  parameterAxes: undefined,
  activation: "none",
  residual: undefined,
  modulation: undefined,
  gate: undefined,
  residualGrad: undefined,
  modulationGrad: undefined,
  gateGrad: undefined,
};

/** Options that were read and not judged. */
export type Options = Record<keyof typeof OPTIONS, unknown>;

/** A minibatch's shape, cut into groups. */
export interface Frame {
  readonly shape: readonly number[];
  readonly size: number;
  readonly geometry: Geometry;
  /** The axes in the order that they are walked in. */
  readonly axes: readonly number[];
  /** How minibatches, statistics, and gamma and beta are brought into that order; undefined where they stand in it. */
  readonly whole: Order | undefined;
  readonly kept: Order | undefined;
  readonly own: Order | undefined;
  /** What counts; undefined where all does. */
  readonly segments: Segments | undefined;
}

export const readAll = (who: string, options: unknown): Options => readOptions(who, options, OPTIONS);

/** @param parameters whether gamma and beta have axes of their own. @throws TypeError, RangeError */
export function frameOf(who: string, shape: unknown, o: Options, parameters: boolean): Frame {
  const extents = readShape(who, shape);
  const reduced = readAxes(who, "axes", o.axes, extents.length);
  const given = parameters && (o.gamma !== null || o.beta !== null || o.modulation !== undefined);
  const own =
    parameters && o.parameterAxes !== undefined
      ? readAxes(who, "parameterAxes", o.parameterAxes, extents.length)
      : given
        ? reduced.map((flag) => !flag)
        : undefined;
  const rms = checkBoolean(who, "rms", o.rms);
  const { geometry: g, order } = cut(who, extents, reduced, own);
  const size = sizeOf(extents);
  const flags = o.mask === undefined ? undefined : readFlags(who, o.mask, size);
  if (flags && (g.outer > 1 || g.width > 1 || g.perElement))
    throw rangeError(
      who,
      "no mask but where each of its values is for all groups, as in batch norm",
      extents,
    );
  return {
    shape: extents,
    size,
    geometry: rms ? { ...g, rms } : g,
    axes: order ?? [...extents.keys()],
    whole: orderOf(extents, order, () => true),
    kept: orderOf(extents, order, (axis) => !reduced[axis]),
    own: orderOf(extents, order, (axis) => own?.[axis] ?? false),
    segments: flags && segmentsOf(who, flags, flagsOf(g), unitOf(g)),
  };
}

export function readMinibatch(
  who: string,
  name: string,
  value: unknown,
  shape: readonly number[],
  { f32 }: Runtime,
): Given {
  const array = given(checkArray(who, name, value), f32);
  checkLength(who, name, shape, array.size);
  return array;
}

/** A copy of a minibatch in a call's memory, as it is walked, and its address. */
export function place(held: Runtime, scratch: Scratch, values: Given, order?: Order): number {
  const address = scratch.take(4 * values.size);
  const array = renewed(values, held.f32);
  if (order) permute(array, held.f32.subarray(address / 4, address / 4 + values.size), order);
  else copyInto(held.f32, array, address / 4, values.size);
  return address;
}

/** A minibatch from a call's memory, in its own order. */
export function taken({ f32 }: Runtime, address: number, size: number, order?: Order) {
  const values = f32.slice(address / 4, address / 4 + size);
  return order ? permute(values, new Float32Array(size), order, true) : values;
}

/** Float64 from a call's memory, in their own order. */
export function vectorAt({ f64 }: Runtime, address: number, n: number, order?: Order): Float64Array {
  const values = f64.slice(address / 8, address / 8 + n);
  return order ? permute(values, new Float64Array(n), order, true) : values;
}

/** A pass on the runtime's own memory, with nothing beside x. */
export function contextOf(held: Runtime, { geometry }: Frame, eps: number): Context {
  const context = passingContext(held);
  context.reserve(geometry, { x: 0, bits: false, extra: 0, running: false }, eps, 0, () => {});
  context.useStatistics(false);
  for (const field of [FIELD.gamma, FIELD.beta, FIELD.residual, FIELD.dresidual, FIELD.bits])
    context.pass.set(field, 0);
  return context;
}

/** Plans a pass over what counts. */
export function plan(context: Context, scratch: Scratch, { segments }: Frame, steps: number): void {
  const pairs = segments ? placeSegments(context.held, scratch, segments) : 0;
  context.plan(steps, pairs, (segments?.pairs.length ?? 0) / 2);
}
