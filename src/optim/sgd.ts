import { checkBoolean, checkFinite, rangeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";
import type { Motion, ParameterGroup } from "./groups.js";
import { Optimizer } from "./optimizer.js";

/** The options of `new SGD`, and of each of its groups, where none is needed. */
export interface SGDOptions {
  /** The learning rate, 0 or more. */
  lr: number;
  /** How much of the last step's direction stays; default 0. */
  momentum?: number | undefined;
  /** The factor of a parameter that is added to its gradient; default 0. */
  weightDecay?: number | undefined;
  /** Whether momentum is Nesterov's; default false. */
  nesterov?: boolean | undefined;
}

function judge(who: string, options: Record<string, unknown>): Motion {
  const momentum = checkFinite(who, "momentum", options.momentum, 0);
  const nesterov = checkBoolean(who, "nesterov", options.nesterov);
  if (nesterov && !momentum) throw rangeError(who, "momentum above 0 where nesterov is true", momentum);
  return {
    memory: momentum ? ["momentum_buffer"] : [],
    update({ data, grad, length }, [buffer], lr, weightDecay) {
      for (let i = 0; i < length; i++) {
        let g = grad[i]!;
        if (weightDecay) g += weightDecay * data[i]!;
        if (buffer) {
          buffer[i] = momentum * buffer[i]! + g;
          g = nesterov ? g + momentum * buffer[i]! : buffer[i]!;
        }
        data[i] = data[i]! - lr * g;
      }
    },
  };
}

/**
 * Stochastic gradient descent by PyTorch's rule: `g = grad + weightDecay * p`; with momentum `b = momentum * b + g`
 * replaces `g`, or with Nesterov's `g + momentum * b` does; then `p = p - lr * g`. State and parameters are float32,
 * the arithmetic between is float64.
 *
 * Parameters are anything with Float32Arrays `data` and `grad` of one length; `frozen: true` keeps one as it is. In place
 * of parameters there may be groups with options of their own: `[{ params, lr: 0.01 }, { params: others, weightDecay: 0 }]`.
 *
 * @throws TypeError, RangeError for a list that is empty or holds something else, one parameter twice or two that share
 *   memory, an option that is unknown, no number, negative or not finite, and Nesterov's rule without momentum
 */
export class SGD extends Optimizer {
  constructor(parameters: readonly Parameter[] | readonly ParameterGroup<SGDOptions>[], options: SGDOptions) {
    const defaults = { lr: undefined, momentum: 0, weightDecay: 0, nesterov: false };
    super({ who: "SGD", defaults, judge, counts: false }, parameters, options);
  }
}
