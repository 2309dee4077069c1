import { checkFinite, rangeError, read, typeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";
import type { Motion, ParameterGroup } from "./groups.js";
import { Optimizer } from "./optimizer.js";

/** The options of `new AdamW`, and of each of its groups. */
export interface AdamWOptions {
  /** The learning rate, 0 or more; default 1e-3. */
  lr?: number | undefined;
  /** How much the averages of the gradient and of its square keep at each step; default 0.9 and 0.999. */
  betas?: readonly [number, number] | undefined;
  /** Added to the square root of the average square; default 1e-8. */
  eps?: number | undefined;
  /** The factor of a parameter that lr takes off it at each step; default 0.01. */
  weightDecay?: number | undefined;
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

function judge(who: string, options: Record<string, unknown>): Motion {
  const [beta1, beta2] = readBetas(who, options.betas);
  const eps = checkFinite(who, "eps", options.eps, 0);
  return {
    memory: ["exp_avg", "exp_avg_sq"],
    update({ data, grad, length }, memory, lr, weightDecay, t) {
      const [m, v] = memory as [Float32Array, Float32Array];
      const decay = 1 - lr * weightDecay;
      const rate = lr / (1 - power(beta1, t));
      const correction = Math.sqrt(1 - power(beta2, t));
      for (let i = 0; i < length; i++) {
        const g = grad[i]!;
        m[i] = m[i]! + (1 - beta1) * (g - m[i]!);
        v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
        data[i] = data[i]! * decay - (rate * m[i]!) / (Math.sqrt(v[i]!) / correction + eps);
      }
    },
  };
}

/**
 * Adam with decoupled weight decay (Loshchilov & Hutter 2019, arXiv 1711.05101) by PyTorch's rule, at step t:
 * `m = m + (1 - beta1) * (g - m)`, `v = beta2 * v + (1 - beta2) * g^2`,
 * `p = p * (1 - lr * weightDecay) - lr / (1 - beta1^t) * m / (sqrt(v / (1 - beta2^t)) + eps)`. State and parameters
 * are float32, the arithmetic between is float64. t counts the steps in which the parameter was not frozen, exactly up to
 * 2^53.
 *
 * Parameters are anything with Float32Arrays `data` and `grad` of one length; `frozen: true` keeps one as it is. In place
 * of parameters there may be groups with options of their own: `[{ params, lr: 0.01 }, { params: others, weightDecay: 0 }]`.
 *
 * @throws TypeError, RangeError for a list that is empty or holds something else, one parameter twice or two that share
 *   memory, an option that is unknown, no number, negative or not finite, and betas outside [0, 1)
 */
export class AdamW extends Optimizer {
  constructor(
    parameters: readonly Parameter[] | readonly ParameterGroup<AdamWOptions>[],
    options?: AdamWOptions,
  ) {
    const defaults = { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 };
    super({ who: "AdamW", defaults, judge, counts: true }, parameters, options);
  }
}
