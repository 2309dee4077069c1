/** Statistics of groups of values, and how those of two sets become those of both. */
import { copyOf64, isFloat64Array } from "../arrays.js";
import { countOf, statisticsOf } from "../engine/geometry.js";
import { DOUBLE, FIELD, STEP } from "../engine/pass.js";
import { runForward } from "../engine/run.js";
import { checkFinite, rangeError, readFields, typeError } from "../errors.js";
import { runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import {
  type AxesOptions,
  contextOf,
  frameOf,
  place,
  plan,
  readAll,
  readMinibatch,
  vectorAt,
} from "./frame.js";

/** Statistics of groups of `count` values: a mean and a sum of squares about it for each. */
export interface Moments {
  /** Values in a group, the same for each. */
  count: number;
  /** A value for each group; with `rms` 0. */
  mean: Float64Array;
  /** `sum((x - mean)^2)`: the biased variance is `m2 / count`. */
  m2: Float64Array;
}

/**
 * Mean and sum of squared deviations over `axes`, one for each index of the other axes in row-major order.
 *
 * @throws TypeError, RangeError for a wrong argument
 */
export function moments(x: Float32Array, shape: readonly number[], options: AxesOptions): Moments {
  const who = "moments";
  const frame = frameOf(who, shape, readAll(who, options), false);
  const { geometry, segments } = frame;
  const held = runtime();
  const values = readMinibatch(who, "x", x, frame.shape, held);
  const count = segments ? segments.rows : countOf(geometry);
  const n = statisticsOf(geometry);
  if (values.size === 0 || count === 0) return { count, mean: new Float64Array(n), m2: new Float64Array(n) };
  return Scratch.with(held, (scratch) => {
    const address = place(held, scratch, values, frame.whole);
    const context = contextOf(held, frame, 0);
    plan(context, scratch, frame, STEP.REDUCE | STEP.EXACTLY);
    const { pass, places } = context;
    pass.set(FIELD.x, address);
    pass.set(FIELD.y, 0);
    pass.setDouble(DOUBLE.count, count);
    runForward(held, pass);
    return {
      count,
      mean: vectorAt(held, places!.mean, n, frame.kept),
      m2: vectorAt(held, places!.variance, n, frame.kept).map((variance) => variance * count),
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
