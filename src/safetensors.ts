import { copyOf, copyOf64, isFloat32Array, isFloat64Array } from "./arrays.js";
import { rangeError, read, readShape, typeError } from "./errors.js";
import type { StateDict } from "./state.js";

// The format (github.com/huggingface/safetensors, README, "Format"):
//
//   | N: uint64 | header: N bytes of JSON, padded with spaces    | data                                   |
//                 {"__metadata__": {"any": "text"},                one tensor begins where another ends,
//                  "bias": {"dtype": "F32", "shape": [8],          little-endian, last axis fastest
//                           "data_offsets": [0, 32]}, ...}

const MAX_HEADER = 100_000_000;

const METADATA = "__metadata__";

/** The format's types that have a nearest float32, and the arrays that read them. */
const TYPES = {
  F32: Float32Array,
  F64: Float64Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
};

type Type = keyof typeof TYPES;

interface Info {
  dtype: Type;
  shape: number[];
  data_offsets: number[];
}

/**
 * Reads the header in one pass by the one form that it may have, and stops at the first character that strays from
 * it. JSON.parse is no guard: of equal keys it keeps the last, and nine million keys in 97 MB take it minutes.
 */
function parseHeader(who: string, text: string): Map<string, Info> {
  let at = 0;
  const fail = (expected: string) =>
    rangeError(who, `${expected} at character ${at} of the header`, text.slice(at, at + 20));
  const take = (token: string): boolean => {
    while (" \t\n\r".includes(text.charAt(at) || "-")) at++;
    const found = text.startsWith(token, at);
    if (found) at += token.length;
    return found;
  };
  const need = (token: string) => {
    if (!take(token)) throw fail(token);
  };
  const string = (): string => {
    need('"');
    const start = at - 1;
    while (at < text.length && text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
    try {
      return JSON.parse(text.slice(start, ++at));
    } catch {
      at = start;
      throw fail("a string");
    }
  };
  const integer = (): number => {
    take("");
    const digits = /^(0|[1-9]\d*)/.exec(text.slice(at, at + 17))?.[0] ?? "-1";
    if (+digits < 0 || !Number.isSafeInteger(+digits)) throw fail("an integer from 0 to 2^53");
    at += digits.length;
    return +digits;
  };
  const list = (open: string, item: () => void, close: string) => {
    need(open);
    if (take(close)) return;
    do item();
    while (take(","));
    need(close);
  };
  const integers = (): number[] => {
    const values: number[] = [];
    list("[", () => values.push(integer()), "]");
    return values;
  };
  const object = <T>(value: (key: string) => T): Map<string, T> => {
    const fields = new Map<string, T>();
    const field = () => {
      const key = string();
      if (fields.has(key)) throw fail(`${key} only once`);
      need(":");
      fields.set(key, value(key));
    };
    list("{", field, "}");
    return fields;
  };
  const tensor = (): Info => {
    const fields = object((key): unknown => {
      if (key === "dtype") return string();
      if (key === "shape" || key === "data_offsets") return integers();
      throw fail("dtype, shape or data_offsets before the value");
    });
    if (fields.size < 3) throw fail("a tensor's dtype, shape and data_offsets before this");
    return Object.fromEntries(fields) as unknown as Info;
  };

  if (text[0] !== "{") throw fail("{");
  const header = object((name) => (name === METADATA ? object(string) : tensor()));
  take("");
  if (at < text.length) throw fail("the end");
  header.delete(METADATA);
  return header as Map<string, Info>;
}

/** Bits of an IEEE binary16 to its value. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size =
    exponent > 30
      ? 1 / (fraction ? Number.NaN : 0)
      : exponent
        ? (1024 + fraction) * 2 ** (exponent - 25)
        : fraction * 2 ** -24;
  return bits >> 15 ? -size : size;
}

function toFloat32(dtype: Type, { buffer }: Uint8Array<ArrayBuffer>): Float32Array {
  const values = new TYPES[dtype](buffer);
  if (dtype === "F32") return values as Float32Array;
  if (dtype === "BF16")
    return new Float32Array(Uint32Array.from(values as Uint16Array, (v) => v << 16).buffer);
  return Float32Array.from(values as Iterable<number>, dtype === "F16" ? half : Number);
}

/**
 * Reads a file in the safetensors format. Shapes and metadata are left out: a state dict has neither. F32, F16, BF16
 * and BOOL come exactly; F64 and integers are rounded to the nearest float32 (integers up to 2^24 are exact); no
 * other type is read.
 *
 * @throws TypeError if `file` is neither a Uint8Array nor an ArrayBuffer
 * @throws RangeError if it breaks a rule of the format: cut short or too long, a header beyond its end or 100 MB or
 *   of another form, a name twice, offsets that overlap, leave a hole or do not match shape and type; also for the
 *   name `__proto__` and for other types
 */
export function loadSafetensors(file: Uint8Array | ArrayBuffer): StateDict {
  const who = "loadSafetensors";
  const kind = read(who, "the file", () => Object.prototype.toString.call(file));
  if (kind !== "[object Uint8Array]" && kind !== "[object ArrayBuffer]") {
    throw typeError(who, "a Uint8Array or an ArrayBuffer", file);
  }
  // A copy, so that nobody changes what was checked; `slice` throws for what only says that it is an ArrayBuffer.
  const bytes = read(who, "the file", () =>
    ArrayBuffer.isView(file)
      ? new Uint8Array(file as Uint8Array)
      : new Uint8Array(ArrayBuffer.prototype.slice.call(file, 0)),
  );
  if (bytes.length < 8) throw rangeError(who, "a file of 8 bytes or more", bytes);
  const view = new DataView(bytes.buffer);
  const start = 8 + view.getUint32(0, true) + view.getUint32(4, true) * 2 ** 32;
  if (start > Math.min(8 + MAX_HEADER, bytes.length)) {
    throw rangeError(who, `a header that fits into the file (${bytes.length} bytes) and 100 MB`, start - 8);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes.subarray(8, start));
  } catch {
    throw new RangeError(`${who}: expected a header in UTF-8`);
  }
  const tensors = parseHeader(who, text);
  checkTensors(who, tensors, bytes.length - start);
  return Object.fromEntries(
    Array.from(
      tensors,
      ([
        name,
        {
          dtype,
          data_offsets: [begin, end],
        },
      ]) => [name, toFloat32(dtype, bytes.slice(start + begin!, start + end!))],
    ),
  );
}

/** Every tensor of a known type, as long as its shape says, and the data covered without overlap or hole. */
function checkTensors(who: string, tensors: Map<string, Info>, length: number): void {
  const byOffset = [...tensors].sort(
    ([, { data_offsets: a }], [, { data_offsets: b }]) => a[0]! - b[0]! || a[1]! - b[1]!,
  );
  let covered = 0;
  for (const [name, { dtype, shape, data_offsets }] of byOffset) {
    if (name === "__proto__") throw rangeError(who, "no tensor of the name", name);
    if (!Object.hasOwn(TYPES, dtype)) {
      throw rangeError(who, `${name} to have a dtype of ${Object.keys(TYPES).join(", ")}`, dtype);
    }
    const size = shape.reduce((product, extent) => product * extent, TYPES[dtype].BYTES_PER_ELEMENT);
    const end = covered + size;
    if (data_offsets.length !== 2 || data_offsets[0] !== covered || data_offsets[1] !== end) {
      throw rangeError(who, `${name} (${dtype}) to have data_offsets [${covered}, ${end}]`, data_offsets);
    }
    covered = end;
  }
  if (covered !== length) throw rangeError(who, `${covered} bytes of data`, length);
}

function readFields(who: string, name: string, value: unknown): [string, unknown][] {
  if (typeof value !== "object" || value === null) throw typeError(who, `${name} to be an object`, value);
  const fields = read(who, name, () => Object.entries(value) as [string, unknown][]);
  for (const [key] of fields) {
    // Names that no reader could take: half a character, or what means something else.
    if (/\p{Surrogate}/u.test(key) || key === METADATA || key === "__proto__") {
      throw rangeError(who, `${name} to have other names`, key);
    }
  }
  return fields;
}

/**
 * Writes a state dict as a file in the safetensors format, which PyTorch's `safetensors.torch.load_file` reads. Each
 * entry is F32, of a Float64Array F64, and, unless `shapes` has one for its name, one-dimensional; `num_batches_tracked`, by itself or after
 * a prefix and a dot, is an I64 scalar, as in PyTorch.
 *
 * @throws TypeError if an entry is no Float32Array or Float64Array, or metadata no text
 * @throws RangeError for names that the format reserves, a shape of another size, a shape without an entry, and a
 *   count of batches that is no whole number
 */
export function saveSafetensors(
  dict: Readonly<Record<string, Float32Array | Float64Array>>,
  metadata: Readonly<Record<string, string>> = {},
  shapes: Readonly<Record<string, readonly number[]>> = {},
): Uint8Array {
  const who = "saveSafetensors";
  const given = new Map(readFields(who, "shapes", shapes));
  const tensors = readFields(who, "the state dict", dict).map(([name, value]) => {
    const wide = isFloat64Array(value);
    if (!wide && !isFloat32Array(value))
      throw typeError(who, `${name} to be a Float32Array or a Float64Array`, value);
    const data = wide ? copyOf64(value) : copyOf(value);
    const asked = given.get(name);
    given.delete(name);
    if (/(^|\.)num_batches_tracked$/.test(name)) {
      if (data.length !== 1 || !Number.isSafeInteger(data[0]) || data[0]! < 0) {
        throw rangeError(who, `${name} to be one whole number`, [...data]);
      }
      return { name, dtype: "I64", shape: [], data: BigInt64Array.of(BigInt(data[0]!)) };
    }
    const shape = asked === undefined ? [data.length] : readShape(who, asked);
    if (shape.reduce((product, extent) => product * extent, 1) !== data.length) {
      throw rangeError(who, `${name} to have a shape of ${data.length} values`, shape);
    }
    return { name, dtype: wide ? "F64" : "F32", shape, data };
  });
  for (const name of given.keys()) throw rangeError(who, "shapes for entries of the state dict only", name);
  const texts = readFields(who, "metadata", metadata);
  for (const [key, text] of texts) {
    if (typeof text !== "string") throw typeError(who, `metadata ${key} to be text`, text);
    if (/\p{Surrogate}/u.test(text)) throw rangeError(who, `metadata ${key} to be well-formed text`, text);
  }

  // The wider type first, as the reference does: with the header padded, every tensor is aligned.
  tensors.sort((a, b) => b.data.BYTES_PER_ELEMENT - a.data.BYTES_PER_ELEMENT);
  let end = 0;
  const fields = tensors.map(({ name, dtype, shape, data }) => {
    const data_offsets = [end, (end += data.byteLength)];
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets })}`;
  });
  if (texts.length) fields.unshift(`"${METADATA}":${JSON.stringify(Object.fromEntries(texts))}`);
  const header = new TextEncoder().encode(`{${fields.join()}}`);
  const start = 8 + Math.ceil(header.length / 8) * 8;
  const file = new Uint8Array(start + end).fill(0x20, 8, start);
  new DataView(file.buffer).setUint32(0, start - 8, true);
  file.set(header, 8);
  let at = start;
  for (const { data } of tensors) {
    file.set(new Uint8Array(data.buffer), at);
    at += data.byteLength;
  }
  return file;
}
