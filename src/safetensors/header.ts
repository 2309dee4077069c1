import { describe, rangeError } from "../errors.js";
import { Cursor } from "./cursor.js";
import { sizeOfType } from "./types.js";

// The format (github.com/huggingface/safetensors, README, "Format"):
//
//   | N: uint64 | header: N bytes of JSON, padded with spaces    | data                                   |
//                 {"__metadata__": {"any": "text"},                one tensor begins where another ends,
//                  "bias": {"dtype": "F32", "shape": [8],          little-endian, last axis fastest
//                           "data_offsets": [0, 32]}, ...}
//
// Where it leaves a choice, the reference implementation's is taken (safetensors/src/tensor.rs): metadata may be null,
// fields that are not known are skipped, a shape may have any number of axes. Names that come twice, which it lets
// pass, are refused, as the format demands.

const MAX_HEADER = 100_000_000;

/** The name in a header that is no tensor's. */
export const METADATA = "__metadata__";

/**
 * What a header says. Columns instead of an object for each tensor, and shapes left in the bytes until asked for: a
 * header of 1.8 million tensors (99 MB) takes 3 s of the processor and keeps 0.22 GB.
 */
export class Header {
  readonly metadata: Record<string, string> = {};
  /** Where a tensor stands in the columns. */
  readonly index = new Map<string, number>();
  readonly #dtypes: string[] = [];
  readonly #begins: number[] = [];
  readonly #ends: number[] = [];
  /** Where in the header each shape stands. */
  readonly #shapes: number[] = [];
  readonly #who: string;
  readonly #cursor: Cursor;

  /** @throws RangeError for what strays from the format; `length` is that of the data, where it is known */
  constructor(who: string, bytes: Uint8Array, length: number | undefined) {
    this.#who = who;
    this.#cursor = new Cursor(who, bytes);
    this.#parse();
    this.#checkCover(length);
  }

  dtype(i: number): string {
    return this.#dtypes[i]!;
  }

  /** Where its data begin and end, from the end of the header on. */
  range(i: number): [number, number] {
    return [this.#begins[i]!, this.#ends[i]!];
  }

  shape(i: number): number[] {
    const { bytes } = this.#cursor;
    const cursor = new Cursor(this.#who, bytes, this.#shapes[i]!);
    const shape: number[] = [];
    cursor.list("[", "]", () => shape.push(cursor.integer()));
    return shape;
  }

  #parse(): void {
    const cursor = this.#cursor;
    if (cursor.bytes[0] !== 0x7b) throw cursor.fail("{");
    let seen = false;
    cursor.list("{", "}", () => {
      const start = cursor.at;
      const name = cursor.string();
      if (name === METADATA ? seen : this.index.has(name)) {
        cursor.at = start;
        throw cursor.fail(`${describe(name)} only once`);
      }
      cursor.need(":");
      if (name !== METADATA) return this.#tensor(name);
      seen = true;
      this.#texts();
    });
    if (cursor.peek() !== undefined) throw cursor.fail("the end");
  }

  #texts(): void {
    const cursor = this.#cursor;
    if (cursor.literal("null")) return;
    const { metadata } = this;
    cursor.list("{", "}", () => {
      const start = cursor.at;
      const key = cursor.string();
      if (Object.hasOwn(metadata, key)) {
        cursor.at = start;
        throw cursor.fail(`${describe(key)} only once`);
      }
      cursor.need(":");
      // An assignment to __proto__ would set the prototype.
      const value = cursor.string();
      Object.defineProperty(metadata, key, { value, enumerable: true, writable: true, configurable: true });
    });
  }

  #tensor(name: string): void {
    const cursor = this.#cursor;
    let dtype: string | undefined;
    let shapeAt = -1;
    let values = 1;
    let begin = -1;
    let end = -1;
    // No closures here: of two million tensors they would be a third of the time.
    cursor.need("{");
    if (!cursor.take("}")) {
      do {
        const start = cursor.at;
        const field = cursor.word();
        if (
          (field === "dtype" && dtype !== undefined) ||
          (field === "shape" && shapeAt >= 0) ||
          (field === "data_offsets" && end >= 0)
        ) {
          cursor.at = start;
          throw cursor.fail(`${field} only once`);
        }
        cursor.need(":");
        if (field === "dtype") dtype = cursor.word();
        else if (field === "shape") {
          shapeAt = cursor.at;
          values = this.#values();
        } else if (field === "data_offsets") {
          cursor.need("[");
          begin = cursor.integer();
          cursor.need(",");
          end = cursor.integer();
          cursor.need("]");
        } else cursor.skip();
      } while (cursor.take(","));
      cursor.need("}");
    }
    if (dtype === undefined || shapeAt < 0 || end < 0) {
      throw cursor.fail("a tensor's dtype, shape and data_offsets before this");
    }
    this.#add(name, dtype, shapeAt, values, begin, end);
  }

  /** How many values a shape has, which it steps over. */
  #values(): number {
    const cursor = this.#cursor;
    let values = 1;
    cursor.need("[");
    if (cursor.take("]")) return values;
    do {
      values *= cursor.integer();
      if (!(values < 2 ** 64)) throw cursor.fail("a shape of fewer than 2^64 values before this");
    } while (cursor.take(","));
    cursor.need("]");
    return values;
  }

  #add(name: string, dtype: string, shapeAt: number, values: number, begin: number, end: number): void {
    const size = sizeOfType(dtype);
    // What a type that is not known here takes is not known either.
    if (size ? end !== begin + size * values : end < begin) {
      const expected = size ? `[${begin}, ${begin + size * values}]` : "in order";
      throw rangeError(this.#who, `${name} (${dtype}) to have data_offsets ${expected}`, [begin, end]);
    }
    this.index.set(name, this.#dtypes.length);
    this.#dtypes.push(dtype);
    this.#shapes.push(shapeAt);
    this.#begins.push(begin);
    this.#ends.push(end);
  }

  /** @throws RangeError unless the tensors cover the data without overlap or hole */
  #checkCover(length: number | undefined): void {
    // Sorted apart, as numbers: a sort of pairs takes ten times as long. Where each end is the next begin, every byte
    // has as many begins before it as ends, and one more: it belongs to exactly one tensor.
    const filled = (_: number, i: number) => this.#begins[i]! < this.#ends[i]!;
    const begins = Float64Array.from(this.#begins.filter(filled)).sort();
    const ends = Float64Array.from(this.#ends.filter(filled)).sort();
    let covered = 0;
    for (let i = 0; i < begins.length; i++) {
      if (begins[i] !== covered) {
        const what = `a tensor that begins at byte ${covered} of the data, where the one before it ends`;
        throw rangeError(this.#who, what, begins[i]);
      }
      covered = ends[i]!;
    }
    if (length !== undefined && covered !== length) {
      throw rangeError(this.#who, `${covered} bytes of data`, length);
    }
    // An empty tensor lies where another begins or ends.
    const borders = new Set(begins).add(covered);
    for (let i = 0; i < this.#begins.length; i++) {
      const begin = this.#begins[i]!;
      if (begin === this.#ends[i] && !borders.has(begin)) {
        throw rangeError(this.#who, "an empty tensor to lie where another one begins or ends", begin);
      }
    }
  }
}

/** The header's length by the first eight bytes of a file of `size` bytes. @throws RangeError for an impossible one */
export function headerLength(who: string, first: Uint8Array, size: number | undefined): number {
  if (first.length < 8) throw rangeError(who, "a file of 8 bytes or more", first);
  const view = new DataView(first.buffer, first.byteOffset, first.byteLength);
  const length = view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (length > Math.min(MAX_HEADER, (size ?? Infinity) - 8)) {
    const fit = size === undefined ? "" : `the file (${size} bytes) and `;
    throw rangeError(who, `a header that fits into ${fit}100 MB`, length);
  }
  return length;
}
