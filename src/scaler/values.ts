// What the scaler takes: a matrix, rows by columns, as one array or Tensor, or a list of columns; and how its values get
// into a tile and out of one.
import { describe, detached, rangeError, read, typeError } from "../errors.js";
import { narrowHalf, widenBfloat, widenHalf } from "../half.js";
import { isDetached, kindOf, plain } from "../typed.js";

/** A Float16Array, where the platform and the compiler's library have one. */
export interface HalfArray extends ArrayLike<number> {
  /** Its name, by which it is known. */
  readonly [Symbol.toStringTag]: "Float16Array";
}

/** Any array of numbers that the scaler reads. */
export type Numbers =
  | HalfArray
  | Float32Array
  | Float64Array
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | BigInt64Array
  | BigUint64Array;

/** A Tensor of this package, as far as the scaler goes: it reads and writes `data` where it lies. */
export interface TensorLike {
  /** `[rows, columns]`. */
  readonly shape: readonly number[];
  /** Default float32. */
  readonly dtype?: string;
  /** Its values, row by row. */
  readonly data: Numbers;
}

/** A matrix, rows by columns, as one array or Tensor; or its columns, each contiguous, as Apache Arrow keeps them. */
export type Matrix = Numbers | TensorLike | readonly Numbers[];

/** What a transform gives for `T`: an array of integers gives a Float64Array, as in scikit-learn. */
export type Transformed<T> = T extends readonly (infer U)[]
  ? Transformed<U>[]
  : T extends Float32Array | Float64Array | HalfArray | TensorLike
    ? T
    : Float64Array;

/** A typed array of any kind, in the one type that TypeScript lets be read and set. */
type Values = Float32Array;

/** The kinds that float32 holds exactly; all others are computed in float64. */
const NARROW = /^(Float32|Float16|Int8|Uint8|Uint8Clamped|Int16|Uint16|bfloat16|float16)/;
const WIDE = /^(Float64|Int32|Uint32|BigInt64|BigUint64)/;
/** Whether float32 does not hold the part's values exactly. */
export const isWide = ({ kind }: Part): boolean => WIDE.test(kind);
const OUT = /^(Float32|Float64|Float16|bfloat16|float16)/;
/** Kinds whose values are bits in a Uint16Array. */
const isBits = (kind: string): boolean => kind === "bfloat16" || kind === "float16";

/** One array of the caller's: the whole matrix, or one column of it. */
export interface Part {
  /** The values, under the platform's own class. */
  array: Values;
  /** The array's kind, "Float32Array", or, where a Tensor's values are bits, "bfloat16" or "float16". */
  kind: string;
}

/** A matrix of the caller's, read and checked. */
export interface Given {
  rows: number;
  /** The whole, or a part for each column. */
  parts: Part[];
  /** Whether each part is a column. */
  byColumn: boolean;
  /** Whether float32 does not hold its values exactly. */
  wide: boolean;
  /** The Tensor, if it is one. */
  tensor: TensorLike | undefined;
}

const KINDS =
  "to be a Float32Array, a Float64Array, an array of integers, a Float16Array, a Tensor or a list of columns of these";

function readPart(who: string, name: string, value: unknown, dtype?: unknown): Part {
  const kind = kindOf(value);
  if (kind === undefined || !(NARROW.test(kind) || WIDE.test(kind)))
    throw typeError(who, `${name} ${KINDS}`, value);
  if (isDetached(value as Values)) throw detached(who, name);
  return {
    array: plain(value as Values, kind),
    kind: kind === "Uint16Array" && isBits(String(dtype)) ? String(dtype) : kind,
  };
}

function readTensor(who: string, name: string, value: unknown, features: number): Part {
  const { data, shape, dtype } = read(who, name, () => ({ ...pick(value as TensorLike) }));
  if (data === undefined || !Array.isArray(shape)) throw typeError(who, `${name} ${KINDS}`, value);
  if (shape.at(-1) !== features) throw rangeError(who, `${name} to have ${features} columns`, shape);
  return readPart(who, name, data, dtype);
}

const pick = ({ data, shape, dtype }: TensorLike) => ({ data, shape: shape && [...shape], dtype });

/**
 * Reads a matrix of `features` columns. The arrays are the caller's own; all else is read once.
 *
 * @throws TypeError for another kind, RangeError unless it has whole rows
 */
export function readMatrix(who: string, name: string, value: unknown, features: number): Given {
  const isObject = typeof value === "object" && value !== null;
  if (isObject && Array.isArray(value)) return readColumns(who, name, value, features);
  const isTensor = isObject && kindOf(value) === undefined;
  const part = isTensor ? readTensor(who, name, value, features) : readPart(who, name, value);
  const { length } = part.array;
  if (length % features !== 0) {
    throw rangeError(who, `${name} to have rows of ${features} values`, `${length} values`);
  }
  return {
    rows: length / features,
    parts: [part],
    byColumn: false,
    wide: isWide(part),
    tensor: isTensor ? (value as TensorLike) : undefined,
  };
}

function readColumns(who: string, name: string, value: unknown[], features: number): Given {
  const columns = read(who, name, () => [...value]);
  if (columns.length !== features) {
    throw rangeError(who, `${name} to have ${features} columns`, `${columns.length} columns`);
  }
  const parts = columns.map((column, j) => readPart(who, `column ${j} of ${name}`, column));
  const rows = parts[0]!.array.length;
  parts.forEach(({ array }, j) => {
    if (array.length !== rows) throw rangeError(who, `column ${j} of ${name} to have ${rows} rows`, array);
  });
  return { rows, parts, byColumn: true, wide: parts.some(isWide), tensor: undefined };
}

/** Reads where results go: as `like`, in kinds that hold fractions. @throws TypeError, RangeError */
export function readOut(who: string, value: unknown, like: Given, features: number): Given {
  const out = readMatrix(who, "out", value, features);
  if (out.rows !== like.rows) {
    throw rangeError(who, `out to have ${like.rows} rows`, `${out.rows} rows`);
  }
  if (out.byColumn !== like.byColumn) {
    throw typeError(
      who,
      `out to be ${like.byColumn ? "a list of columns, as x is" : "one array, as x is"}`,
      value,
    );
  }
  for (const { kind } of out.parts) {
    if (!OUT.test(kind)) throw typeError(who, "out to be an array of floating-point numbers", value);
  }
  checkApart(who, like, out);
  return out;
}

/** In place is fine: a tile is read before it is written. Shifted against each other, x would be overwritten early. */
function checkApart(who: string, x: Given, out: Given): void {
  // What is most often given needs no list.
  if (!x.byColumn && x.parts[0]!.array.buffer !== out.parts[0]!.array.buffer) return;
  const places = (parts: Part[], isOut: boolean) =>
    parts
      .filter(({ array }) => array.length > 0)
      .map(({ array: { buffer, byteOffset, byteLength } }, j) => ({
        buffer,
        byteOffset,
        byteLength,
        j,
        isOut,
      }));
  const byBuffer = new Map<ArrayBufferLike, ReturnType<typeof places>>();
  for (const place of [...places(x.parts, false), ...places(out.parts, true)]) {
    const others = byBuffer.get(place.buffer);
    if (others) others.push(place);
    else byBuffer.set(place.buffer, [place]);
  }
  for (const all of byBuffer.values()) {
    if (all.length < 2) continue;
    all.sort((a, b) => a.byteOffset - b.byteOffset || a.byteLength - b.byteLength);
    let last = all[0]!;
    for (const place of all.slice(1)) {
      const same = place.byteOffset === last.byteOffset && place.byteLength === last.byteLength;
      const overlaps = place.byteOffset < last.byteOffset + last.byteLength;
      if (
        overlaps &&
        (place.isOut || last.isOut) &&
        !(same && place.j === last.j && place.isOut !== last.isOut)
      ) {
        throw rangeError(who, "out to be x itself or to lie apart from it", describe(out.parts[0]!.array));
      }
      if (place.byteOffset + place.byteLength > last.byteOffset + last.byteLength) last = place;
    }
  }
}

/** An array of what a transform of `part` gives: of its own kind, and for integers Float64Array, as in scikit-learn. */
export function emptyLike({ array, kind }: Part): Part {
  if (!OUT.test(kind))
    return { array: new Float64Array(array.length) as unknown as Values, kind: "Float64Array" };
  const { [kind as "Float32Array"]: Kind } = globalThis;
  return { array: new Kind(array.length), kind };
}

const bits = new Uint32Array(1);
const float = new Float32Array(bits.buffer);

/** One value of a part. */
export function numberAt({ array, kind }: Part, index: number): number {
  if (isBits(kind)) {
    bits[0] = kind === "float16" ? widenHalf(array[index]!) : widenBfloat(array[index]!);
    return float[0]!;
  }
  return Number(array[index]);
}

/** Writes `length` values of a part, from its value `from` on, to `to`, of float32 or float64, at `at`. */
export function copyIn(
  part: Part,
  from: number,
  length: number,
  to: Float32Array | Float64Array,
  at: number,
) {
  if (isBits(part.kind) || part.kind.startsWith("Big")) {
    for (let i = 0; i < length; i++) to[at + i] = numberAt(part, from + i);
  } else to.set(part.array.subarray(from, from + length), at);
}

/** Writes `length` values at `at` of a tile to a part, from its value `to` on, rounded to its kind. */
export function copyOut(
  { array, kind }: Part,
  to: number,
  length: number,
  from: Float32Array | Float64Array,
  at: number,
): void {
  if (!isBits(kind)) {
    array.set(from.subarray(at, at + length), to);
    return;
  }
  for (let i = 0; i < length; i++) {
    float[0] = from[at + i]!;
    // To nearest, ties to even; NaN stays one.
    const all = bits[0]!;
    if (kind === "float16") array[to + i] = narrowHalf(all);
    else
      array[to + i] =
        (all & 0x7fffffff) > 0x7f800000 ? (all >>> 16) | 64 : (all + 0x7fff + ((all >>> 16) & 1)) >>> 16;
  }
}
