import { describe, rangeError, typeError } from "./errors.js";

const prototype = Object.getPrototypeOf(Float32Array.prototype) as object;
const getter = (key: PropertyKey) =>
  Object.getOwnPropertyDescriptor(prototype, key)!.get! as (this: unknown) => unknown;
const kindOf = getter(Symbol.toStringTag);
const lengthGetter = getter("length");
const bufferGetter = getter("buffer");
const offsetGetter = getter("byteOffset");
const { set: setAll, fill: fillAll } = Float32Array.prototype;

/** Array.isArray throws for a proxy that was revoked; such a thing is no array. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** True for a real Float32Array, of any realm or subclass; false for a proxy of one. */
export const isFloat32Array = (value: unknown): value is Float32Array =>
  kindOf.call(value) === "Float32Array";

/** The same for Float64Array. */
export const isFloat64Array = (value: unknown): value is Float64Array =>
  kindOf.call(value) === "Float64Array";

/** The same for Uint8Array. */
export const isUint8Array = (value: unknown): value is Uint8Array => kindOf.call(value) === "Uint8Array";

/** Its true length, whatever a subclass says; 0 if its buffer is detached. */
export const lengthOf = (array: Float32Array | Float64Array | Uint8Array): number =>
  lengthGetter.call(array) as number;

/** Sets all values to zero, if there are any. */
export function clear(array: Float32Array): void {
  if (lengthOf(array) > 0) fillAll.call(array, 0);
}

/** A copy that is no subclass, whatever one has made of `slice` and its species. */
export function copyOf(array: Float32Array): Float32Array {
  const copy = new Float32Array(lengthOf(array));
  copyInto(copy, array);
  return copy;
}

/** An array that was given, and where to find its values once linear memory has grown, which detaches its views. */
export interface Given {
  array: Float32Array;
  size: number;
  /** Its byte offset in linear memory; -1 for an array with memory of its own. */
  offset: number;
  shape: undefined;
  address: undefined;
}

/** Reads what there is to know of an array; `linear` is any view of linear memory. */
export const given = (array: Float32Array, linear: Float32Array): Given => ({
  array,
  size: lengthOf(array),
  offset: bufferGetter.call(array) === linear.buffer ? (offsetGetter.call(array) as number) : -1,
  shape: undefined,
  address: undefined,
});

/** The array that was given, or a view of the same place where it has been detached since. */
export const renewed = ({ array, size, offset }: Given, linear: Float32Array): Float32Array =>
  offset < 0 || lengthOf(array) === size ? array : linear.subarray(offset / 4, offset / 4 + size);

/**
 * Copies `from` into `to`, whatever a subclass has made of `set`; one that is detached holds nothing to copy. Short ones by a
 * loop, which spares a call (BatchNorm of 4 channels, evaluation: 0.26 us, 0.18). Who knows the length says it: 3 ns less.
 */
export function copyInto(
  to: Float32Array | Float64Array,
  from: Float32Array,
  offset = 0,
  length = lengthOf(from),
): void {
  if (length > 16) setAll.call(to, from, offset);
  else for (let i = 0; i < length; i++) to[offset + i] = from[i]!;
}

/** Fills `to` from `from[offset]` on, in the same way. */
export function copyFrom(from: Float32Array, offset: number, to: Float32Array): void {
  const length = lengthOf(to);
  if (length > 16) setAll.call(to, from.subarray(offset, offset + length));
  else for (let i = 0; i < length; i++) to[i] = from[offset + i]!;
}

/** Returns `value` if it is a Float32Array. @throws TypeError */
export function checkArray(who: string, name: string, value: unknown): Float32Array {
  if (!isFloat32Array(value)) throw typeError(who, `${name} to be a Float32Array`, value);
  return value;
}

/** Returns `value` if it is a Float32Array of `length` values. @throws TypeError, RangeError */
export function checkVector(who: string, name: string, value: unknown, length: number): Float32Array {
  const array = checkArray(who, name, value);
  checkSize(who, name, lengthOf(array), length);
  return array;
}

/** @throws RangeError unless `size` is `length` */
export function checkSize(who: string, name: string, size: unknown, length: number): void {
  if (size !== length) throw rangeError(who, `${name} to have ${length} values`, size);
}

/** Returns the number of values of `shape`, if `length` is that many. @throws RangeError */
export function checkLength(who: string, name: string, shape: readonly number[], length: number): void {
  const size = sizeOf(shape);
  if (size !== length) {
    throw rangeError(who, `${name} to have ${size} values (shape ${describe([...shape])})`, length);
  }
}

/** The product of the extents. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

/** Whether `value` is an array of just these numbers; anything that cannot be read is not. */
export function isSame(value: unknown, shape: readonly number[]): boolean {
  if (value === shape) return true;
  try {
    if (!isArray(value) || value.length !== shape.length) return false;
    for (let axis = 0; axis < shape.length; axis++) if (value[axis] !== shape[axis]) return false;
    return true;
  } catch {
    return false;
  }
}
