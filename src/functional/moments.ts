/** Statistics of groups of values, and how those of two sets become those of both. */
import {
  checkArray,
  checkLength,
  copyInto,
  copyOf64,
  type Given,
  given,
  isFloat64Array,
  renewed,
} from "../arrays.js";
import { cut, readAxes } from "../engine/axes.js";
import { type Context, passingContext } from "../engine/context.js";
import { countOf, type Geometry, statisticsOf } from "../engine/geometry.js";
import { DOUBLE, FIELD, STEP } from "../engine/pass.js";
import { runForward } from "../engine/run.js";
import { checkFinite, rangeError, readFields, readOptions, readShape, typeError } from "../errors.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";

/** Statistics of groups of `count` values: a mean and a sum of squares about it for each. */
export interface Moments {
  /** Values in a group, the same for each. */
  count: number;
  /** A value for each group. */
  mean: Float64Array;
  /** `sum((x - mean)^2)`: the biased variance is `m2 / count`. */
  m2: Float64Array;
}

/** Which values make a group. */
export interface AxesOptions {
  /** The axes that a statistic is taken over, from 0; negative ones count from the last. */
  axes: readonly number[];
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

/** A copy of a minibatch in a call's memory, and its address. */
export function place(held: Runtime, scratch: Scratch, values: Given): number {
  const address = scratch.take(4 * values.size);
  copyInto(held.f32, renewed(values, held.f32), address / 4, values.size);
  return address;
}

/** A pass of this geometry on the runtime's own memory, with nothing beside x. */
export function contextOf(held: Runtime, g: Geometry, eps: number): Context {
  const context = passingContext(held);
  context.reserve(g, { x: 0, bits: false, extra: 0, running: false }, eps, 0, () => {});
  context.useStatistics(false);
  for (const field of [FIELD.gamma, FIELD.beta, FIELD.residual, FIELD.dresidual, FIELD.bits])
    context.pass.set(field, 0);
  return context;
}

export const vectorAt = ({ f64 }: Runtime, address: number, n: number): Float64Array =>
  f64.slice(address / 8, address / 8 + n);

/**
 * Mean and sum of squared deviations over `axes`, one for each index of the other axes in row-major order.
 *
 * @throws TypeError, RangeError for a wrong argument, or axes that are none of the layers' patterns
 */
export function moments(x: Float32Array, shape: readonly number[], options: AxesOptions): Moments {
  const who = "moments";
  const extents = readShape(who, shape);
  // The options of the other functions are known here too, so that one object serves all.
  const { axes } = readOptions(who, options, {
    axes: undefined,
    eps: undefined,
    gamma: undefined,
    beta: undefined,
    parameterAxes: undefined,
  });
  const reduced = readAxes(who, "axes", axes, extents.length);
  const g = cut(
    who,
    extents,
    reduced,
    reduced.map(() => false),
  );
  const held = runtime();
  const values = readMinibatch(who, "x", x, extents, held);
  const count = countOf(g);
  const n = statisticsOf(g);
  if (values.size === 0) return { count, mean: new Float64Array(n), m2: new Float64Array(n) };
  return Scratch.with(held, (scratch) => {
    const address = place(held, scratch, values);
    const context = contextOf(held, g, 0);
    context.plan(STEP.REDUCE | STEP.EXACTLY, 0, 0);
    const { pass, places } = context;
    pass.set(FIELD.x, address);
    pass.set(FIELD.y, 0);
    pass.setDouble(DOUBLE.count, count);
    runForward(held, pass);
    return {
      count,
      mean: vectorAt(held, places!.mean, n),
      m2: vectorAt(held, places!.variance, n).map((variance) => variance * count),
    };
  });
}

export function readMoments(who: string, value: unknown, n?: number): Moments {
  const { count, mean, m2 } = readFields(who, value, { count: undefined, mean: undefined, m2: undefined });
  const wanted = "moments with count, mean and m2 (Float64Array)";
  if (!isFloat64Array(mean) || !isFloat64Array(m2)) throw typeError(who, wanted, value);
  const own = { count: checkFinite(who, "count", count, 0), mean: copyOf64(mean), m2: copyOf64(m2) };
  const lengths = [own.mean.length, own.m2.length] as const;
  if (lengths[0] !== lengths[1] || (n !== undefined && lengths[0] !== n)) {
    throw rangeError(who, `moments of ${n ?? lengths[0]} groups`, lengths);
  }
  return own;
}

/**
 * The moments of two sets of values together, exact up to rounding in any order (Chan, Golub & LeVeque 1979).
 *
 * @throws TypeError, RangeError unless both have the same number of groups
 */
export function mergeMoments(a: Moments, b: Moments): Moments {
  const one = readMoments("mergeMoments", a);
  const two = readMoments("mergeMoments", b, one.mean.length);
  const count = one.count + two.count;
  if (one.count === 0 || two.count === 0) {
    const { mean, m2 } = one.count === 0 ? two : one;
    return { count, mean: mean.slice(), m2: m2.slice() };
  }
  const share = two.count / count;
  const distance = one.mean.map((mean, i) => two.mean[i]! - mean);
  return {
    count,
    mean: one.mean.map((mean, i) => mean + distance[i]! * share),
    m2: one.m2.map((m2, i) => m2 + two.m2[i]! + distance[i]! * distance[i]! * one.count * share),
  };
}
