import { checkArray, checkSize, clear, lengthOf } from "./arrays.js";
import { checkBoolean, checkFinite, rangeError, read, readOptions, typeError } from "./errors.js";
import type { Parameter } from "./layers/parameters.js";
import { type Entry, readState, type StateDict } from "./state.js";

/** Copies a list of parameters. @throws TypeError, RangeError */
function readParameters(who: string, value: unknown): Parameter[] {
  const expected = "parameters to be an array of one or more parameters";
  const length = read(who, "parameters", () => (Array.isArray(value) ? value.length : -1));
  if (length < 0) throw typeError(who, expected, value);
  if (length === 0) throw rangeError(who, expected, value);
  const parameters: Parameter[] = [];
  for (let i = 0; i < length; i++) {
    const name = `parameters[${i}]`;
    const parameter = read(who, name, () => (value as Parameter[])[i]);
    if (typeof parameter !== "object" || parameter === null) {
      throw typeError(who, `${name} to have data and grad`, parameter);
    }
    if (parameters.includes(parameter)) throw rangeError(who, "every parameter once", name);
    parameters.push(parameter);
  }
  return parameters;
}

/**
 * Reads each parameter's arrays once, and judges them after the last getter ran: two Float32Arrays of the length
 * in `lengths`, or of any one length where that is not given. @throws TypeError, RangeError
 */
function readArrays(who: string, parameters: readonly Parameter[], lengths?: readonly number[]): Parameter[] {
  const arrays = parameters.map((parameter, i) => ({
    data: read(who, `parameters[${i}].data`, () => parameter.data),
    grad: read(who, `parameters[${i}].grad`, () => parameter.grad),
  }));
  arrays.forEach(({ data, grad }, i) => {
    const check = (name: string, array: unknown, length?: number) => {
      const size = lengthOf(checkArray(who, `parameters[${i}].${name}`, array));
      checkSize(who, `parameters[${i}].${name}`, size, length ?? size);
    };
    check("data", data, lengths?.[i]);
    check("grad", grad, lengthOf(data));
  });
  return arrays;
}

/** The rule itself, on arrays that have been checked. */
type Update = (parameters: readonly Parameter[], state: StateDict, lr: number) => void;

/** What SGD and AdamW share: the parameters, the learning rate, and the state that a resumed run needs. */
abstract class Optimizer {
  /** Under the names of `stateDict()`. */
  readonly #state: StateDict = {};
  readonly #who: string;
  readonly #parameters: readonly Parameter[];
  readonly #lengths: readonly number[];
  readonly #update: Update;
  #lr: number;

  /** `memory` names the arrays that are kept for each parameter; `counts` is whether steps are counted. */
  protected constructor(
    who: string,
    parameters: unknown,
    lr: unknown,
    memory: readonly string[],
    counts: boolean,
    update: Update,
  ) {
    this.#update = update;
    this.#who = who;
    this.#lr = checkFinite(who, "lr", lr, 0);
    this.#parameters = readParameters(who, parameters);
    this.#lengths = readArrays(who, this.#parameters).map(({ data }) => lengthOf(data));
    this.#lengths.forEach((length, i) => {
      for (const name of memory) this.#state[`${i}.${name}`] = new Float32Array(length);
    });
    if (counts) this.#state.step = new Float32Array(1);
  }

  /** The learning rate. May be set between steps, as schedules do. @throws TypeError, RangeError */
  get lr(): number {
    return this.#lr;
  }

  set lr(value: number) {
    this.#lr = checkFinite(this.#who, "lr", value, 0);
  }

  /**
   * Moves every parameter's `data` by its `grad`, in place. Both are read anew at each step.
   *
   * @throws TypeError, RangeError if they are no longer Float32Arrays of the first length; nothing has changed then
   */
  step(): void {
    const all = readArrays(`${this.#who}.step`, this.#parameters, this.#lengths);
    this.#update(all, this.#state, this.#lr);
  }

  /** Sets every parameter's `grad` to zero. @throws as `step` */
  zeroGrad(): void {
    const all = readArrays(`${this.#who}.zeroGrad`, this.#parameters, this.#lengths);
    for (const { grad } of all) clear(grad);
  }

  /**
   * A copy of what the optimizer remembers, under PyTorch's names after the parameter's index: `0.momentum_buffer`;
   * `step`, `0.exp_avg` and `0.exp_avg_sq`. With the parameters' data and the same options a resumed run goes on bit
   * for bit.
   */
  stateDict(): StateDict {
    return Object.fromEntries(Object.entries(this.#state).map(([name, array]) => [name, array.slice()]));
  }

  /**
   * Takes a state: exactly the entries of `stateDict()`, as Float32Arrays or, from JSON, arrays of finite numbers.
   *
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: Readonly<Record<string, Float32Array | readonly number[]>>): void {
    const spec: Record<string, Entry> = {};
    for (const [name, { length }] of Object.entries(this.#state)) {
      const whole = name === "step";
      spec[name] = whole || name.endsWith("_sq") ? { length, least: 0, whole } : { length };
    }
    const loaded = readState(`${this.#who}.loadStateDict`, dict, spec);
    for (const name in loaded) this.#state[name]!.set(loaded[name]!);
  }
}

/** The options of `new SGD`. */
export interface SGDOptions {
  /** The learning rate, 0 or more. */
  lr: number;
  /** How much of the last step's direction stays; default 0. */
  momentum?: number;
  /** The factor of a parameter that is added to its gradient; default 0. */
  weightDecay?: number;
  /** Whether momentum is Nesterov's; default false. */
  nesterov?: boolean;
}

/**
 * Stochastic gradient descent by PyTorch's rule: `g = grad + weightDecay * p`; with momentum `b = momentum * b + g`
 * replaces `g`, or with Nesterov's `g + momentum * b` does; then `p = p - lr * g`. State and parameters are float32,
 * the arithmetic between is float64.
 *
 * Parameters are anything with Float32Arrays `data` and `grad` of one length.
 *
 * @throws TypeError, RangeError for a list that is empty or holds something else or one parameter twice, an option
 *   that is no number, negative or not finite, and Nesterov's rule without momentum
 */
export class SGD extends Optimizer {
  constructor(parameters: readonly Parameter[], options: SGDOptions) {
    const who = "SGD";
    const given = readOptions(who, options, { lr: undefined, momentum: 0, weightDecay: 0, nesterov: false });
    const momentum = checkFinite(who, "momentum", given.momentum, 0);
    const weightDecay = checkFinite(who, "weightDecay", given.weightDecay, 0);
    const nesterov = checkBoolean(who, "nesterov", given.nesterov);
    if (nesterov && !momentum) throw rangeError(who, "momentum above 0 where nesterov is true", momentum);
    const memory = momentum ? ["momentum_buffer"] : [];
    super(who, parameters, given.lr, memory, false, (all, state, lr) => {
      all.forEach(({ data, grad }, k) => {
        const buffer = state[`${k}.momentum_buffer`];
        for (let i = 0, length = lengthOf(data); i < length; i++) {
          let g = grad[i]!;
          if (weightDecay) g += weightDecay * data[i]!;
          if (buffer) {
            buffer[i] = momentum * buffer[i]! + g;
            g = nesterov ? g + momentum * buffer[i]! : buffer[i]!;
          }
          data[i] = data[i]! - lr * g;
        }
      });
    });
  }
}

/** By multiplications alone: engines differ in the last bit of Math.pow, and a run must not. */
function power(base: number, exponent: number): number {
  let result = 1;
  for (; exponent; exponent = Math.floor(exponent / 2), base *= base) if (exponent % 2) result *= base;
  return result;
}

function readBetas(who: string, value: unknown): [number, number] {
  const betas = read(who, "betas", () =>
    Array.isArray(value) && value.length === 2 ? [value[0] as unknown, value[1] as unknown] : null,
  );
  if (!betas) throw typeError(who, "betas to be an array of two numbers", value);
  return betas.map((beta, i) => {
    if (checkFinite(who, `betas[${i}]`, beta, 0, 1) === 1) throw rangeError(who, `betas[${i}] below 1`, beta);
    return beta;
  }) as [number, number];
}

/** The options of `new AdamW`. */
export interface AdamWOptions {
  /** The learning rate, 0 or more; default 1e-3. */
  lr?: number;
  /** How much the averages of the gradient and of its square keep at each step; default 0.9 and 0.999. */
  betas?: readonly [number, number];
  /** Added to the square root of the average square; default 1e-8. */
  eps?: number;
  /** The factor of a parameter that lr takes off it at each step; default 0.01. */
  weightDecay?: number;
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101) by PyTorch's rule, at step t:
 * `m = m + (1 - beta1) * (g - m)`, `v = beta2 * v + (1 - beta2) * g^2`,
 * `p = p * (1 - lr * weightDecay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)`. State and parameters
 * are float32, the arithmetic between is float64. t stays at 2^24, the last whole number that float32 counts to.
 *
 * Parameters are anything with Float32Arrays `data` and `grad` of one length.
 *
 * @throws TypeError, RangeError for a list that is empty or holds something else or one parameter twice, an option
 *   that is no number, negative or not finite, and betas outside [0, 1)
 */
export class AdamW extends Optimizer {
  constructor(parameters: readonly Parameter[], options?: AdamWOptions) {
    const who = "AdamW";
    const given = readOptions(who, options, { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 });
    const [beta1, beta2] = readBetas(who, given.betas);
    const eps = checkFinite(who, "eps", given.eps, 0);
    const weightDecay = checkFinite(who, "weightDecay", given.weightDecay, 0);
    super(who, parameters, given.lr, ["exp_avg", "exp_avg_sq"], true, (all, state, lr) => {
      const step = state.step!;
      step[0]! += 1;
      const t = step[0]!;
      const decay = 1 - lr * weightDecay;
      const rate = lr / (1 - power(beta1, t));
      const correction = Math.sqrt(1 - power(beta2, t));
      all.forEach(({ data, grad }, k) => {
        const m = state[`${k}.exp_avg`]!;
        const v = state[`${k}.exp_avg_sq`]!;
        for (let i = 0, length = lengthOf(data); i < length; i++) {
          const g = grad[i]!;
          m[i] = m[i]! + (1 - beta1) * (g - m[i]!);
          v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
          data[i] = data[i]! * decay - (rate * m[i]!) / (Math.sqrt(v[i]!) / correction + eps);
        }
      });
    });
  }
}
