import { rangeError, typeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";
import { readList, readParameters } from "./parameters.js";

/** What PyTorch adds to the norm, so that no division by zero is left. */
const EPS = 1e-6;

/**
 * Scales all gradients by one factor, in place, so that their common norm is at most `maxNorm`; PyTorch's
 * `clip_grad_norm_`: the factor is `maxNorm / (norm + 1e-6)`, or 1 where that is more. Frozen parameters take no part. The
 * norm is summed up in float64, in which no float32 overflows when squared.
 *
 * @param maxNorm 0 or more; Infinity measures and leaves all as it is
 * @returns the norm before. As in PyTorch it is not finite where a gradient is not; the gradients then become NaN (norm NaN),
 *   or 0 and NaN (norm infinite): look at what is returned before the next step
 * @throws TypeError, RangeError for a wrong list or maxNorm; nothing has changed then
 */
export function clipGradNorm(parameters: readonly Parameter[], maxNorm: number): number {
  const who = "clipGradNorm";
  if (typeof maxNorm !== "number") throw typeError(who, "maxNorm to be a number", maxNorm);
  if (!(maxNorm >= 0)) throw rangeError(who, "maxNorm to be a number from 0", maxNorm);
  const listed = readList(who, "parameters", parameters, "parameters", 0).map((parameter, i) => ({
    name: `parameters[${i}]`,
    parameter: parameter as Parameter,
  }));
  const moving = readParameters(who, listed).filter(({ frozen }) => !frozen);
  let squares = 0;
  for (const { grad, length } of moving) for (let i = 0; i < length; i++) squares += grad[i]! ** 2;
  const norm = Math.sqrt(squares);
  const factor = maxNorm / (norm + EPS);
  if (!(factor >= 1))
    for (const { grad, length } of moving) for (let i = 0; i < length; i++) grad[i]! *= factor;
  return norm;
}
