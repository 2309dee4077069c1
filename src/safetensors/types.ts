import { rangeError } from "../errors.js";
import type {
  OwnBigInt64Array,
  OwnBigUint64Array,
  OwnFloat32Array,
  OwnFloat64Array,
  OwnInt8Array,
  OwnInt16Array,
  OwnInt32Array,
  OwnUint8Array,
  OwnUint16Array,
  OwnUint32Array,
} from "../own.js";
import { fromBfloat16, fromFloat16 } from "./half.js";

/** A Float16Array, as far as compilers without it know one. */
export interface Float16Values extends ArrayBufferView, ArrayLike<number> {
  readonly buffer: ArrayBuffer;
}

/** An array of the file's own type, with that type and the shape: see `Precision`. */
export type KeptArray = (
  | OwnFloat64Array
  | OwnFloat32Array
  | Float16Values
  | OwnBigInt64Array
  | OwnBigUint64Array
  | OwnInt32Array
  | OwnUint32Array
  | OwnInt16Array
  | OwnUint16Array
  | OwnInt8Array
  | OwnUint8Array
) & {
  /** The format's name of the type: "BF16" tells a Uint16Array of bfloat16 bits from one of integers. */
  readonly dtype: string;
  /** The extents; empty for a scalar. */
  readonly shape: readonly number[];
};

/** What is read when nothing is asked for: float32, and float64 where that was written. */
export type FloatArray = OwnFloat32Array | OwnFloat64Array;

/**
 * How values are given. Without it F64 comes as a Float64Array, as do the counts named `num_batches_tracked`, and all
 * else as a Float32Array: F16, BF16, BOOL and integers of 8 and 16 bits exactly, wider integers rounded once to the
 * nearest float32. "float32" gives a Float32Array for F64 and counts as well. "keep" gives the file's own type: F16 as a
 * Float16Array where the platform has it and else its bits in a Uint16Array, BF16 as bits in a Uint16Array, I64 and U64
 * as BigInt64Array and BigUint64Array; each array then has `dtype` and `shape`.
 */
export type Precision = "float32" | "keep";

/** Bytes a value, and the array that reads it, of the format's types that are read here. */
const TYPES = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

type Type = keyof typeof TYPES;

/** Bytes a value; undefined for a type that is not read here. */
export const sizeOfType = (dtype: string): number | undefined =>
  Object.hasOwn(TYPES, dtype) ? TYPES[dtype as Type].BYTES_PER_ELEMENT : undefined;

/** Whether an entry counts minibatches, by PyTorch's name for it. */
export const isCount = (name: string): boolean => /(^|\.)num_batches_tracked$/.test(name);

/** The platform's Float16Array, if it has one. */
export const float16Array = (): (new (buffer: ArrayBufferLike) => Float16Values) | undefined =>
  (globalThis as { Float16Array?: new (buffer: ArrayBufferLike) => Float16Values }).Float16Array;

/**
 * 64-bit integers, each rounded once. A number adds the two halves exactly up to 2^53 and rounds beyond. To float32 that
 * would round twice, so there the low 20 bits become one that only says whether any was set: they lie below half a unit
 * of the last place, and what is left fits.
 */
function fromInt64(words: Int32Array, signed: boolean, wide: boolean): FloatArray {
  const n = words.length / 2;
  // A loop for each kind of array: one for both takes four times as long.
  const floats = new Float32Array(wide ? 0 : n);
  for (let i = 0; i < floats.length; i++) {
    const low = words[2 * i]!;
    const top = words[2 * i + 1]!;
    if (top === low >> 31 && (signed || top === 0)) floats[i] = low;
    else floats[i] = nearestFloat32(low, signed ? top : top >>> 0);
  }
  if (!wide) return floats;
  const doubles = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    const top = words[2 * i + 1]!;
    doubles[i] = (signed ? top : top >>> 0) * 2 ** 32 + (words[2 * i]! >>> 0);
  }
  return doubles;
}

/** A number that rounds to the float32 nearest to `top * 2^32 + low`. */
function nearestFloat32(low: number, top: number): number {
  const exact = top >= -(2 ** 21) && top < 2 ** 21;
  const bits = exact ? low : (low & ~0xfffff) | (low & 0xfffff ? 0x80000 : 0);
  return top * 2 ** 32 + (bits >>> 0);
}

/** An ArrayBuffer of just these bytes: themselves if they may be kept, else a copy. */
function ownBuffer(bytes: Uint8Array, keep: boolean): ArrayBuffer {
  const whole = keep && bytes.byteLength === bytes.buffer.byteLength;
  return (whole ? bytes : new Uint8Array(bytes)).buffer as ArrayBuffer;
}

/**
 * The values of one tensor. `owned` says that no one else sees the bytes, so that they may become the array.
 *
 * @throws RangeError for a type that is not read here, with `name` and the types that are
 */
export function decode(
  who: string,
  name: string,
  dtype: string,
  bytes: Uint8Array,
  owned: boolean,
  precision: Precision | undefined,
): FloatArray | KeptArray {
  if (!Object.hasOwn(TYPES, dtype)) {
    throw rangeError(who, `${name} to have a dtype of ${Object.keys(TYPES).join(", ")}`, dtype);
  }
  const type = dtype as Type;
  if (precision === "keep") {
    const Kept = (type === "F16" && float16Array()) || TYPES[type];
    return new Kept(ownBuffer(bytes, owned)) as KeptArray;
  }
  const wide = precision === undefined && (type === "F64" || isCount(name));
  if (type === "F32" && !wide) return new Float32Array(ownBuffer(bytes, owned));
  if (type === "F64" && wide) return new Float64Array(ownBuffer(bytes, owned));
  // Read where they lie if that is aligned: another copy would cost as much as the conversion.
  const aligned = bytes.byteOffset % TYPES[type].BYTES_PER_ELEMENT === 0 ? bytes : new Uint8Array(bytes);
  const { byteOffset, byteLength } = aligned;
  const buffer = aligned.buffer as ArrayBuffer;
  if (type === "I64" || type === "U64") {
    return fromInt64(new Int32Array(buffer, byteOffset, byteLength / 4), type === "I64", wide);
  }
  const values = new TYPES[type](buffer, byteOffset, byteLength / TYPES[type].BYTES_PER_ELEMENT);
  const floats =
    type === "F16"
      ? fromFloat16(values as Uint16Array)
      : type === "BF16"
        ? fromBfloat16(values as Uint16Array)
        : (values as Float32Array);
  if (wide) return new Float64Array(floats);
  return floats instanceof Float32Array ? (floats as OwnFloat32Array) : new Float32Array(floats);
}

/** Adds the type and the shape to an array of the file's own type. Not enumerable: they are no values. */
export function describeKept(array: FloatArray | KeptArray, dtype: string, shape: number[]): void {
  Object.defineProperty(array, "dtype", { value: dtype });
  Object.defineProperty(array, "shape", { value: shape });
}
