import {
  checkAttached,
  checkLength,
  copyInto,
  type Given,
  given,
  isFloat32Array,
  isSame,
  renewed,
  sizeOf,
} from "./arrays.js";
import { BRAND, COPY } from "./brand.js";
import { disposed, proxied, readOptions, readShape, typeError } from "./errors.js";
import { type Numbers, readNumbers } from "./numbers.js";
import type { OwnFloat32Array } from "./own.js";
import { Arena } from "./runtime/arena.js";
import { type Runtime, runtime, withRoom } from "./runtime/runtime.js";
import { made, unmade } from "./tidy.js";

export type { Numbers } from "./numbers.js";
export { tidy } from "./tidy.js";

/** How a Tensor's values lie in memory. */
export type DType = "float32";

/** The options of `tensor`. */
export interface TensorOptions {
  /** Default "float32". */
  dtype?: DType | undefined;
}

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
  readonly dtype: DType;
}

/** The core of a Tensor of this package; undefined for anything else. */
export let coreOf: (value: unknown) => Core | undefined;

/** The last Tensor's shape, for the next if it is the same: calls see at once that such Tensors fit. */
let last: readonly number[] | undefined;

/** Views keep their Tensors: memory that can still be seen is not given to others. */
const owners = new WeakMap<Float32Array, Tensor>();

/** How many values `inspect` shows. */
const SHOWN = 8;

/**
 * An own property of every Tensor. `structuredClone` and `postMessage` would make `{}` of an object with private fields alone;
 * a function they refuse, and V8's DataCloneError prints its source.
 */
const uncloneable = () => "A Tensor cannot be cloned or sent: send tensor.toArray() and tensor.shape";

/** What a Tensor is made of: an array that is copied as it is, or what numbers make. @throws TypeError, RangeError */
function readData(who: string, name: string, data: unknown, shape: readonly number[]): Float32Array {
  if (!isFloat32Array(data)) return readNumbers(who, name, data, shape);
  checkAttached(who, name, data);
  return data;
}

function readDType(who: string, options: unknown): DType {
  const { dtype } = readOptions(who, options, { dtype: "float32" });
  if (dtype !== "float32") throw typeError(who, 'dtype to be "float32"', dtype);
  return dtype;
}

/** A float32 array in the kernels' own memory: layers read and write it in place, without a copy. */
export class Tensor {
  readonly #runtime: Runtime;
  readonly #arena: Arena<"data">;
  readonly #core: Core;
  #view: Float32Array | undefined;
  /** @internal */
  readonly uncloneable = uncloneable;

  static {
    coreOf = (value) =>
      typeof value === "object" && value !== null && #core in value ? value.#core : undefined;
  }

  /**
   * @param data `size` numbers, in one row or nested as the shape is, of any kind of array; default zeros
   * @throws TypeError, RangeError for a wrong shape or data; RangeError if memory cannot hold it
   */
  constructor(shape: readonly number[], data?: Numbers, options?: TensorOptions) {
    const who = "Tensor";
    const own = readShape(who, shape);
    const dtype = options === undefined ? "float32" : readDType(who, options);
    const values = data === undefined ? undefined : readData(who, "data", data, own);
    const held = runtime();
    let from: Given | undefined;
    if (values) {
      from = given(values, held.f32);
      checkLength(who, "data", own, from.size);
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
    const { address } = this.#arena.slots.data;
    this.#core = { array: undefined, size, offset: -1, shape: last, address, dtype };
    if (from) copyInto(this.data, renewed(from, held.f32), 0, size);
    else this.data.fill(0);
    made(this);
  }

  /** The extents, the last axis contiguous. */
  get shape(): readonly number[] {
    return own(this).shape;
  }

  /** How many values there are: the product of the shape. */
  get size(): number {
    return own(this).size;
  }

  /** How a value lies in memory: "float32". */
  get dtype(): DType {
    return own(this).dtype;
  }

  /**
   * A live view of the values. It is valid until memory next grows, as a new Tensor or a larger minibatch may make it: then
   * it has length 0, and what is written to it vanishes without an error. So write `t.data[0] = 1` or `t.set(values)`, and
   * do not keep the view; `init({ initialMemory })` takes room ahead.
   *
   * Its `buffer` is all of linear memory: send `toArray()` to a worker, not `data`.
   */
  get data(): Float32Array {
    const { address, size } = live("Tensor", own(this));
    const { f32 } = this.#runtime;
    if (this.#view?.buffer !== f32.buffer) {
      this.#view = f32.subarray(address / 4, address / 4 + size);
      owners.set(this.#view, this);
    }
    return this.#view;
  }

  /**
   * Overwrites the values.
   *
   * @param array `size` numbers, in one row or nested as the shape is, of any kind of array
   * @throws TypeError, RangeError for anything else; nothing has changed then
   */
  set(array: Numbers): void {
    const who = "Tensor.set";
    const { shape, size } = live("Tensor", own(this));
    const from = given(readData(who, "array", array, shape), this.#runtime.f32);
    checkLength(who, "array", shape, from.size);
    // Only now: reading the array may have run code that disposed of this, or made memory grow.
    copyInto(this.data, renewed(from, this.#runtime.f32), 0, size);
  }

  /** A copy of the values, the caller's own. */
  toArray(): OwnFloat32Array {
    return this.data.slice() as OwnFloat32Array;
  }

  /** What JSON makes of it; `tensor(shape, data)` makes a Tensor of that again. Not finite values become null, as ever. */
  toJSON(): { shape: number[]; dtype: DType; data: number[] } {
    return { shape: [...this.shape], dtype: this.dtype, data: Array.from(this.data) };
  }

  /** What Node prints: shape, type and the first values. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { address, shape, dtype, size } = own(this);
    const head = `Tensor ${dtype} [${shape.join(", ")}]`;
    if (address === 0) return `${head} (disposed)`;
    const values = Array.from(this.data.subarray(0, SHOWN), (value) => `${Number(value.toPrecision(7))}`);
    if (size > SHOWN) values.push("…");
    return `${head} { ${values.join(", ")} }`;
  }

  /** @internal The mark by which copies of the package tell their Tensors apart. */
  get [BRAND](): unknown {
    return COPY;
  }

  /** @internal Vue leaves what has this out of its Proxies, as `markRaw` does. */
  get __v_skip(): true {
    return true;
  }

  /** Gives the memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    const core = own(this);
    if (core.address === 0) return;
    core.address = 0;
    this.#view = undefined;
    this.#arena.release();
    unmade(this);
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The core of `this` in a method, where `this` may be a Proxy. @throws TypeError */
function own(tensor: Tensor): Core {
  const core = coreOf(tensor);
  if (!core) throw proxied("Tensor", "a Tensor");
  return core;
}

/** The same core, if its Tensor is still in use. @throws TypeError */
export function live(who: string, core: Core): Core {
  if (core.address === 0) throw disposed(who, "a Tensor");
  return core;
}

/**
 * A new Tensor of `shape`, filled with `data` or zeros: numbers in one row or nested as the shape is, of any kind of array.
 *
 * @throws TypeError, RangeError as its constructor
 */
export const tensor = (shape: readonly number[], data?: Numbers, options?: TensorOptions): Tensor =>
  withRoom(runtime(), () => new Tensor(shape, data, options));
