import { checkSize, isArray } from "./arrays.js";
import { describe, rangeError, read, typeError } from "./errors.js";
import { widenBfloat, widened, widenHalf } from "./half.js";
import type { OwnFloat32Array, OwnFloat64Array } from "./own.js";
import { kindOf } from "./typed.js";

/** A layer's state under PyTorch's names: running statistics in float64, as the layer keeps them. */
export type StateDict = Record<string, Float32Array | Float64Array>;

/** What an entry must be: so many finite values, none below `least`, whole numbers where `whole`. */
export interface Entry {
  length: number;
  least?: number;
  whole?: boolean;
  /** Kept in float64. */
  wide?: boolean;
  /** May be absent, and then does not count as missing. */
  optional?: boolean;
}

/** What loading found: entries of the layer that the state dict lacks, and entries that the layer does not have. */
export interface LoadResult {
  /** Entries of the layer that the state dict lacks. */
  missing: string[];
  /** Entries that the layer does not have. */
  unexpected: string[];
}

/** An entry as people have it: any typed or plain array, a number by itself, or what JSON makes of a typed array. */
export type StateEntry =
  | ArrayLike<number>
  | ArrayLike<bigint>
  | number
  | bigint
  | Readonly<Record<string, number>>;

/** A state dict as `loadStateDict` takes it. */
export type StateSource = Readonly<Record<string, StateEntry>> | ReadonlyMap<string, StateEntry>;

/** The values that readState has read, checked and copied; optional and missing entries are absent. */
export type ReadState<K extends string = string> = Partial<Record<K, OwnFloat32Array | OwnFloat64Array>>;

const SHOWN = 24;

/** Names for a message: `weight, bias and 3 more`. */
export const listOf = (names: readonly string[]): string => {
  if (!names.length) return "none";
  const more = names.length - SHOWN;
  return names.slice(0, SHOWN).join(", ") + (more > 0 ? ` and ${more} more` : "");
};

/** Whether it is an object that a literal, JSON.parse or Object.create(null) makes, in any realm. @throws for some proxies */
function isPlain(value: unknown): value is object {
  if (typeof value !== "object" || value === null || isArray(value)) return false;
  const prototype = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

/**
 * The entries of a Map or of a plain object, each read once. What is not enumerable counts as well, so that an entry
 * that loadSafetensors could not read is never taken for one that is not there.
 *
 * @throws TypeError for anything else, with `name` as errors call it
 */
export function readEntries(who: string, name: string, value: unknown): Map<string, unknown> {
  const entries = read(who, name, () => {
    if (Object.prototype.toString.call(value) === "[object Map]")
      return [...Map.prototype.entries.call(value)] as [unknown, unknown][];
    if (!isPlain(value)) return null;
    const all = Object.getOwnPropertyDescriptors(value) as Record<string, PropertyDescriptor>;
    return Reflect.ownKeys(all).map((key): [unknown, unknown] => [key, all[key as string]]);
  });
  if (!entries) throw typeError(who, `a plain object or a Map as ${name}`, value);
  const fields = new Map<string, unknown>();
  const isMap = !isPlain(value);
  for (const [key, entry] of entries) {
    if (typeof key !== "string") throw rangeError(who, `${name} to have names that are text`, key);
    fields.set(key, isMap ? entry : dataOf(who, key, value, entry as PropertyDescriptor));
  }
  return fields;
}

function dataOf(who: string, key: string, owner: unknown, { get, value }: PropertyDescriptor): unknown {
  if (!get) return value;
  try {
    get.call(owner);
  } catch (cause) {
    const why = cause instanceof Error ? `: ${cause.message}` : "";
    throw new TypeError(`${who}: ${key} cannot be read${why}`, { cause });
  }
  throw typeError(who, `${key} to be data, not a getter`, get);
}

/**
 * Reads an untrusted state dict against `spec`, the layer's own entries: a plain object or a Map, whose entries are typed
 * arrays of any kind, plain arrays of numbers, a number or bigint by itself for an entry of one value, or the object
 * with keys "0", "1", ... that JSON makes of a typed array; a Uint16Array with a `dtype` of "BF16" or "F16", as
 * `loadSafetensors` gives it, is taken for what it says. Everything is read, copied and checked before this returns.
 *
 * Nothing of the caller's is kept. `state` has a Float32Array, the nearest float32, for each entry that was there, and a
 * Float64Array, exact up to 2^53, for those of `spec` that are `wide`. An entry that is `optional` and absent, and,
 * where `strict` is false, any absent one, is not in `state`: the layer keeps what it has.
 *
 * @throws TypeError, RangeError naming the entry: of a wrong length, with values that are not finite or otherwise unfit;
 *   and where `strict`, for entries that are missing or unexpected, with a list of what the dict has
 */
export function readState<K extends string>(
  who: string,
  dict: unknown,
  spec: Record<K, Entry>,
  { strict = true }: { strict?: boolean } = {},
): { state: ReadState<K> } & LoadResult {
  const fields = readEntries(who, "the state dict", dict);
  const names = Object.keys(spec) as K[];
  const has = [...fields.keys()];
  const missing = names.filter((name) => !fields.has(name) && !spec[name].optional);
  const unexpected = has.filter((name) => !Object.hasOwn(spec, name));
  if (strict) checkComplete(who, { missing, unexpected }, has);
  const state: ReadState<K> = {};
  for (const name of names) {
    if (fields.has(name)) state[name] = readEntry(who, name, fields.get(name), spec[name]);
  }
  return { state, missing, unexpected };
}

/** @throws RangeError if anything is missing or unexpected, with a list of what the dict has */
export function checkComplete(
  who: string,
  { missing, unexpected }: LoadResult,
  has: readonly string[],
): void {
  if (!missing.length && !unexpected.length) return;
  const parts: string[] = [];
  if (missing.length) parts.push(`entries ${listOf(missing)}, which are missing`);
  if (unexpected.length) parts.push(`none of ${listOf(unexpected)}, which are unexpected`);
  throw new RangeError(
    `${who}: expected ${parts.join(" and ")}, got a state dict with ${listOf(has)} ({ strict: false } takes what fits)`,
  );
}

/** The numbers of a typed array, in a fresh one of theirs; null for what is none. */
function typedNumbers(who: string, name: string, value: unknown, length: number): ArrayLike<unknown> | null {
  const kind = kindOf(value);
  if (kind === undefined) return null;
  const array = value as Uint16Array & { dtype?: unknown };
  checkSize(
    who,
    name,
    read(who, name, () => array.length),
    length,
  );
  const dtype = kind === "Uint16Array" ? read(who, name, () => array.dtype) : undefined;
  if (dtype === "BF16") return widened(array, length, widenBfloat);
  if (dtype === "F16") return widened(array, length, widenHalf);
  return array;
}

/** The values of `{ "0": 1, "1": 2 }`, which JSON makes of a typed array; null for what is none. */
function jsonNumbers(who: string, name: string, value: unknown, length: number): unknown[] | null {
  const fields = read(who, name, () => {
    if (!isPlain(value)) return null;
    const size = Object.keys(value).length;
    // One key more than expected is enough to see that it is too long.
    return { size, values: Array.from({ length: Math.min(size, length) }, (_, i) => Reflect.get(value, i)) };
  });
  if (!fields) return null;
  checkSize(who, name, fields.size, length);
  return fields.values;
}

/**
 * The items of a list of numbers in any form that an entry may have, each read once.
 *
 * @throws TypeError for what is no list of numbers; RangeError for another length
 */
export function readList(who: string, name: string, value: unknown, length: number): (number | bigint)[] {
  let given: ArrayLike<unknown> | null;
  if (typeof value === "number" || typeof value === "bigint") given = [value];
  else if (isArray(value)) given = value;
  else given = typedNumbers(who, name, value, length) ?? jsonNumbers(who, name, value, length);
  if (!given) throw typeError(who, `${name} to be an array of numbers`, value);
  const list = given;
  checkSize(
    who,
    name,
    read(who, name, () => list.length),
    length,
  );
  const numbers = read(who, name, () => Array.from({ length }, (_, i) => list[i]));
  const odd = numbers.findIndex((number) => typeof number !== "number" && typeof number !== "bigint");
  if (odd >= 0) throw typeError(who, `${name}[${odd}] to be a number`, numbers[odd]);
  return numbers as (number | bigint)[];
}

function readEntry(who: string, name: string, value: unknown, { length, least, whole, wide }: Entry) {
  const numbers = readList(who, name, value, length);
  const copy = wide ? Float64Array.from(numbers, Number) : Float32Array.from(numbers, Number);
  const fits = whole ? Number.isSafeInteger : Number.isFinite;
  // No number is below undefined.
  const wrong = copy.findIndex((v) => !fits(v) || v < least!);
  if (wrong >= 0) {
    const what = `${whole ? "whole" : "finite"} numbers${least === undefined ? "" : ` of at least ${least}`}`;
    throw new RangeError(
      `${who}: expected ${name} to hold ${what}, got ${describe(numbers[wrong])} at [${wrong}]`,
    );
  }
  return copy;
}
