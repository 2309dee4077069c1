import { checkLength, isArray, notArray, sizeOf } from "./arrays.js";
import { rangeError, read, typeError } from "./errors.js";

/** Numbers as people have them: of any typed array, in a plain one, or nested as the shape is. */
export type Numbers = ArrayLike<number> | ArrayLike<bigint> | readonly Numbers[];

const EXPECTED = "an array of numbers";

const isTyped = (value: unknown): value is ArrayLike<number | bigint> =>
  ArrayBuffer.isView(value) && !(value instanceof DataView);

/** Its length, read once. */
function extentOf(who: string, name: string, value: unknown): number {
  if (!isTyped(value) && !isArray(value)) throw notArray(who, name, EXPECTED, value);
  return read(who, name, () => value.length);
}

/** Room for as many numbers as a shape claims. */
function roomFor<A>(who: string, size: number, Kind: new (size: number) => A): A {
  try {
    return new Kind(size);
  } catch (cause) {
    throw new RangeError(`${who}: expected memory for ${size} values, got none`, { cause });
  }
}

/** What `readNumbers` has read so far of a shape. */
interface Reading {
  who: string;
  extents: readonly number[];
  copy: Float32Array | Float64Array;
  at: number;
}

function readPart(reading: Reading, called: string, part: unknown, axis: number): void {
  const { who, extents, copy } = reading;
  const length = extentOf(who, called, part);
  const extent = extents[axis]!;
  if (length !== extent) throw rangeError(who, `${called} to have ${extent} values`, length);
  const last = axis + 1 === extents.length;
  if (last && isTyped(part)) {
    for (let i = 0; i < extent; i++) copy[reading.at++] = Number(part[i]);
    return;
  }
  const values = part as ArrayLike<unknown>;
  for (let i = 0; i < extent; i++) {
    const value = read(who, called, () => values[i]);
    if (!last) readPart(reading, `${called}[${i}]`, value, axis + 1);
    else if (typeof value === "number") copy[reading.at++] = value;
    else throw typeError(who, `${called}[${i}] to be a number`, value);
  }
}

/**
 * A copy of the numbers of `value`, in one row or nested as `shape` is, rounded to `Kind`. No more is read than the shape has.
 *
 * @throws TypeError for what is no array or no number; RangeError for another number of values, or another nesting
 */
export function readNumbers<A extends Float32Array | Float64Array>(
  who: string,
  name: string,
  value: unknown,
  shape: readonly number[],
  Kind: new (size: number) => A,
): A {
  const length = extentOf(who, name, value);
  const first = length > 0 ? read(who, name, () => (value as ArrayLike<unknown>)[0]) : 0;
  const nested = isArray(first) || isTyped(first);
  const size = sizeOf(shape);
  if (nested) {
    const extents = `${shape[0]} parts (shape [${shape.join(", ")}])`;
    if (length !== shape[0]) throw rangeError(who, `${name} to have ${extents}`, length);
  } else checkLength(who, name, shape, length);
  const reading = { who, extents: nested ? shape : [size], copy: roomFor(who, size, Kind), at: 0 };
  readPart(reading, name, value, 0);
  return reading.copy;
}
