import { describe, rangeError, typeError } from "./errors.js";

const prototype = Object.getPrototypeOf(Float32Array.prototype) as object;
const getter = (key: PropertyKey) =>
  Object.getOwnPropertyDescriptor(prototype, key)!.get! as (this: unknown) => unknown;
const kindOf = getter(Symbol.toStringTag);
const lengthGetter = getter("length");
const setAll = Float32Array.prototype.set;

/** True for a real Float32Array, of any realm or subclass; false for a proxy of one. */
export const isFloat32Array = (value: unknown): value is Float32Array =>
  kindOf.call(value) === "Float32Array";

/** Its true length, whatever a subclass says; 0 if its buffer is detached. */
export const lengthOf = (array: Float32Array): number => lengthGetter.call(array) as number;

/** Copies `from` into `to`, whatever a subclass has made of `set`. */
export const copyInto = (to: Float32Array, from: Float32Array, offset = 0): void =>
  setAll.call(to, from, offset);

/** Fills `to` from `from[offset]` on; short ones by a loop, which spares making a view. */
export function copyFrom(from: Float32Array, offset: number, to: Float32Array): void {
  const length = lengthOf(to);
  if (length > 64) copyInto(to, from.subarray(offset, offset + length));
  else for (let i = 0; i < length; i++) to[i] = from[offset + i]!;
}

/** Returns `value` if it is a Float32Array of `length` values. @throws TypeError, RangeError */
export function checkVector(who: string, name: string, value: unknown, length: number): Float32Array {
  if (!isFloat32Array(value)) throw typeError(who, `${name} to be a Float32Array`, value);
  if (lengthOf(value) !== length) {
    throw new RangeError(`${who}: expected ${name} to have ${length} values, got ${lengthOf(value)}`);
  }
  return value;
}

/** Returns the number of values of `shape`, if `length` is that many. @throws RangeError */
export function checkLength(who: string, name: string, shape: readonly number[], length: number): void {
  const size = sizeOf(shape);
  if (size !== length) {
    throw rangeError(who, `${name} to have ${size} values (shape ${describe([...shape])})`, length);
  }
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((size, extent) => size * extent, 1);
