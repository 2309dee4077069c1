// What goes wrong, in words: every message reads `BatchNorm: expected …, got …`. Values from outside are read
// here exactly once, copied, and only then judged, so that a proxy or a getter cannot show one thing to the
// check and another to the kernel.

import { brandOf } from "./brand.js";
import { meantBy } from "./spelling.js";

const MAX_RANK = 8;
const SHOWN = 8;
const MAX_TEXT = 60;

const shorten = (text: string): string => (text.length > MAX_TEXT ? `${text.slice(0, MAX_TEXT)}…` : text);

function describeObject(value: object, nested: boolean): string {
  if (Array.isArray(value)) {
    const { length } = value;
    if (nested) return `Array(${length})`;
    const shown = Array.from({ length: Math.min(length, SHOWN) }, (_, i) => describe(value[i], true));
    if (length > SHOWN) shown.push(`… ${length} in all`);
    return `[${shown.join(", ")}]`;
  }
  // An object without a prototype has no constructor; the built-in tag serves there.
  const name = value.constructor?.name || Object.prototype.toString.call(value).slice(8, -1);
  const size = (value as ArrayLike<unknown>).length ?? (value as ArrayBuffer).byteLength;
  return shorten(typeof size === "number" ? `${name}(${size})` : `${name}`);
}

/** Prints any value for an error message: short, and never throwing, whatever the value's own code does. */
export function describe(value: unknown, nested = false): string {
  if (typeof value === "string") return JSON.stringify(shorten(value));
  if (typeof value === "bigint") return shorten(`${value}n`);
  if (typeof value === "function") return "a function";
  if (typeof value !== "object" || value === null)
    return Object.is(value, -0) ? "-0" : shorten(String(value));
  try {
    return describeObject(value, nested);
  } catch {
    return "an object that cannot be read";
  }
}

const message = (who: string, expected: string, got: unknown): string =>
  `${who}: expected ${expected}, got ${describe(got)}`;

/** A TypeError to throw; `got` is the offending value itself and gets described. */
export const typeError = (who: string, expected: string, got: unknown): TypeError =>
  new TypeError(message(who, expected, got));

/** A RangeError to throw; `got` is the offending value itself and gets described. */
export const rangeError = (who: string, expected: string, got: unknown): RangeError =>
  new RangeError(message(who, expected, got));

/** A TypeError for a use of what was given up. */
export const disposed = (who: string, what: string): TypeError =>
  new TypeError(`${who}: expected ${what} in use, got one that was disposed`);

/**
 * A TypeError for a Proxy of `what`, which reactive frameworks put around objects: private fields are beyond its reach.
 * For methods that find no such field in `this`.
 */
export const proxied = (who: string, what: string): TypeError =>
  new TypeError(
    `${who}: expected ${what} itself, got a Proxy of it: keep it out of reactive state (Vue: markRaw before, toRaw after; others: a reference that is not observed)`,
  );

/** A TypeError for `what` of another copy of this package. */
export const foreign = (who: string, expected: string, what: string, remedy: string): TypeError =>
  new TypeError(
    `${who}: expected ${expected}, got ${what} of another copy of wasm-norm (ESM beside CommonJS, or two versions): ${remedy}`,
  );

/**
 * Runs a read of something of the caller's. What its getter or proxy throws, of whatever kind, arrives as a
 * TypeError that names `name` and carries the original as `cause`.
 */
export function read<T>(who: string, name: string, get: () => T): T {
  try {
    return get();
  } catch (cause) {
    throw new TypeError(`${who}: ${name} cannot be read`, { cause });
  }
}

/** Copies `value`'s fields named in `defaults`, each read once; what is absent or undefined is the default. */
function readNamed<K extends string>(
  who: string,
  value: object,
  defaults: Record<K, unknown>,
): Record<K, unknown> {
  const options = { ...defaults };
  for (const key of Object.keys(defaults) as K[]) {
    const given = read(who, key, () => (value as Record<K, unknown>)[key]);
    if (given !== undefined) options[key] = given;
  }
  return options;
}

/** Whether an array or a Tensor stands where options belong; what cannot be read is told later. */
function isOperand(value: object): boolean {
  try {
    return ArrayBuffer.isView(value) || Array.isArray(value) || brandOf(value) !== undefined;
  } catch {
    return false;
  }
}

/** The first of the own names that is none of `known` and not undefined. */
function strangeIn(value: object, known: object): string | undefined {
  for (const key in value) {
    if (Object.hasOwn(known, key)) continue;
    if (Object.hasOwn(value, key) && (value as Record<string, unknown>)[key] !== undefined) return key;
  }
  return undefined;
}

/**
 * Copies an options object: for each key of `defaults` the caller's value, read once, or the default where it is
 * absent or undefined. The values are not judged.
 *
 * @throws TypeError for what is no object, for an array or Tensor, with the option that it may be meant as, and for an
 *   option that is not among `defaults`, with the one that was most likely meant
 */
export function readOptions<K extends string>(
  who: string,
  value: unknown,
  defaults: Record<K, unknown>,
): Record<K, unknown> {
  if (value === undefined) return { ...defaults };
  if (typeof value !== "object" || value === null) throw typeError(who, "an object of options", value);
  if (isOperand(value)) {
    const option = ["residual", "residualGrad", "shape"].find((name) => Object.hasOwn(defaults, name));
    throw typeError(who, `an object of options${option ? `, such as { ${option} }` : ""}`, value);
  }
  const options = readNamed(who, value, defaults);
  const strange = read(who, "options", () => strangeIn(value, defaults));
  if (strange === undefined) return options;
  const known = Object.keys(defaults);
  throw new TypeError(message(who, `no options but ${known.join(", ")}`, strange) + meantBy(strange, known));
}

/** Copies those fields of an object that `defaults` names, as `readOptions` does, and looks at no others. @throws TypeError */
export function readFields<K extends string>(
  who: string,
  value: unknown,
  defaults: Record<K, unknown>,
): Record<K, unknown> {
  if (typeof value !== "object" || value === null) {
    throw typeError(who, `an object with ${Object.keys(defaults).join(", ")}`, value);
  }
  return readNamed(who, value, defaults);
}

/** Makes these properties of `object` what they are for good: kernels go by them. */
export function fix(object: object, properties: Record<string, unknown>): void {
  for (const name in properties)
    Object.defineProperty(object, name, { value: properties[name], enumerable: true });
}

function checkNumber(
  who: string,
  name: string,
  what: string,
  value: unknown,
  kind: (value: unknown) => boolean,
  min?: number,
  max?: number,
): number {
  // No number is below or above undefined.
  if (kind(value) && !((value as number) < min!) && !((value as number) > max!)) return value as number;
  // Only now, since every allocation comes by: the words cost 0.1 us.
  const from = min === undefined ? "" : ` from ${min}`;
  const to = max === undefined ? "" : ` to ${max}`;
  const error = typeof value === "number" ? rangeError : typeError;
  throw error(who, `${name} to be ${what}${from}${to}`, value);
}

/** Returns `value` if it is a safe integer from `min` to `max`; else a TypeError (no number) or RangeError. */
export const checkInteger = (who: string, name: string, value: unknown, min = 0, max?: number): number =>
  checkNumber(who, name, "an integer", value, Number.isSafeInteger, min, max);

/** Returns `value` if it is a finite number from `min` to `max`; else a TypeError (no number) or RangeError. */
export const checkFinite = (who: string, name: string, value: unknown, min?: number, max?: number): number =>
  checkNumber(who, name, "a finite number", value, Number.isFinite, min, max);

/** Returns `value` if it is a boolean. @throws TypeError */
export function checkBoolean(who: string, name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw typeError(who, `${name} to be a boolean`, value);
  return value;
}

/** Returns `value` if it is one of two words. @throws TypeError */
export function checkWord<T extends string>(who: string, name: string, value: unknown, ...words: T[]): T {
  if (words.includes(value as T)) return value as T;
  const quoted = words.map((word) => `"${word}"`);
  const last = quoted.pop();
  throw typeError(who, `${name} to be ${quoted.join(", ")} or ${last}`, value);
}

/**
 * Copies a shape into a fresh array: 1 to 8 non-negative integers in a plain array. A typed array is refused:
 * where a shape belongs it is most likely a minibatch given in the wrong place. The product, extents of 0 left
 * out, must stay below 2^53, so that the product of any of the extents is an exact number.
 *
 * @throws TypeError if it is no array, holds something other than numbers, or cannot be read
 * @throws RangeError for a wrong rank, a negative or fractional extent, or too large a product
 */
export function readShape(who: string, value: unknown): number[] {
  const expected = `shape to be an array of 1 to ${MAX_RANK} non-negative integers`;
  const shape = read(who, "shape", () =>
    Array.isArray(value)
      ? // One more than allowed is enough to see that it is too long: a lying length costs nothing.
        Array.from({ length: Math.min(value.length, MAX_RANK + 1) }, (_, axis) => value[axis] as unknown)
      : null,
  );
  if (!shape?.every((extent) => typeof extent === "number")) throw typeError(who, expected, shape ?? value);
  if (
    !shape.length ||
    shape.length > MAX_RANK ||
    !shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)
  ) {
    throw rangeError(who, expected, shape);
  }
  if (shape.reduce((product, extent) => product * (extent || 1), 1) > Number.MAX_SAFE_INTEGER) {
    throw rangeError(who, "shape to hold fewer than 2^53 values", shape);
  }
  return shape.map((extent) => extent + 0); // -0 becomes 0
}

/** For an array whose memory is gone. */
export const detached = (who: string, name: string): RangeError =>
  new RangeError(
    `${who}: expected ${name} with its memory, got one that is detached: transferred, resized, or a view of memory that has grown since (ask for \`data\` again)`,
  );
