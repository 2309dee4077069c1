/**
 * The steps of a normalization as pure functions: statistics, their merging, and the two passes that they finish.
 * Over several workers, machines or accumulation steps: `moments` of each piece, `mergeMoments`, `normalize` each
 * piece; backward, `backwardReduce` each piece, add the sums, `backwardApply` each piece.
 */
import {
  checkArray,
  checkLength,
  checkVector,
  copyInto,
  copyOf,
  copyOf64,
  type Given,
  given,
  isFloat64Array,
  renewed,
  sizeOf,
} from "./arrays.js";
import { cut, readAxes } from "./axes.js";
import {
  checkFinite,
  describe,
  rangeError,
  readFields,
  readOptions,
  readShape,
  typeError,
} from "./errors.js";
import {
  APPLY,
  type Block,
  backwardPass,
  blockAt,
  blockBytes,
  countOf,
  EXACTLY,
  type Extras,
  forwardPass,
  type Geometry,
  parametersOf,
  REDUCE,
  statisticsOf,
} from "./passes.js";
import { type Runtime, runtime } from "./runtime/runtime.js";
import { Scratch } from "./runtime/scratch.js";

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

/** How `normalize` and the backward steps go from statistics to values. */
export interface NormalizeOptions extends AxesOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Scale, a value for each position along `parameterAxes`; default ones. */
  gamma?: Float32Array | null;
  /** Shift, as gamma; default zeros. */
  beta?: Float32Array | null;
  /** The axes that gamma and beta have a value for; default those not in `axes`. */
  parameterAxes?: readonly number[];
}

/** What a backward pass needs to know of all of dy: pieces of a minibatch add theirs. */
export interface Sums {
  /** `sum(dy)` for each value of beta: its gradient. */
  dbeta: Float64Array;
  /** `sum(dy * xhat)` for each value of gamma: its gradient. */
  dgamma: Float64Array;
  /** `sum(gamma * dy)` for each group. */
  sumDy: Float64Array;
  /** `sum(gamma * dy * xhat)` for each group. */
  sumDyXhat: Float64Array;
}

function readMinibatch(
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
function place(held: Runtime, scratch: Scratch, values: Given): number {
  const address = scratch.take(4 * values.size);
  copyInto(held.f32, renewed(values, held.f32), address / 4, values.size);
  return address;
}

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
    const block = blockAt(scratch.take(blockBytes(g)), g);
    const address = place(held, scratch, values);
    forwardPass(held, g, REDUCE | EXACTLY, address, 0, 0, block, none(count));
    const { f64 } = held;
    return {
      count,
      mean: f64.slice(block.mean / 8, block.mean / 8 + n),
      m2: f64.slice(block.variance / 8, block.variance / 8 + n).map((variance) => variance * count),
    };
  });
}

const none = (count: number): Extras => ({
  gamma: false,
  beta: false,
  added: 0,
  bits: 0,
  segments: 0,
  segmentCount: 0,
  count,
});

function readMoments(who: string, value: unknown, n?: number): Moments {
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

/** What the three finishing steps are given, read, and where they put it. */
interface Pass {
  held: Runtime;
  scratch: Scratch;
  geometry: Geometry;
  block: Block;
  extras: Extras;
  eps: number;
  shape: number[];
}

/** Reads the arguments common to the finishing steps, brings them to linear memory and runs `work`. */
function finish<T>(
  who: string,
  shape: readonly number[],
  statistics: Moments,
  options: NormalizeOptions,
  minibatches: Record<string, unknown>,
  work: (pass: Pass, addresses: number[]) => T,
): T {
  const extents = readShape(who, shape);
  const o = readOptions(who, options, {
    axes: undefined,
    eps: 1e-5,
    gamma: null,
    beta: null,
    parameterAxes: undefined,
  });
  const reduced = readAxes(who, "axes", o.axes, extents.length);
  const own =
    o.parameterAxes === undefined
      ? reduced.map((flag) => !flag && (o.gamma !== null || o.beta !== null))
      : readAxes(who, "parameterAxes", o.parameterAxes, extents.length);
  const geometry = cut(who, extents, reduced, own);
  const eps = checkFinite(who, "eps", o.eps, 0);
  const parameters = parametersOf(geometry);
  const { count, mean, m2 } = readMoments(who, statistics, statisticsOf(geometry));
  // No code of the caller's runs from here on.
  const gamma = o.gamma === null ? null : copyOf(checkVector(who, "gamma", o.gamma, parameters));
  const beta = o.beta === null ? null : copyOf(checkVector(who, "beta", o.beta, parameters));
  const held = runtime();
  const arrays = Object.entries(minibatches).map(([name, value]) =>
    readMinibatch(who, name, value, extents, held),
  );
  return Scratch.with(held, (scratch) => {
    const block = blockAt(scratch.take(blockBytes(geometry)), geometry);
    const addresses = arrays.map((array) => place(held, scratch, array));
    const { f32, f64 } = held;
    const n = mean.length;
    f64.set(mean, block.mean / 8);
    f64.set(
      m2.map((value) => value / count),
      block.variance / 8,
    );
    f64.set(
      m2.map((value) => 1 / Math.sqrt(value / count + eps)),
      block.rstd / 8,
    );
    if (gamma) f32.set(gamma, block.gamma / 4);
    if (beta) f32.set(beta, block.beta / 4);
    const extras = { ...none(count), gamma: gamma !== null, beta: beta !== null };
    if (n === 0) extras.count = 0;
    return work({ held, scratch, geometry, block, extras, eps, shape: extents }, addresses);
  });
}

/**
 * `y = gamma * (x - mean) / sqrt(m2 / count + eps) + beta` from given statistics.
 *
 * @throws TypeError, RangeError for a wrong argument
 */
export function normalize(
  x: Float32Array,
  shape: readonly number[],
  statistics: Moments,
  options: NormalizeOptions,
): Float32Array {
  return finish(
    "normalize",
    shape,
    statistics,
    options,
    { x },
    ({ held, geometry, block, extras, eps, ...p }, [at]) => {
      const size = sizeOf(p.shape);
      const address = at!;
      if (size > 0) forwardPass(held, geometry, APPLY, address, address, eps, block, extras);
      return held.f32.slice(address / 4, address / 4 + size);
    },
  );
}

/**
 * The sums over dy that a backward pass needs; those of a minibatch's pieces, added, are the whole minibatch's.
 *
 * @throws TypeError, RangeError for a wrong argument
 */
export function backwardReduce(
  x: Float32Array,
  dy: Float32Array,
  shape: readonly number[],
  statistics: Moments,
  options: NormalizeOptions,
): Sums {
  return finish("backwardReduce", shape, statistics, options, { x, dy }, (pass, [at, dyAt]) => {
    const { held, geometry, block, extras } = pass;
    held.f64.fill(0, block.sum1 / 8, block.dgamma / 8);
    if (sizeOf(pass.shape) > 0) backwardPass(held, geometry, REDUCE, at!, dyAt!, 0, block, extras);
    else held.f64.fill(0, block.dgamma / 8, block.gamma / 8);
    const { f64 } = held;
    const copy = (address: number, n: number) => f64.slice(address / 8, address / 8 + n);
    return {
      dbeta: copy(block.dbeta, parametersOf(geometry)),
      dgamma: copy(block.dgamma, parametersOf(geometry)),
      sumDy: copy(block.sum1, statisticsOf(geometry)),
      sumDyXhat: copy(block.sum2, statisticsOf(geometry)),
    };
  });
}

/**
 * `dx = rstd * (gamma * dy - sumDy / count - xhat * sumDyXhat / count)` from given statistics and sums.
 *
 * @throws TypeError, RangeError for a wrong argument
 */
export function backwardApply(
  x: Float32Array,
  dy: Float32Array,
  shape: readonly number[],
  statistics: Moments,
  sums: Pick<Sums, "sumDy" | "sumDyXhat">,
  options: NormalizeOptions,
): Float32Array {
  const who = "backwardApply";
  const { sumDy, sumDyXhat } = readFields(who, sums, { sumDy: undefined, sumDyXhat: undefined });
  return finish(who, shape, statistics, options, { x, dy }, (pass, [at, dyAt]) => {
    const { held, geometry, block, extras } = pass;
    const n = statisticsOf(geometry);
    for (const [value, address] of [
      [sumDy, block.sum1],
      [sumDyXhat, block.sum2],
    ] as const) {
      if (!isFloat64Array(value)) throw typeError(who, "sums of Float64Arrays", value);
      const own = copyOf64(value);
      if (own.length !== n)
        throw new RangeError(`${who}: expected sums of ${n} groups, got ${describe(value)}`);
      held.f64.set(own, address / 8);
    }
    const size = sizeOf(pass.shape);
    if (size > 0) backwardPass(held, geometry, APPLY, at!, dyAt!, dyAt!, block, extras);
    return held.f32.slice(dyAt! / 4, dyAt! / 4 + size);
  });
}
