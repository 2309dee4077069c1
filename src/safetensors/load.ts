import { checkWord, rangeError, read, readOptions, typeError } from "../errors.js";
import type { OwnFloat32Array } from "../own.js";
import { bytesOf, kindOf } from "../typed.js";
import { Header, headerLength } from "./header.js";
import {
  decode,
  describeKept,
  type FloatArray,
  type KeptArray,
  type Precision,
  sizeOfType,
} from "./types.js";

/** A view of a file that was given as bytes; undefined for anything else. @throws TypeError if it is detached */
export function viewOf(who: string, file: unknown): Uint8Array | undefined {
  return read(who, "the file", () => {
    if (kindOf(file) === "Uint8Array") return bytesOf(file as Uint8Array);
    const tag = Object.prototype.toString.call(file);
    if (tag !== "[object ArrayBuffer]" && tag !== "[object SharedArrayBuffer]") return undefined;
    // `slice` throws for what only says that it is one, and for a detached one.
    if (tag === "[object ArrayBuffer]") ArrayBuffer.prototype.slice.call(file as ArrayBuffer, 0, 0);
    else SharedArrayBuffer.prototype.slice.call(file as SharedArrayBuffer, 0, 0);
    return new Uint8Array(file as ArrayBuffer);
  });
}

/** Reads the option `dtype`. @throws TypeError */
export function readPrecision(who: string, options: unknown): Precision | undefined {
  const { dtype } = readOptions(who, options, { dtype: undefined });
  return dtype === undefined ? undefined : checkWord(who, "dtype", dtype, "float32", "keep");
}

/**
 * Reads a whole file in the safetensors format into a state dict, as `loadStateDict` takes it. A checkpoint of which only
 * some entries are wanted is better opened: see `openSafetensors`, which gives shapes and metadata as well.
 *
 * Without options F64 comes as a Float64Array, as do counts of the name `num_batches_tracked` (exact up to 2^53), and
 * all else as a Float32Array: F32, F16, BF16, BOOL and integers of 8 and 16 bits exactly, wider integers rounded once to
 * the nearest float32. `{ dtype: "float32" }` gives Float32Arrays alone. `{ dtype: "keep" }` gives arrays of the file's
 * types with a `dtype` and a `shape` each: see `KeptArray`.
 *
 * An entry of another type (F8_E4M3, F4, ...) does not keep the rest from being read: it is not listed, and reading it
 * from the dict throws a RangeError that names the type.
 *
 * @throws TypeError if `file` is neither a Uint8Array nor an ArrayBuffer, or for an unknown option
 * @throws RangeError if it breaks a rule of the format: cut short or too long, a header beyond its end or 100 MB or
 *   of another form, a name twice, offsets that overlap, leave a hole or do not match shape and type; also for the
 *   name `__proto__`
 */
export function loadSafetensors(
  file: Uint8Array | ArrayBuffer,
  options: { dtype: "float32" },
): Record<string, OwnFloat32Array>;
export function loadSafetensors(
  file: Uint8Array | ArrayBuffer,
  options: { dtype: "keep" },
): Record<string, KeptArray>;
export function loadSafetensors(
  file: Uint8Array | ArrayBuffer,
  options?: { dtype?: undefined },
): Record<string, FloatArray>;
export function loadSafetensors(
  file: Uint8Array | ArrayBuffer,
  options?: { dtype?: Precision | undefined },
): Record<string, FloatArray | KeptArray> {
  const who = "loadSafetensors";
  const precision = readPrecision(who, options);
  const bytes = viewOf(who, file);
  if (!bytes) throw typeError(who, "a Uint8Array or an ArrayBuffer", file);
  const start = 8 + headerLength(who, bytes, bytes.length);
  // The header alone is copied, so that nobody changes what was checked; data may change, and places do not.
  const header = new Header(who, bytes.slice(8, start), bytes.length - start);
  if (header.index.has("__proto__")) throw rangeError(who, "no tensor of the name", "__proto__");
  const dict: Record<string, FloatArray | KeptArray> = {};
  for (const [name, i] of header.index) {
    const dtype = header.dtype(i);
    const [begin, end] = header.range(i);
    const values = () =>
      decode(who, name, dtype, bytes.subarray(start + begin, start + end), false, precision);
    if (sizeOfType(dtype) === undefined) {
      // It reads nothing: the type alone makes it throw.
      Object.defineProperty(dict, name, {
        get: () => decode(who, name, dtype, new Uint8Array(0), true, precision),
      });
      continue;
    }
    const array = values();
    if (precision === "keep") describeKept(array, dtype, header.shape(i));
    dict[name] = array;
  }
  return dict;
}
