import {
  checkAttached,
  checkLength,
  copyFrom,
  copyInto,
  type Given,
  given,
  isFloat16Array,
  isFloat32Array,
  isImmutable,
  isSame,
  notArray,
  part,
  renewed,
  renewedBits,
} from "../arrays.js";
import { type DType, float16Array, type HalfArray } from "../element.js";
import { describe, rangeError, typeError } from "../errors.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Core, coreOf, live, Tensor } from "../tensor.js";

/** A minibatch: a Float32Array or Float16Array, which is copied in and out, or a Tensor, which is read and written in place. */
export type Minibatch = Float32Array | HalfArray | Tensor<DType>;

/** In place of a minibatch to write to: a new one. */
export const NEW = Symbol();

/** A minibatch that was given: a Tensor's core, or an array. */
export type Operand = Core | Given;

/** Reads a minibatch argument. @throws TypeError unless it is a Float32Array, a Float16Array or a Tensor in use */
export function readOperand(who: string, name: string, value: unknown): Operand {
  const core = coreOf(value);
  if (core) return live(who, core);
  if (isFloat16Array(value)) checkAttached(who, name, value);
  else if (!isFloat32Array(value)) throw notArray(who, name, "a Float32Array or a Tensor", value);
  const operand = given(value, runtime().f32);
  checkAttached(who, name, value, operand.size);
  return operand;
}

/** The same for one that must have the size of `shape`, and if it is a Tensor just that shape. @throws TypeError, RangeError */
export function readSized(who: string, name: string, value: unknown, shape: readonly number[]): Operand {
  const operand = readOperand(who, name, value);
  const own = operand.shape;
  if (own === shape) return operand;
  if (!own) checkLength(who, name, shape, operand.size);
  else if (!isSame(own, shape)) throw rangeError(who, `${name} of shape ${describe(shape)}`, own);
  return operand;
}

/** The same for one that will be written to. @throws TypeError also where it cannot be */
export function readOutput(who: string, name: string, value: unknown, shape: readonly number[]): Operand {
  const operand = readSized(who, name, value, shape);
  if (operand.array && isImmutable(operand.array))
    throw typeError(who, `${name} that can be written to`, value);
  return operand;
}

/** A new minibatch of the kind and the type of `like`. */
export function newLike(like: Operand, shape: readonly number[]): Minibatch {
  if (!like.array) return new Tensor(shape, undefined, { dtype: like.dtype });
  return like.element ? new (float16Array()!)(like.size) : new Float32Array(like.size);
}

/** Gives up a new minibatch, if there was one. */
export function drop(minibatch: Minibatch | undefined): void {
  if (minibatch instanceof Tensor) minibatch.dispose();
}

/** Where kernels may read and write an operand as it lies: a Tensor of float32. */
export const ownPlace = ({ address, element }: Operand): number | undefined =>
  element === 0 ? address : undefined;

/** Where an operand lies as kernels take it: its own place, or room for it. */
export const place = (scratch: Scratch, operand: Operand): number =>
  ownPlace(operand) ?? scratch.take(4 * operand.size);

/** Brings values [from, from + n) of what is not in its own place to `address`, as float32. */
export function copyIn(held: Runtime, operand: Operand, address: number, from = 0, n = operand.size): void {
  const { f32, kernels } = held;
  const { array, element } = operand;
  if (!element) {
    if (array) copyInto(f32, part(renewed(operand, f32), from, n), address / 4, n);
    return;
  }
  // Bits lie in the second half of the room, so that no value is overwritten before it is read.
  const bits = array ? address + 2 * n : operand.address + 2 * from;
  if (array) bitsAt(f32, bits, n).set(renewedBits(operand, f32).subarray(from, from + n));
  kernels.widen(bits, address, n, element);
}

/** Takes values [from, from + n) of what is not in its own place from `address`. Of 16-bit values what was there is lost. */
export function copyOut(held: Runtime, operand: Operand, address: number, from = 0, n = operand.size): void {
  const { f32, kernels } = held;
  const { array, element } = operand;
  if (!element) {
    if (array) copyFrom(f32, address / 4, part(renewed(operand, f32), from, n), n);
    return;
  }
  kernels.narrow(address, array ? address : operand.address + 2 * from, n, element);
  if (array) renewedBits(operand, f32).set(bitsAt(f32, address, n), from);
}

const bitsAt = ({ buffer }: Float32Array, address: number, size: number): Uint16Array =>
  new Uint16Array(buffer, address, size);
