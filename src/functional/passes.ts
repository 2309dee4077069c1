/** What is made of given statistics: the forward pass, and the two halves of the backward pass. */
import { checkVector, copyOf, copyOf64, isFloat64Array, sizeOf } from "../arrays.js";
import { cut, readAxes } from "../engine/axes.js";
import type { Context } from "../engine/context.js";
import { type Geometry, parametersOf, statisticsOf } from "../engine/geometry.js";
import { DOUBLE, FIELD, type Field, STEP } from "../engine/pass.js";
import { runBackward, runForward } from "../engine/run.js";
import { checkFinite, describe, readFields, readOptions, readShape, typeError } from "../errors.js";
import type { OwnFloat32Array } from "../own.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import {
  type AxesOptions,
  contextOf,
  type Moments,
  place,
  readMinibatch,
  readMoments,
  vectorAt,
} from "./moments.js";

/** How `normalize` and the backward steps go from statistics to values. */
export interface NormalizeOptions extends AxesOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Scale, a value for each position along `parameterAxes`; default ones. */
  gamma?: Float32Array | null | undefined;
  /** Shift, as gamma; default zeros. */
  beta?: Float32Array | null | undefined;
  /** The axes that gamma and beta have a value for; default those not in `axes`. */
  parameterAxes?: readonly number[] | undefined;
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

/** What the three finishing steps are given, read, and where they put it. */
interface Pass {
  held: Runtime;
  geometry: Geometry;
  context: Context;
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
    const addresses = arrays.map((array) => place(held, scratch, array));
    const context = contextOf(held, geometry, eps);
    const { pass, places } = context;
    const { f32, f64 } = held;
    const at = places!;
    mean.forEach((value, i) => {
      f64[at.mean / 8 + i] = value;
      f64[at.variance / 8 + i] = m2[i]! / count;
      f64[at.rstd / 8 + i] = 1 / Math.sqrt(m2[i]! / count + eps);
    });
    if (gamma) f32.set(gamma, at.gamma / 4);
    if (beta) f32.set(beta, at.beta / 4);
    pass.set(FIELD.gamma, gamma ? at.gamma : 0);
    pass.set(FIELD.beta, beta ? at.beta : 0);
    pass.setDouble(DOUBLE.count, mean.length === 0 ? 0 : count);
    return work({ held, geometry, context, shape: extents }, addresses);
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
): OwnFloat32Array {
  return finish("normalize", shape, statistics, options, { x }, ({ held, context, ...p }, [at]) => {
    const size = sizeOf(p.shape);
    const address = at!;
    const { pass } = context;
    if (size > 0) {
      context.plan(STEP.APPLY, 0, 0);
      pass.set(FIELD.x, address);
      pass.set(FIELD.y, address);
      runForward(held, pass);
    }
    return held.f32.slice(address / 4, address / 4 + size);
  });
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
    const { held, geometry, context } = pass;
    const [groups, parameters] = [statisticsOf(geometry), parametersOf(geometry)];
    if (sizeOf(pass.shape) === 0) {
      const zeros = (n: number) => new Float64Array(n);
      return {
        dbeta: zeros(parameters),
        dgamma: zeros(parameters),
        sumDy: zeros(groups),
        sumDyXhat: zeros(groups),
      };
    }
    gradients(context, STEP.REDUCE, at!, dyAt!, 0);
    const copy = (field: Field, n: number) => vectorAt(held, context.pass.get(field), n);
    return {
      dbeta: copy(FIELD.dbeta, parameters),
      dgamma: copy(FIELD.dgamma, parameters),
      sumDy: copy(FIELD.sum1, groups),
      sumDyXhat: copy(FIELD.sum2, groups),
    };
  });
}

/** Runs a backward pass, or a half of one; sums to start from are written by `before`. */
function gradients(
  context: Context,
  steps: number,
  x: number,
  dy: number,
  dx: number,
  before?: () => void,
): void {
  const { pass, held } = context;
  context.plan(steps, 0, 0);
  before?.();
  pass.set(FIELD.x, x);
  pass.set(FIELD.dy, dy);
  pass.set(FIELD.dx, dx);
  runBackward(held, pass);
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
): OwnFloat32Array {
  const who = "backwardApply";
  const { sumDy, sumDyXhat } = readFields(who, sums, { sumDy: undefined, sumDyXhat: undefined });
  return finish(who, shape, statistics, options, { x, dy }, (pass, [at, dyAt]) => {
    const { held, geometry, context } = pass;
    const n = statisticsOf(geometry);
    for (const value of [sumDy, sumDyXhat]) {
      if (!isFloat64Array(value)) throw typeError(who, "sums of Float64Arrays", value);
      const own = copyOf64(value);
      if (own.length !== n)
        throw new RangeError(`${who}: expected sums of ${n} groups, got ${describe(value)}`);
    }
    const size = sizeOf(pass.shape);
    if (size > 0) {
      gradients(context, STEP.APPLY, at!, dyAt!, dyAt!, () => {
        held.f64.set(sumDy as Float64Array, context.pass.get(FIELD.sum1) / 8);
        held.f64.set(sumDyXhat as Float64Array, context.pass.get(FIELD.sum2) / 8);
      });
    }
    return held.f32.slice(dyAt! / 4, dyAt! / 4 + size);
  });
}
