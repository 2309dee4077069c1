import { checkSize, isArray, isFloat32Array, lengthOf } from "./arrays.js";
import { rangeError, read, typeError } from "./errors.js";

/** A layer's state under PyTorch's names. */
export type StateDict = Record<string, Float32Array>;

/** What an entry must be: so many finite values, none below `least`, whole numbers where `whole`. */
export interface Entry {
  length: number;
  least?: number;
  whole?: boolean;
}

/**
 * Reads an untrusted state dict: exactly the entries of `spec`, each a Float32Array or, as from JSON, an array of
 * numbers; copies, so that nothing of the caller's is kept. @throws TypeError, RangeError naming the entry
 */
export function readState<K extends string>(
  who: string,
  dict: unknown,
  spec: Record<K, Entry>,
): Record<K, Float32Array> {
  const fields = read(who, "the state dict", () => {
    if (typeof dict !== "object" || dict === null) return null;
    const prototype = Object.getPrototypeOf(dict);
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return null;
    return Object.getOwnPropertyDescriptors(dict) as Record<string, PropertyDescriptor>;
  });
  if (!fields || isArray(dict)) throw typeError(who, "a plain object as state dict", dict);
  const names = Object.keys(spec) as K[];
  for (const key of Reflect.ownKeys(fields)) {
    if (!names.includes(key as K)) throw rangeError(who, `no entry but ${names.join(", ")}`, key);
  }
  const state = {} as Record<K, Float32Array>;
  for (const name of names) {
    if (!Object.hasOwn(fields, name)) throw rangeError(who, `an entry ${name}`, Object.keys(fields));
    const field = fields[name]!;
    if (!("value" in field)) throw typeError(who, `${name} to be data, not a getter`, field.get);
    state[name] = readEntry(who, name, field.value, spec[name]);
  }
  return state;
}

function readEntry(who: string, name: string, value: unknown, { length, least, whole }: Entry): Float32Array {
  const array = isFloat32Array(value);
  if (!array && !isArray(value))
    throw typeError(who, `${name} to be a Float32Array or an array of numbers`, value);
  const given = array ? lengthOf(value) : read(who, name, () => value.length);
  checkSize(who, name, given, length);
  const numbers = read(who, name, () => Array.from({ length }, (_, i) => value[i] as unknown));
  const odd = numbers.findIndex((number) => typeof number !== "number");
  if (odd >= 0) throw typeError(who, `${name}[${odd}] to be a number`, numbers[odd]);
  const copy = Float32Array.from(numbers as number[]);
  const wrong = copy.findIndex(
    // No number is below undefined.
    (v) => !(whole ? Number.isInteger : Number.isFinite)(v) || v < least!,
  );
  if (wrong >= 0) {
    const what = `${whole ? "whole" : "finite"} numbers${least === undefined ? "" : ` of at least ${least}`}`;
    throw rangeError(who, `${name} to hold ${what}`, copy[wrong]);
  }
  return copy;
}
