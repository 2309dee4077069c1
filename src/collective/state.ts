import { rangeError, read, readFields, typeError } from "../errors.js";
import type { Vectors } from "./parameters.js";
import { type RunningStatistics, readNumbers } from "./running.js";

/** What of a state dict did not meet. */
export interface StateDifference {
  /** Entries that the layer has and the dict has not. */
  missing: string[];
  /** Entries that the dict has and the layer has not. */
  unexpected: string[];
}

/**
 * Takes a state dict with PyTorch's names: all of it is read and judged before anything changes.
 *
 * @throws TypeError, RangeError naming the entry
 */
export function loadState(
  who: string,
  dict: unknown,
  { gamma, beta }: Vectors,
  running: RunningStatistics | null,
  strict: boolean,
): StateDifference {
  const known = [
    ...(gamma ? ["weight"] : []),
    ...(beta ? ["bias"] : []),
    ...(running ? ["running_mean", "running_var", "num_batches_tracked"] : []),
  ];
  if (typeof dict !== "object" || dict === null) throw typeError(who, "a state dict", dict);
  const names = read(who, "the state dict", () => Object.keys(dict));
  const missing = known.filter((name) => !names.includes(name));
  const unexpected = names.filter((name) => !known.includes(name));
  if (strict && missing.length > 0) throw rangeError(who, `an entry ${missing[0]}`, names);
  if (strict && unexpected.length > 0)
    throw rangeError(who, `no entry but ${known.join(", ")}`, unexpected[0]);
  const o = readFields(who, dict, { weight: undefined, bias: undefined });
  const weight =
    gamma && o.weight !== undefined ? readNumbers(who, "weight", o.weight, gamma.data.length) : null;
  const bias = beta && o.bias !== undefined ? readNumbers(who, "bias", o.bias, beta.data.length) : null;
  const restore = running?.reading(who, dict);
  if (weight) gamma!.data.set(weight);
  if (bias) beta!.data.set(bias);
  restore?.();
  return { missing, unexpected };
}
