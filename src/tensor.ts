import {
  checkArray,
  checkLength,
  copyInto,
  type Given,
  given,
  isSame,
  lengthOf,
  renewed,
  sizeOf,
} from "./arrays.js";
import { disposed, readShape } from "./errors.js";
import { Arena } from "./runtime/arena.js";
import { type Runtime, runtime, withRoom } from "./runtime/runtime.js";

/** What the kernels need to know of a Tensor, out of reach of whoever holds it. */
export interface Core {
  // All that Given has, in its order: an engine knows both as one kind of object.
  /** None: the values are in linear memory. */
  readonly array: undefined;
  readonly size: number;
  readonly offset: number;
  readonly shape: readonly number[];
  /** 0 once disposed. */
  address: number;
}

/** The core of a Tensor of this package; undefined for anything else. */
export let coreOf: (value: unknown) => Core | undefined;

/** The last Tensor's shape, for the next if it is the same: calls see at once that such Tensors fit. */
let last: readonly number[] | undefined;

/** Views keep their Tensors: memory that can still be seen is not given to others. */
const owners = new WeakMap<Float32Array, Tensor>();

/** A float32 array in the kernels' own memory: layers read and write it in place, without a copy. */
export class Tensor {
  readonly #runtime: Runtime;
  readonly #arena: Arena<"data">;
  readonly #core: Core;
  #view: Float32Array | undefined;

  static {
    coreOf = (value) =>
      typeof value === "object" && value !== null && #core in value ? value.#core : undefined;
  }

  /** @throws TypeError, RangeError for a wrong shape or data; RangeError if memory cannot hold it */
  constructor(shape: readonly number[], data?: Float32Array) {
    const own = readShape("Tensor", shape);
    const held = runtime();
    let from: Given | undefined;
    if (data !== undefined) {
      from = given(checkArray("Tensor", "data", data), held.f32);
      checkLength("Tensor", "data", own, from.size);
    }
    this.#runtime = held;
    const size = sizeOf(own);
    let counted = false;
    this.#arena = new Arena(held, this, () => {
      if (counted) held.count(-1, 4 * size);
    });
    try {
      this.#arena.reserve({ data: 4 * size });
    } catch (error) {
      this.#arena.release();
      throw error;
    }
    counted = true;
    held.count(1, 4 * size);
    if (!last || !isSame(own, last)) last = Object.freeze(own);
    this.#core = { array: undefined, size, offset: -1, shape: last, address: this.#arena.slots.data.address };
    if (from) copyInto(this.data, renewed(from, held.f32));
    else this.data.fill(0);
  }

  /** The extents, the last axis contiguous. */
  get shape(): readonly number[] {
    return this.#core.shape;
  }

  /** How many values there are: the product of the shape. */
  get size(): number {
    return this.#core.size;
  }

  /** A live view: valid until memory next grows, so ask for it again after other calls. */
  get data(): Float32Array {
    const { address, size } = live("Tensor", this.#core);
    const { f32 } = this.#runtime;
    if (this.#view?.buffer !== f32.buffer) {
      this.#view = f32.subarray(address / 4, address / 4 + size);
      owners.set(this.#view, this);
    }
    return this.#view;
  }

  /** Overwrites the values. @throws TypeError, RangeError unless it is a Float32Array of `size` values */
  set(array: Float32Array): void {
    const { data } = this;
    checkLength("Tensor", "array", this.shape, lengthOf(checkArray("Tensor", "array", array)));
    copyInto(data, array);
  }

  /** A copy of the values, the caller's own. */
  toArray(): Float32Array {
    return this.data.slice();
  }

  /** Gives the memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    if (this.#core.address === 0) return;
    this.#core.address = 0;
    this.#view = undefined;
    this.#arena.release();
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The same core, if its Tensor is still in use. @throws TypeError */
export function live(who: string, core: Core): Core {
  if (core.address === 0) throw disposed(who, "a Tensor");
  return core;
}

/** A new Tensor of `shape`, filled with `data` or zeros. @throws TypeError, RangeError as its constructor */
export const tensor = (shape: readonly number[], data?: Float32Array): Tensor =>
  withRoom(runtime(), () => new Tensor(shape, data));
