// How values lie in memory: the types of Tensors, and what JavaScript has for those of 16 bits.

import { rangeError } from "./errors.js";
import { bufferGetter, lengthGetter, offsetGetter } from "./typed.js";

/** The types, in the kernels' order: a type's place is its number. */
export const DTYPES = ["float32", "float16", "bfloat16"] as const;

/** How a Tensor's values lie in memory. */
export type DType = (typeof DTYPES)[number];

/** A type as the kernels number it: 0 is float32. */
export type Element = 0 | 1 | 2;
export const FLOAT16 = 1;

/** A Float16Array, where the platform and the compiler's library have one. */
export interface HalfArray extends ArrayBufferView, ArrayLike<number> {
  /** Its name, by which it is known. */
  readonly [Symbol.toStringTag]: "Float16Array";
  [index: number]: number;
  /** Copies values, from `offset` on. */
  set(array: ArrayLike<number>, offset?: number): void;
}

type HalfArrayClass = {
  new (length: number): HalfArray;
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): HalfArray;
};

/** The platform's Float16Array, if it has one. */
export const float16Array = (): HalfArrayClass | undefined =>
  (globalThis as { Float16Array?: HalfArrayClass }).Float16Array;

/** Bytes that a value takes. */
export const bytesOf = (element: Element): number => (element ? 2 : 4);

/** The bits of an array of 16-bit values, under a length that no growth of their buffer changes. */
export const bitsOf = (array: ArrayBufferView, length = lengthGetter.call(array) as number): Uint16Array =>
  new Uint16Array(bufferGetter.call(array) as ArrayBuffer, offsetGetter.call(array) as number, length);

/** The word at a place in memory, for float32's bits. */
const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/**
 * float64 to float32 so that rounding once more, to 16 bits, gives what rounding at once would: what is lost becomes a last bit of 1
 * (Boldo and Melquiond 2008, "round to odd").
 */
export function roundToOdd(values: Float64Array): Float32Array {
  return Float32Array.from(values, (value) => {
    float[0] = value;
    const rounded = float[0]!;
    if (Object.is(rounded, value) || Number.isNaN(value) || value === 0) return rounded;
    if (Math.abs(rounded) > Math.abs(value)) word[0]!--;
    word[0]! |= 1;
    return float[0]!;
  });
}

/** What the types of a file's bits are called there. */
const TOLD: Record<string, DType> = { F16: "float16", BF16: "bfloat16" };

/** @throws RangeError where an array of bits says of itself that they are another type's */
export function checkTold(who: string, name: string, array: Uint16Array, dtype: DType): void {
  const told = (array as { dtype?: unknown }).dtype;
  if (typeof told === "string" && Object.hasOwn(TOLD, told) && TOLD[told] !== dtype)
    throw rangeError(who, `${name} to be bits of ${dtype}`, told);
}
