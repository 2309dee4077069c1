/** What is made of given statistics: the forward pass, and the two halves of the backward pass. */
import { checkVector, copyOf, copyOf64, isFloat64Array } from "../arrays.js";
import type { Activation } from "../engine/activation.js";
import type { Context } from "../engine/context.js";
import { parametersOf, statisticsOf } from "../engine/geometry.js";
import { DOUBLE, FIELD, type Field, STEP } from "../engine/pass.js";
import { runBackward, runForward } from "../engine/run.js";
import { clearOthers } from "../engine/segments.js";
import { checkFinite, describe, readFields, typeError } from "../errors.js";
import type { OwnFloat32Array } from "../own.js";
import { runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import {
  type Around,
  type FunctionalModulation,
  type Further,
  finishForward,
  readAround,
  readFurther,
  startBackward,
} from "./around.js";
import {
  type AxesOptions,
  contextOf,
  type Frame,
  frameOf,
  type Options,
  place,
  plan,
  readAll,
  readMinibatch,
  taken,
  vectorAt,
} from "./frame.js";
import { type Moments, readMoments } from "./moments.js";
import { permute } from "./order.js";

/** How `normalize` and the backward steps go from statistics to values. */
export interface NormalizeOptions extends AxesOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Scale, a value for each position along `parameterAxes`; default ones. */
  gamma?: Float32Array | null | undefined;
  /** Shift, as gamma; default zeros. */
  beta?: Float32Array | null | undefined;
  /** The axes that gamma, beta and modulation have a value for; default those not in `axes`. */
  parameterAxes?: readonly number[] | undefined;
  /**
   * `n * (1 + scale) + shift` of the normalized n, before residual and activation: a row of gamma's values for each index of the
   * first axis, or of the first few, or one row for all; where the last axis is reduced over and has no gamma, one for each index
   * of all that come before gamma's axes.
   */
  modulation?: FunctionalModulation | undefined;
  /** Added after gamma, beta and the modulation, before the activation; of x's shape. */
  residual?: Float32Array | undefined;
  /** What comes then; default "none". */
  activation?: Activation | undefined;
  /** The result is multiplied by `silu(gate)`, last; of x's shape. */
  gate?: Float32Array | undefined;
  /** Where `backwardApply` writes the residual's gradient. */
  residualGrad?: Float32Array | undefined;
  /** Where `backwardApply` writes the modulation's gradients: of a piece of a minibatch, the sums over that piece. */
  modulationGrad?: FunctionalModulation | undefined;
  /** Where `backwardApply` writes the gate's gradient. */
  gateGrad?: Float32Array | undefined;
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
  frame: Frame;
  context: Context;
  scratch: Scratch;
  around: Around | undefined;
  further: Further | undefined;
}

/** Reads the arguments common to the finishing steps, brings them to linear memory and runs `work`. */
function finish<T>(
  who: string,
  shape: readonly number[],
  statistics: Moments,
  options: NormalizeOptions,
  minibatches: Record<string, unknown>,
  work: (pass: Pass, addresses: number[]) => T,
  further?: (o: Options, frame: Frame, around: Around | undefined) => Further,
): T {
  const o = readAll(who, options);
  const frame = frameOf(who, shape, o, true);
  const { geometry, kept, own } = frame;
  const eps = checkFinite(who, "eps", o.eps, 0);
  const parameters = parametersOf(geometry);
  const { count, mean, m2 } = readMoments(who, statistics, statisticsOf(geometry));
  const held = runtime();
  const around = readAround(who, o, frame, held);
  const places = further?.(o, frame, around);
  // No code of the caller's runs from here on.
  const gamma = o.gamma === null ? null : copyOf(checkVector(who, "gamma", o.gamma, parameters));
  const beta = o.beta === null ? null : copyOf(checkVector(who, "beta", o.beta, parameters));
  const arrays = Object.entries(minibatches).map(([name, value]) =>
    readMinibatch(who, name, value, frame.shape, held),
  );
  return Scratch.with(held, (scratch) => {
    const addresses = arrays.map((array) => place(held, scratch, array, frame.whole));
    const context = contextOf(held, frame, eps);
    const { pass, places: at } = context;
    const { f32, f64 } = held;
    const walked = <V extends Float32Array | Float64Array>(values: V, order: Frame["kept"]) =>
      order ? permute(values, values.slice() as V, order) : values;
    const variance = walked(m2, kept);
    walked(mean, kept).forEach((value, i) => {
      f64[at!.mean / 8 + i] = value;
      f64[at!.variance / 8 + i] = variance[i]! / count;
      f64[at!.rstd / 8 + i] = 1 / Math.sqrt(variance[i]! / count + eps);
    });
    if (gamma) f32.set(walked(gamma, own), at!.gamma / 4);
    if (beta) f32.set(walked(beta, own), at!.beta / 4);
    pass.set(FIELD.gamma, gamma ? at!.gamma : 0);
    pass.set(FIELD.beta, beta ? at!.beta : 0);
    pass.setDouble(DOUBLE.count, mean.length === 0 ? 0 : count);
    return work({ frame, context, scratch, around, further: places }, addresses);
  });
}

/**
 * `y = gamma * (x - mean) / sqrt(m2 / count + eps) + beta` from given statistics, and what the options put around it. A mask changes
 * nothing here: what does not count is normalized as the rest is.
 *
 * @throws TypeError, RangeError for a wrong argument
 */
export function normalize(
  x: Float32Array,
  shape: readonly number[],
  statistics: Moments,
  options: NormalizeOptions,
): OwnFloat32Array {
  return finish("normalize", shape, statistics, options, { x }, (given, [at]) => {
    const { frame, context, scratch, around } = given;
    const { pass, held } = context;
    const address = at!;
    if (frame.size > 0) {
      plan(context, scratch, frame, STEP.APPLY);
      pass.set(FIELD.x, address);
      pass.set(FIELD.y, address);
      runForward(held, pass);
      if (around) finishForward(context, scratch, around, frame);
    }
    return taken(held, address, frame.size, frame.whole);
  });
}

/**
 * The sums over dy that a backward pass needs; those of a minibatch's pieces, added, are the whole minibatch's. What the options
 * put around the normalization is gone back through first: its values are those that `normalize` was given.
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
  return finish("backwardReduce", shape, statistics, options, { x, dy }, (given, [at, dyAt]) => {
    const { geometry, size, segments, kept, own } = given.frame;
    const [groups, parameters] = [statisticsOf(geometry), parametersOf(geometry)];
    if (size === 0 || segments?.rows === 0) {
      const zeros = (n: number) => new Float64Array(n);
      return {
        dbeta: zeros(parameters),
        dgamma: zeros(parameters),
        sumDy: zeros(groups),
        sumDyXhat: zeros(groups),
      };
    }
    gradients(given, STEP.REDUCE, at!, dyAt!, 0);
    const { held, pass } = given.context;
    const copy = (field: Field, n: number, order: Frame["kept"]) => vectorAt(held, pass.get(field), n, order);
    return {
      dbeta: copy(FIELD.dbeta, parameters, own),
      dgamma: copy(FIELD.dgamma, parameters, own),
      sumDy: copy(FIELD.sum1, groups, kept),
      sumDyXhat: copy(FIELD.sum2, groups, kept),
    };
  });
}

/** Runs a backward pass, or a half of one; sums to start from are written by `before`. */
function gradients(
  { context, scratch, frame, around, further }: Pass,
  steps: number,
  x: number,
  dy: number,
  dx: number,
  before?: () => void,
): void {
  const { pass, held } = context;
  if (around) startBackward(context, scratch, around, frame, x, dy, further);
  plan(context, scratch, frame, steps);
  before?.();
  pass.set(FIELD.x, x);
  pass.set(FIELD.dy, dy);
  pass.set(FIELD.dx, dx);
  runBackward(held, pass);
}

/**
 * `dx = rstd * (gamma * dy - sumDy / count - xhat * sumDyXhat / count)` from given statistics and sums, without the first of them
 * with `rms`; 0 for what does not count. The gradients of what the options put around are written where they say.
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
  return finish(
    who,
    shape,
    statistics,
    options,
    { x, dy },
    (given, [at, dyAt]) => {
      const { geometry, size, segments, kept, whole } = given.frame;
      const { held, pass } = given.context;
      const n = statisticsOf(geometry);
      const [one, two] = [sumDy, sumDyXhat].map((value) => {
        if (!isFloat64Array(value)) throw typeError(who, "sums of Float64Arrays", value);
        const own = copyOf64(value);
        if (own.length !== n)
          throw new RangeError(`${who}: expected sums of ${n} groups, got ${describe(value)}`);
        return kept ? permute(own, new Float64Array(n), kept) : own;
      });
      if (size > 0) {
        gradients(given, STEP.APPLY, at!, dyAt!, dyAt!, () => {
          held.f64.set(one!, pass.get(FIELD.sum1) / 8);
          held.f64.set(two!, pass.get(FIELD.sum2) / 8);
        });
        if (segments) clearOthers(held, segments, geometry, dyAt!);
      }
      return taken(held, dyAt!, size, whole);
    },
    (o, frame, around) => readFurther(who, o, frame, around),
  );
}
