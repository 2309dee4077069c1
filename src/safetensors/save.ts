import { isArray } from "../arrays.js";
import { brandOf } from "../brand.js";
import { rangeError, read, typeError } from "../errors.js";
import type { OwnUint8Array } from "../own.js";
import { readEntries } from "../state.js";
import type { DType, Tensor } from "../tensor.js";
import { bytesOf, kindOf } from "../typed.js";
import { METADATA } from "./header.js";
import { encodeUtf8 } from "./text.js";
import { isCount, type KeptArray } from "./types.js";

/** The format's type of each typed array. */
const TYPES: Record<string, { dtype: string; size: number }> = {
  Float64Array: { dtype: "F64", size: 8 },
  Float32Array: { dtype: "F32", size: 4 },
  Float16Array: { dtype: "F16", size: 2 },
  BigInt64Array: { dtype: "I64", size: 8 },
  BigUint64Array: { dtype: "U64", size: 8 },
  Int32Array: { dtype: "I32", size: 4 },
  Uint32Array: { dtype: "U32", size: 4 },
  Int16Array: { dtype: "I16", size: 2 },
  Uint16Array: { dtype: "U16", size: 2 },
  Int8Array: { dtype: "I8", size: 1 },
  Uint8Array: { dtype: "U8", size: 1 },
  Uint8ClampedArray: { dtype: "U8", size: 1 },
};

/** The types that an array's own `dtype` may name in place of its class's. */
const TOLD: Record<string, readonly unknown[]> = { Uint16Array: ["F16", "BF16"], Uint8Array: ["BOOL"] };

/** The format's types of bits in a Uint16Array, as a Tensor has them. */
const OF_TENSORS: Record<string, string> = { float16: "F16", bfloat16: "BF16" };

/** What becomes a tensor: arrays of a state dict, what `{ dtype: "keep" }` gave, and Tensors, whose values are written as they lie. */
export type SavedArray = KeptArray | Exclude<ArrayBufferView, DataView> | Tensor<DType>;

type Named<T> = Readonly<Record<string, T>> | ReadonlyMap<string, T>;

interface Entry {
  name: string;
  dtype: string;
  shape: number[];
  size: number;
  bytes: Uint8Array;
}

/** @throws RangeError for names that no reader could take: half a character, or what means something else */
function checkNames(who: string, name: string, fields: Map<string, unknown>): void {
  for (const key of fields.keys()) {
    if (/\p{Surrogate}/u.test(key) || key === METADATA || key === "__proto__") {
      throw rangeError(who, `${name} to have other names`, key);
    }
  }
}

/** A copy of a shape of any rank. @throws TypeError, RangeError */
function readExtents(who: string, name: string, value: unknown): number[] {
  const expected = `${name} to have a shape of non-negative integers`;
  if (!isArray(value)) throw typeError(who, expected, value);
  const shape = read(who, name, () => Array.from({ length: value.length }, (_, axis) => value[axis]));
  if (!shape.every((extent) => typeof extent === "number")) throw typeError(who, expected, shape);
  const extents = shape as number[];
  if (!extents.every((extent) => Number.isSafeInteger(extent) && extent >= 0))
    throw rangeError(who, expected, shape);
  return extents.map((extent) => extent + 0); // -0 becomes 0
}

/** An array that may say of what type and shape it is. */
type Told = ArrayBufferView & { dtype?: unknown; shape?: unknown };

function readTensor(who: string, name: string, value: unknown, asked: unknown): Entry {
  const tensor = brandOf(value) === undefined ? undefined : (value as Tensor<DType>);
  const array = read(who, name, () => tensor?.data ?? value) as Told;
  const kind = kindOf(array);
  const type = kind === undefined ? undefined : TYPES[kind];
  if (!type) throw typeError(who, `${name} to be a typed array`, value);
  const [told, own] = read(who, name, () =>
    tensor ? [OF_TENSORS[tensor.dtype], [...tensor.shape]] : [array.dtype, array.shape],
  );
  const bytes = read(who, name, () => bytesOf(array));
  const { size } = type;
  const length = bytes.length / size;
  if (isCount(name)) {
    const first = Number((array as unknown as ArrayLike<number | bigint>)[0]);
    if (length !== 1 || !Number.isSafeInteger(first) || first < 0) {
      throw rangeError(who, `${name} to be one whole number`, length === 1 ? first : value);
    }
    const count = new Uint8Array(BigInt64Array.of(BigInt(first)).buffer);
    return { name, dtype: "I64", shape: [], size: 8, bytes: count };
  }
  const dtype = TOLD[kind!]?.includes(told) ? (told as string) : type.dtype;
  const shape = readExtents(who, name, asked ?? own ?? [length]);
  if (shape.reduce((product, extent) => product * extent, 1) !== length) {
    throw rangeError(who, `${name} to have a shape of ${length} values`, shape);
  }
  return { name, dtype, shape, size, bytes };
}

/**
 * Writes a state dict as a file in the safetensors format, which PyTorch's `safetensors.torch.load_file` reads. Each
 * entry has the type of its array: Float32Array F32, Float64Array F64 (running statistics, so that a run resumes bit for
 * bit; `load_state_dict` of PyTorch rounds them to its own float32), Float16Array F16, integers their own;
 * `num_batches_tracked`, by itself or after a prefix and a dot, is an I64 scalar, as in PyTorch. What `loadSafetensors`
 * gave with `{ dtype: "keep" }` is written as it was, BF16 and shapes included, and a Tensor as it lies, in its type and shape.
 *
 * @param dict a plain object or a Map of typed arrays and Tensors
 * @param metadata texts by name, which `openSafetensors` gives back
 * @param shapes a shape for each entry that is not to be one-dimensional; `[]` is a scalar, and any rank is allowed
 * @throws TypeError if an entry is no typed array, metadata no text, or any argument neither a plain object nor a Map
 * @throws RangeError for names that the format reserves, a shape of another size, a shape without an entry, a count of
 *   batches that is no whole number, and a header beyond 100 MB
 */
export function saveSafetensors(
  dict: Named<SavedArray>,
  metadata: Named<string> = {},
  shapes: Named<readonly number[]> = {},
): OwnUint8Array {
  const who = "saveSafetensors";
  const given = readEntries(who, "shapes", shapes);
  const fields = readEntries(who, "the state dict", dict);
  const texts = readEntries(who, "metadata", metadata);
  checkNames(who, "shapes", given);
  checkNames(who, "the state dict", fields);
  checkNames(who, "metadata", texts);
  for (const name of given.keys()) {
    if (!fields.has(name)) throw rangeError(who, "shapes for entries of the state dict only", name);
  }
  for (const [key, text] of texts) {
    if (typeof text !== "string") throw typeError(who, `metadata ${key} to be text`, text);
    if (/\p{Surrogate}/u.test(text)) throw rangeError(who, `metadata ${key} to be well-formed text`, text);
  }
  const tensors = [...fields].map(([name, value]) => readTensor(who, name, value, given.get(name)));
  // The wider type first, as the reference does: with the header padded, every tensor is aligned.
  return write(
    who,
    texts as Map<string, string>,
    tensors.sort((a, b) => b.size - a.size),
  );
}

function write(who: string, texts: Map<string, string>, tensors: readonly Entry[]): OwnUint8Array {
  let end = 0;
  const fields = tensors.map(({ name, dtype, shape, bytes }) => {
    const data_offsets = [end, (end += bytes.length)];
    return `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets })}`;
  });
  if (texts.size) fields.unshift(`"${METADATA}":${JSON.stringify(Object.fromEntries(texts))}`);
  const header = encodeUtf8(`{${fields.join()}}`);
  if (header.length > 99_999_992)
    throw rangeError(who, "names and metadata of at most 100 MB", header.length);
  const start = 8 + Math.ceil(header.length / 8) * 8;
  const file = new Uint8Array(start + end).fill(0x20, 8, start);
  new DataView(file.buffer).setUint32(0, start - 8, true);
  file.set(header, 8);
  let at = start;
  for (const { bytes } of tensors) {
    file.set(bytes, at);
    at += bytes.length;
  }
  return file;
}
