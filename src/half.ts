// float16 and bfloat16, as bits, to float32: a value at a time. safetensors/half.ts has what millions of them take.

import type { OwnFloat32Array } from "./own.js";

/** The bits of a float16 to those of the same float32; a NaN keeps its payload. */
export function widenHalf(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const size = bits & 0x7fff;
  if (size >= 0x7c00) return sign | 0x7f800000 | ((size & 0x3ff) << 13);
  // The exponents' biases are 15 and 127: 112 apart.
  if (size >= 0x400) return sign | ((size << 13) + (112 << 23));
  if (size === 0) return sign;
  // A subnormal, which float32 holds as a normal number: its leading one moves up to bit 10 and is dropped.
  const shift = Math.clz32(size) - 21;
  return sign | ((113 - shift) << 23) | (((size << shift) & 0x3ff) << 13);
}

/** The bits of a bfloat16 to those of the same float32, whose upper half they are. */
export const widenBfloat = (bits: number): number => bits << 16;

/** The float32 values of the first `length` of `bits`, exactly. */
export const widened = (
  bits: Uint16Array,
  length: number,
  widen: (bits: number) => number,
): OwnFloat32Array => new Float32Array(Int32Array.from({ length }, (_, i) => widen(bits[i]!)).buffer);
