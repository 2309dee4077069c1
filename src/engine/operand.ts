import {
  checkAttached,
  checkLength,
  copyFrom,
  copyInto,
  type Given,
  given,
  isFloat32Array,
  isImmutable,
  isSame,
  notArray,
  renewed,
} from "../arrays.js";
import { describe, rangeError, typeError } from "../errors.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Core, coreOf, live, Tensor } from "../tensor.js";

/** A minibatch: a Float32Array, which is copied in and out, or a Tensor, which is read and written in place. */
export type Minibatch = Float32Array | Tensor;

/** In place of a minibatch to write to: a new one. */
export const NEW = Symbol();

/** A minibatch that was given: a Tensor's core, or an array. */
export type Operand = Core | Given;

/** Reads a minibatch argument. @throws TypeError unless it is a Float32Array or a Tensor in use */
export function readOperand(who: string, name: string, value: unknown): Operand {
  const core = coreOf(value);
  if (core) return live(who, core);
  if (!isFloat32Array(value)) throw notArray(who, name, "a Float32Array or a Tensor", value);
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

/** A new minibatch of the kind of `like`. */
export const newLike = (like: Operand, shape: readonly number[]): Minibatch =>
  like.array ? new Float32Array(like.size) : new Tensor(shape);

/** Gives up a new minibatch, if there was one. */
export function drop(minibatch: Minibatch | undefined): void {
  if (minibatch instanceof Tensor) minibatch.dispose();
}

/** Where an operand lies: its Tensor, or room for its array. */
export const place = (scratch: Scratch, { address, size }: Operand): number =>
  address ?? scratch.take(4 * size);

/** Copies an array to its place. */
export function copyIn({ f32 }: Runtime, operand: Given, address: number): void {
  copyInto(f32, renewed(operand, f32), address / 4, operand.size);
}

/** Copies an array from its place. */
export function copyOut({ f32 }: Runtime, operand: Given, address: number): void {
  copyFrom(f32, address / 4, renewed(operand, f32), operand.size);
}
