// Values of 16 bits in and out of linear memory, by stretches: room for one stretch is all that it takes.
import { copyInto, type Given, part, renewed } from "../arrays.js";
import type { OwnFloat32Array } from "../own.js";
import type { Runtime } from "./runtime.js";
import { Scratch } from "./scratch.js";

/** Values of a stretch: 64 kB of float32. */
const STRETCH = 16_384;

/** Runs `work` for each stretch of `size` values, with room for one as float32. @throws RangeError if there is none */
function byStretch(
  held: Runtime,
  size: number,
  work: (room: number, from: number, length: number) => void,
): void {
  Scratch.with(held, (scratch) => {
    const room = scratch.take(4 * Math.min(size, STRETCH));
    for (let from = 0; from < size; from += STRETCH) work(room, from, Math.min(STRETCH, size - from));
  });
}

/** Rounds float32 that was given to 16 bits at `address`. @throws RangeError if memory cannot hold a stretch; nothing is written then */
export function narrowFrom(held: Runtime, array: Given, address: number, element: number): void {
  byStretch(held, array.size, (room, from, length) => {
    copyInto(held.f32, part(renewed(array, held.f32), from, length), room / 4, length);
    held.kernels.narrow(room, address + 2 * from, length, element);
  });
}

/** A copy of 16-bit values as float32. @throws RangeError if memory cannot hold a stretch */
export function widenTo(held: Runtime, address: number, size: number, element: number): OwnFloat32Array {
  const values = new Float32Array(size);
  byStretch(held, size, (room, from, length) => {
    held.kernels.widen(address + 2 * from, room, length, element);
    values.set(held.f32.subarray(room / 4, room / 4 + length), from);
  });
  return values;
}
