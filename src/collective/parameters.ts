import { checkBoolean, readOptions } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";

/** gamma and beta; null without. */
export interface Vectors {
  gamma: Parameter | null;
  beta: Parameter | null;
}

/** The parameters whose gradients all ranks have already: those of synchronized layers. */
const synchronized = new WeakSet<Parameter>();

export const isSynchronized = (parameter: Parameter): boolean => synchronized.has(parameter);

export const markSynchronized = (parameter: Parameter): WeakSet<Parameter> => synchronized.add(parameter);

/** Makes gamma and beta as `affine` says. @throws TypeError */
export function readParameters(who: string, features: number, affine: unknown): Vectors {
  const parts =
    typeof affine === "boolean"
      ? { gamma: affine, beta: affine }
      : readOptions(`${who}: affine`, affine, { gamma: true, beta: true });
  const make = (name: string, wanted: unknown, value: number): Parameter | null => {
    if (!checkBoolean(who, `affine, or its ${name},`, wanted)) return null;
    const parameter = { data: new Float32Array(features).fill(value), grad: new Float32Array(features) };
    markSynchronized(parameter);
    return parameter;
  };
  return { gamma: make("gamma", parts.gamma, 1), beta: make("beta", parts.beta, 0) };
}
