import { copyFrom, copyInto } from "../arrays.js";
import type { Runtime } from "../runtime/runtime.js";

/**
 * More channels than these are blended by the kernel, which gives what a loop does to the bit: a loop takes 3.4 ns each (running
 * statistics; gradients 3.6), the copies to the kernel and back 0.14 us (16 x 16: a tenth of a call).
 */
export const LOOPED = 64;

/**
 * Has the kernel take two float64 vectors of a minibatch into `a` and `b`, of `n` channels, by way of scratch at `work`: see
 * there for how. Returns how many channels kept their own.
 */
export function blend(
  { f32, kernels }: Runtime,
  work: number,
  n: number,
  a: Float32Array | undefined,
  b: Float32Array | undefined,
  ...how: [fromA: number, fromB: number, rest: number, shareA: number, shareB: number, any: number]
): number {
  // Clear of the whole vectors that the kernel writes.
  const other = work + 8 * n;
  if (a) copyInto(f32, a, work / 4, n);
  if (b) copyInto(f32, b, other / 4, n);
  const kept = kernels.blend(n, work, other, ...how);
  if (a) copyFrom(f32, work / 4, a, n);
  if (b) copyFrom(f32, other / 4, b, n);
  return kept;
}
