import {
  checkAttached,
  checkLength,
  copyInto,
  type Given,
  given,
  isFloat16Array,
  isFloat32Array,
  isSame,
  isUint16Array,
  renewed,
  renewedBits,
  sizeOf,
} from "./arrays.js";
import { BRAND, COPY } from "./brand.js";
import {
  bytesOf,
  checkTold,
  DTYPES,
  type DType,
  type Element,
  FLOAT16,
  float16Array,
  type HalfArray,
  roundToOdd,
} from "./element.js";
import { checkWord, disposed, proxied, readOptions, readShape } from "./errors.js";
import { type Numbers, readNumbers } from "./numbers.js";
import type { OwnFloat32Array } from "./own.js";
import { Arena } from "./runtime/arena.js";
import { narrowFrom, widenTo } from "./runtime/convert.js";
import { type Runtime, runtime, withRoom } from "./runtime/runtime.js";
import { made, unmade } from "./tidy.js";

export type { DType, HalfArray } from "./element.js";
export type { Numbers } from "./numbers.js";
export { tidy } from "./tidy.js";

/** The options of `tensor`. */
export interface TensorOptions<D extends DType = DType> {
  /** How the values lie in memory; default "float32". Those of 16 bits take half the room, and are rounded once, to nearest even. */
  dtype?: D | undefined;
}

/** What `data` is: for float16 the platform's Float16Array or, where it has none, as for bfloat16, the bits. */
export type DataOf<D extends DType> = D extends "float32"
  ? Float32Array
  : D extends "float16"
    ? HalfArray | Uint16Array
    : Uint16Array;

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
  readonly element: Element;
}

/** The core of a Tensor of this package; undefined for anything else. */
export let coreOf: (value: unknown) => Core | undefined;

/** The last Tensor's shape, for the next if it is the same: calls see at once that such Tensors fit. */
let last: readonly number[] | undefined;

/** Views keep their Tensors: memory that can still be seen is not given to others. */
const owners = new WeakMap<object, Tensor<DType>>();

/** How many values `inspect` shows. */
const SHOWN = 8;

/**
 * An own property of every Tensor. `structuredClone` and `postMessage` would make `{}` of an object with private fields alone;
 * a function they refuse, and V8's DataCloneError prints its source.
 */
const uncloneable = () => "A Tensor cannot be cloned or sent: send tensor.toArray() and tensor.shape";

/** What a Tensor is made of: an array that is copied as it is, or what numbers make. @throws TypeError, RangeError */
function readData(
  who: string,
  name: string,
  data: unknown,
  shape: readonly number[],
  element: Element,
): Float32Array | HalfArray | Uint16Array {
  if (isFloat32Array(data) || (isFloat16Array(data) && element === FLOAT16)) {
    checkAttached(who, name, data);
    return data;
  }
  if (element === 0) return readNumbers(who, name, data, shape, Float32Array);
  if (!isUint16Array(data)) return roundToOdd(readNumbers(who, name, data, shape, Float64Array));
  checkAttached(who, name, data);
  checkTold(who, name, data, DTYPES[element]);
  return data;
}

function readDType(who: string, options: unknown): DType {
  const { dtype } = readOptions(who, options, { dtype: "float32" });
  return checkWord(who, "dtype", dtype, ...DTYPES);
}

/**
 * An array in the kernels' own memory: layers read and write it in place, without a copy. Its values are float32, or of 16 bits; all
 * arithmetic is float32 and wider, and what is stored is rounded once.
 */
export class Tensor<D extends DType = "float32"> {
  readonly #runtime: Runtime;
  readonly #arena: Arena<"data">;
  readonly #core: Core;
  #view: DataOf<D> | undefined;
  /** @internal */
  readonly uncloneable = uncloneable;

  static {
    coreOf = (value) =>
      typeof value === "object" && value !== null && #core in value ? value.#core : undefined;
  }

  /**
   * @param data `size` numbers, in one row or nested as the shape is, of any kind of array; default zeros. For a type of 16 bits
   *   they are rounded once, and a Uint16Array holds the values' bits.
   * @throws TypeError, RangeError for a wrong shape or data; RangeError if memory cannot hold it
   */
  constructor(shape: readonly number[], data?: Numbers, options?: TensorOptions<D>) {
    const who = "Tensor";
    const own = readShape(who, shape);
    const dtype = options === undefined ? "float32" : readDType(who, options);
    const element = DTYPES.indexOf(dtype) as Element;
    const values = data === undefined ? undefined : readData(who, "data", data, own, element);
    const held = runtime();
    let from: Given | undefined;
    if (values) {
      from = given(values, held.f32);
      checkLength(who, "data", own, from.size);
    }
    this.#runtime = held;
    const size = sizeOf(own);
    const bytes = bytesOf(element) * size;
    let counted = false;
    this.#arena = new Arena(held, this, () => {
      if (counted) held.count(-1, bytes);
    });
    try {
      this.#arena.reserve({ data: bytes });
    } catch (error) {
      this.#arena.release();
      throw error;
    }
    counted = true;
    held.count(1, bytes);
    if (!last || !isSame(own, last)) last = Object.freeze(own);
    const { address } = this.#arena.slots.data;
    this.#core = { array: undefined, size, offset: -1, shape: last, address, dtype, element };
    try {
      if (from) write(held, this.#core, from);
      else new Uint8Array(held.f32.buffer, address, bytes).fill(0);
    } catch (error) {
      this.#arena.release();
      throw error;
    }
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

  /** How a value lies in memory. */
  get dtype(): D {
    return own(this).dtype as D;
  }

  /**
   * A live view of the values. It is valid until memory next grows, as a new Tensor or a larger minibatch may make it: then
   * it has length 0, and what is written to it vanishes without an error. So write `t.data[0] = 1` or `t.set(values)`, and
   * do not keep the view; `init({ initialMemory })` takes room ahead.
   *
   * Its `buffer` is all of linear memory: send `toArray()` to a worker, not `data`.
   *
   * Of float16 it is the platform's Float16Array, or, where there is none, the bits in a Uint16Array; of bfloat16 the bits.
   */
  get data(): DataOf<D> {
    const { address, size, element } = live("Tensor", own(this));
    const { buffer } = this.#runtime.f32;
    if (this.#view?.buffer !== buffer) {
      const View = element === 0 ? Float32Array : (element === FLOAT16 && float16Array()) || Uint16Array;
      this.#view = new View(buffer, address, size) as DataOf<D>;
      owners.set(this.#view, this);
    }
    return this.#view;
  }

  /**
   * Overwrites the values.
   *
   * @param array `size` numbers, in one row or nested as the shape is, of any kind of array; for a type of 16 bits a Uint16Array
   *   holds the values' bits
   * @throws TypeError, RangeError for anything else; nothing has changed then
   */
  set(array: Numbers): void {
    const who = "Tensor.set";
    const { shape, element } = live("Tensor", own(this));
    const from = given(readData(who, "array", array, shape, element), this.#runtime.f32);
    checkLength(who, "array", shape, from.size);
    // Only now: reading the array may have run code that disposed of this, or made memory grow.
    write(this.#runtime, live("Tensor", own(this)), from);
  }

  /** A copy of the values, the caller's own. */
  toArray(): OwnFloat32Array {
    const core = live("Tensor", own(this));
    if (core.element === 0) return (this.data as Float32Array).slice() as OwnFloat32Array;
    return widenTo(this.#runtime, core.address, core.size, core.element);
  }

  /** What JSON makes of it; `tensor(shape, data)` makes a Tensor of that again. Not finite values become null, as ever. */
  toJSON(): { shape: number[]; dtype: D; data: number[] } {
    return { shape: [...this.shape], dtype: this.dtype, data: Array.from(this.toArray()) };
  }

  /** What Node prints: shape, type and the first values. */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    const { address, shape, dtype, size, element } = own(this);
    const head = `Tensor ${dtype} [${shape.join(", ")}]`;
    if (address === 0) return `${head} (disposed)`;
    const shown = Math.min(size, SHOWN);
    const first = element
      ? widenTo(this.#runtime, address, shown, element)
      : (this.data as Float32Array).subarray(0, shown);
    const values = Array.from(first, (value) => `${Number(value.toPrecision(7))}`);
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

/** Copies what was given to a Tensor's place. @throws RangeError if there is no memory to convert it in */
function write(held: Runtime, { address, size, element }: Core, from: Given): void {
  const { f32 } = held;
  if (element === 0) copyInto(f32, renewed(from, f32), address / 4, size);
  else if (from.element) new Uint16Array(f32.buffer, address, size).set(renewedBits(from, f32));
  else narrowFrom(held, from, address, element);
}

/** The core of `this` in a method, where `this` may be a Proxy. @throws TypeError */
function own(tensor: Tensor<DType>): Core {
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
export const tensor = <D extends DType = "float32">(
  shape: readonly number[],
  data?: Numbers,
  options?: TensorOptions<D>,
): Tensor<D> => withRoom(runtime(), () => new Tensor<D>(shape, data, options));
