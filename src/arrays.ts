import { brandOf, COPY } from "./brand.js";
import { conversionOf } from "./conversions.js";
import { bitsOf, type Element, FLOAT16, type HalfArray } from "./element.js";
import { describe, detached, foreign, proxied, rangeError, typeError } from "./errors.js";
import { bufferGetter, isDetached, kindOf, lengthGetter, offsetGetter } from "./typed.js";

const { set: setAll, fill: fillAll } = Float32Array.prototype;
/** Of ES2024, which not every engine has: buffers that change their length. */
const changes = (kind: { prototype: object } | undefined, key: string) =>
  kind &&
  (Object.getOwnPropertyDescriptor(kind.prototype, key)?.get as ((this: unknown) => boolean) | undefined);
const Shared = typeof SharedArrayBuffer === "function" ? SharedArrayBuffer : undefined;
const resizable = changes(ArrayBuffer, "resizable");
const growable = changes(Shared, "growable");

/** Of engines with immutable buffers, which refuse what is written to them. */
const immutable = changes(ArrayBuffer, "immutable");

/** Whether writing to an array would throw. */
export const isImmutable = (array: Float32Array | Uint16Array): boolean => {
  const buffer = bufferGetter.call(array);
  return immutable !== undefined && buffer instanceof ArrayBuffer && immutable.call(buffer);
};

/** Array.isArray throws for a proxy that was revoked; such a thing is no array. */
export function isArray(value: unknown): value is unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false;
  }
}

/** True for a real Float32Array, of any realm or subclass; false for a proxy of one. */
export const isFloat32Array = (value: unknown): value is Float32Array => kindOf(value) === "Float32Array";

/** The same for Float64Array. */
export const isFloat64Array = (value: unknown): value is Float64Array => kindOf(value) === "Float64Array";

/** The same for Float16Array, which not every platform has. */
export const isFloat16Array = (value: unknown): value is HalfArray => kindOf(value) === "Float16Array";

/** The same for Uint16Array. */
export const isUint16Array = (value: unknown): value is Uint16Array => kindOf(value) === "Uint16Array";

/** The same for Uint8Array. */
export const isUint8Array = (value: unknown): value is Uint8Array => kindOf(value) === "Uint8Array";

/** Its true length, whatever a subclass says; 0 if its buffer is detached. */
export const lengthOf = (array: ArrayBufferView): number => lengthGetter.call(array) as number;

/**
 * Whether its length may change while it is used: another thread can grow shared memory at any moment. By the buffer's own
 * getters, which cost 8 ns; where a subclass deceives `instanceof` they throw, and the careful answer is the right one.
 */
function mayChange(array: Float32Array | Float64Array): boolean {
  const buffer = bufferGetter.call(array);
  try {
    const get = Shared && buffer instanceof Shared ? growable : resizable;
    return get?.call(buffer) ?? false;
  } catch {
    return true;
  }
}

/**
 * The same `length` values under a length that no growth of their buffer changes. Whoever checks a length and then copies by
 * it works on this. @param length what `lengthOf` gave when the array was judged
 */
export function fixed(array: Float32Array, length = lengthOf(array)): Float32Array {
  if (length === 0 || !mayChange(array)) return array;
  return new Float32Array(
    bufferGetter.call(array) as ArrayBuffer,
    offsetGetter.call(array) as number,
    length,
  );
}

/** Values [from, from + length) of an array, no subclass's view unless that is all of it. */
export const part = (array: Float32Array, from: number, length: number): Float32Array =>
  from === 0 && length === lengthOf(array)
    ? array
    : new Float32Array(
        bufferGetter.call(array) as ArrayBuffer,
        (offsetGetter.call(array) as number) + 4 * from,
        length,
      );

/** Which bytes of which buffer an array covers. */
export function spanOf(array: Float32Array): { buffer: unknown; from: number; to: number } {
  const from = offsetGetter.call(array) as number;
  return { buffer: bufferGetter.call(array), from, to: from + 4 * lengthOf(array) };
}

/** Sets all values to zero, or the first `length`, if there are any. */
export function clear(array: Float32Array, length = lengthOf(array)): void {
  if (length > 0) fillAll.call(array, 0, 0, length);
}

/** A copy of all values, or the first `length`, that is no subclass, whatever one has made of `slice` and its species. */
export function copyOf(array: Float32Array, length = lengthOf(array)): Float32Array {
  const copy = new Float32Array(length);
  copyInto(copy, array, 0, length);
  return copy;
}

/** The same of a Float64Array; one that is detached gives an empty copy. */
export const copyOf64 = (array: Float64Array): Float64Array =>
  Float64Array.from({ length: lengthOf(array) }, (_, i) => array[i]!);

/** An array that was given, and where to find its values once linear memory has grown, which detaches its views. */
export interface Given {
  /** Of 16-bit values, their bits. */
  array: Float32Array | Uint16Array;
  size: number;
  /** Its byte offset in linear memory; -1 for an array with memory of its own. */
  offset: number;
  shape: undefined;
  address: undefined;
  dtype: undefined;
  element: Element;
}

/** Buffers of a shared linear memory as it was before it grew: views of them see the same bytes. */
export const outgrown = new WeakSet<object>();

/** Reads what there is to know of an array, its length just once; `linear` is any view of linear memory. */
export function given(array: Float32Array | HalfArray | Uint16Array, linear: Float32Array): Given {
  const size = lengthOf(array);
  const buffer = bufferGetter.call(array) as object;
  const own = buffer !== linear.buffer && !outgrown.has(buffer);
  const wide = isFloat32Array(array);
  return {
    array: !wide ? bitsOf(array, size) : own ? fixed(array, size) : array,
    size,
    offset: own ? -1 : (offsetGetter.call(array) as number),
    shape: undefined,
    address: undefined,
    dtype: undefined,
    element: wide ? 0 : FLOAT16,
  };
}

/** The array of float32 that was given, or a view of the same place where it has been detached since. */
export const renewed = ({ array, size, offset }: Given, linear: Float32Array): Float32Array =>
  offset < 0 || lengthOf(array) === size
    ? (array as Float32Array)
    : linear.subarray(offset / 4, offset / 4 + size);

/** The same of 16-bit values. */
export const renewedBits = ({ array, size, offset }: Given, linear: Float32Array): Uint16Array =>
  offset < 0 || lengthOf(array) === size
    ? (array as Uint16Array)
    : new Uint16Array(linear.buffer, offset, size);

/**
 * Copies the first `length` values of `from` into `to`, and no more, however long `from` has become; whatever a subclass has
 * made of `set`. Short ones by a loop, which spares a call (BatchNorm of 4 channels, evaluation: 0.26 us, 0.18).
 */
export function copyInto(
  to: Float32Array | Float64Array,
  from: Float32Array,
  offset = 0,
  length = lengthOf(from),
): void {
  if (length > 16) setAll.call(to, fixed(from, length), offset);
  else for (let i = 0; i < length; i++) to[offset + i] = from[i]!;
}

/** Fills the first `length` values of `to` from `from[offset]` on, in the same way. */
export function copyFrom(from: Float32Array, offset: number, to: Float32Array, length = lengthOf(to)): void {
  if (length > 16) setAll.call(to, from.subarray(offset, offset + length));
  else for (let i = 0; i < length; i++) to[i] = from[offset + i]!;
}

/** An error for what is no Float32Array, with the way to one where there is one. */
export function notArray(who: string, name: string, expected: string, value: unknown): TypeError {
  const brand = brandOf(value);
  if (brand === COPY && expected.includes("Tensor")) return proxied(who, "a Tensor");
  if (brand !== undefined && brand !== COPY) {
    return foreign(who, `${name} to be ${expected}`, "a Tensor", `pass ${name}.toArray() and its shape`);
  }
  const error = typeError(who, `${name} to be ${expected}`, value);
  return new TypeError(error.message + conversionOf(name, value, brand === COPY));
}

/** @throws RangeError for an array whose memory was transferred, resized away from it, or grown under a view of it */
export function checkAttached(
  who: string,
  name: string,
  array: ArrayBufferView,
  length = lengthOf(array),
): void {
  if (length > 0 || !isDetached(array)) return;
  throw detached(who, name);
}

/** Returns `value` if it is a Float32Array. @throws TypeError */
export function checkArray(who: string, name: string, value: unknown): Float32Array {
  if (!isFloat32Array(value)) throw notArray(who, name, "a Float32Array", value);
  checkAttached(who, name, value);
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
