import { isArray } from "../arrays.js";
import { rangeError, read, typeError } from "../errors.js";

/** What an optimizer remembers, by name. */
export type OptimizerState = Record<string, Float32Array | Float64Array>;

/** A state as it comes back: arrays of numbers of any kind, or what JSON makes of a typed array. */
export type SavedState = Readonly<
  Record<string, ArrayLike<number> | ArrayLike<bigint> | { readonly [index: string]: number }>
>;

/** What an entry must be: so many finite numbers, at least `least`, whole ones and kept in float64 where `whole`. */
export interface Spec {
  length: number;
  least?: number;
  whole?: boolean;
  /** Need not be there. */
  optional?: boolean;
}

/** The items of an array, or of an object with the indices as names, as JSON makes of a typed array. */
function readItems(who: string, name: string, value: unknown, length: number): unknown[] {
  const list = isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView));
  if (!list && (typeof value !== "object" || value === null || ArrayBuffer.isView(value))) {
    throw typeError(who, `${name} to be an array of numbers`, value);
  }
  const size = read(who, name, () => (list ? (value as unknown[]).length : Object.keys(value).length));
  if (size !== length) throw rangeError(who, `${name} to have ${length} values`, size);
  return read(who, name, () => Array.from({ length }, (_, i) => (value as unknown[])[i]));
}

function readEntry(who: string, name: string, value: unknown, spec: Spec): Float32Array | Float64Array {
  const { length, least = -Infinity, whole = false } = spec;
  const numbers = readItems(who, name, value, length).map((item, i) => {
    if (typeof item === "number") return item;
    if (typeof item === "bigint" && ArrayBuffer.isView(value)) return Number(item);
    throw typeError(who, `${name}[${i}] to be a number`, item);
  });
  const copy = whole ? Float64Array.from(numbers) : Float32Array.from(numbers);
  const fits = whole ? Number.isSafeInteger : Number.isFinite;
  const wrong = copy.findIndex((number: number) => !fits(number) || number < least);
  if (wrong >= 0) {
    const kind = whole ? "whole" : "finite";
    throw rangeError(
      who,
      `${name} to hold ${kind} numbers${least === 0 ? " of at least 0" : ""}`,
      numbers[wrong],
    );
  }
  return copy;
}

/**
 * Copies an untrusted state: the entries of `specs`, and no others.
 *
 * @throws TypeError, RangeError naming the entry
 */
export function readOptimizerState(
  who: string,
  dict: unknown,
  specs: ReadonlyMap<string, Spec>,
): Map<string, Float32Array | Float64Array> {
  const fields = read(who, "the state dict", () => {
    if (typeof dict !== "object" || dict === null || Array.isArray(dict)) return null;
    const prototype = Object.getPrototypeOf(dict);
    if (prototype !== null && Object.getPrototypeOf(prototype) !== null) return null;
    return new Map(Object.entries(Object.getOwnPropertyDescriptors(dict)));
  });
  if (!fields) throw typeError(who, "a plain object as state dict", dict);
  for (const name of fields.keys()) {
    if (!specs.has(name)) throw rangeError(who, `no entries but ${summary(specs)}`, name);
  }
  const state = new Map<string, Float32Array | Float64Array>();
  for (const [name, spec] of specs) {
    const field = fields.get(name);
    if (!field) {
      if (spec.optional) continue;
      throw rangeError(who, `an entry ${name}`, [...fields.keys()]);
    }
    if (!("value" in field)) throw typeError(who, `${name} to be data, not a getter`, field.get);
    state.set(name, readEntry(who, name, field.value, spec));
  }
  return state;
}

/** The first names, since there may be thousands. */
function summary(specs: ReadonlyMap<string, Spec>): string {
  const names = [...specs.keys()];
  return names.length > 8 ? `${names.slice(0, 8).join(", ")} and ${names.length - 8} more` : names.join(", ");
}
