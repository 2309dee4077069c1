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

const word = new Uint32Array(1);
const float = new Float32Array(word.buffer);

/** The bits of a float32 to those of the nearest float16, ties to even; a NaN stays one. */
export function narrowHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00 | ((size >>> 13) & 0x1ff);
  // From 65520 on, half way to what would be the next, all is infinite.
  if (size >= 0x477ff000) return sign | 0x7c00;
  if (size >= 0x38800000) return sign | ((size - (112 << 23) + 0xfff + ((size >>> 13) & 1)) >>> 13);
  // Subnormal: beside 0.5 float32 steps by 2^-24, as float16 does there.
  word[0] = size;
  float[0] = float[0]! + 0.5;
  return sign | (word[0]! - 0x3f000000);
}

/** The bits of a bfloat16 to those of the same float32, whose upper half they are. */
export const widenBfloat = (bits: number): number => bits << 16;

/** The float32 values of the first `length` of `bits`, exactly. */
export const widened = (
  bits: Uint16Array,
  length: number,
  widen: (bits: number) => number,
): OwnFloat32Array => new Float32Array(Int32Array.from({ length }, (_, i) => widen(bits[i]!)).buffer);
