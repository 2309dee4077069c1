// TensorFlow.js's layers models: model.json and its shards (github.com/tensorflow/tfjs, tfjs-core/src/io/types.ts).
//
//   model.json: { modelTopology: {...}, weightsManifest: [{ paths: ["group1-shard1of2.bin", ...], weights: [
//     { name, shape, dtype, quantization?: { dtype: "uint8" | "uint16" | "float16", scale, min } }, ...] }] }
//   The shards of a group, one after another, hold its weights in this order, little-endian.
import { rangeError, typeError } from "../errors.js";
import type { Checkpoint } from "./checkpoint.js";
import { graphOf } from "./keras-graph.js";
import type { Levels } from "./layers.js";

interface Weight {
  name: string;
  shape: number[];
  dtype: string;
  quantization?: { dtype: string; scale: number; min: number };
}

interface Group {
  paths: string[];
  weights: Weight[];
}

const BYTES: Record<string, number> = { float32: 4, int32: 4, bool: 1, uint8: 1, uint16: 2, float16: 2 };

/** Where a tensor lies in its group. */
interface Place {
  weight: Weight;
  group: Group;
  offset: number;
  size: number;
}

/**
 * Opens a TensorFlow.js layers model, quantized ones too: the tensors' names and shapes are read from `model`, which
 * is what model.json holds, or only its weights manifest; `shard` is asked for the bytes of a path of the manifest,
 * once for each.
 *
 * @throws TypeError if `model` is of another form
 * @throws RangeError for types that the format does not have; `load` throws it for shards that are too short or long
 */
export function openTfjsModel(
  model: unknown,
  shard: (path: string) => Uint8Array | Promise<Uint8Array>,
): Checkpoint {
  const who = "openTfjsModel";
  const root = model as { weightsManifest?: unknown; modelTopology?: unknown; format?: unknown } | null;
  if (root && root.format === "graph-model") {
    throw rangeError(who, "a layers model (a graph model has its batch norms folded)", root.format);
  }
  const groups = readManifest(who, Array.isArray(root) ? root : root?.weightsManifest);
  const places = new Map<string, Place>();
  for (const group of groups) {
    let offset = 0;
    for (const weight of group.weights) {
      const size = weight.shape.reduce((product, extent) => product * extent, 1);
      if (places.has(weight.name)) throw rangeError(who, `the weight ${weight.name} only once`, 2);
      places.set(weight.name, { weight, group, offset, size });
      offset += size * BYTES[stored(weight)]!;
    }
  }
  const buffers = new Map<Group, Promise<Uint8Array<ArrayBuffer>>>();
  const bytesOf = (group: Group) => {
    const bytes = buffers.get(group) ?? join(who, group, shard);
    buffers.set(group, bytes);
    return bytes;
  };
  const place = (name: string): Place => {
    const found = places.get(name);
    if (!found) throw rangeError(who, "the name of a weight in the manifest", name);
    return found;
  };
  return {
    names: [...places.keys()],
    shape: (name) => place(name).weight.shape,
    load: async (name) => {
      const { weight, group, offset, size } = place(name);
      return decode(weight, await bytesOf(group), offset, size);
    },
    levels: (name): Levels | null => {
      const { quantization } = place(name).weight;
      if (!quantization || quantization.dtype === "float16") return null;
      return { lowest: quantization.min + 0, step: quantization.scale }; // -0 becomes 0
    },
    graph: Array.isArray(root) ? new Map() : graphOf(root?.modelTopology),
  };
}

const stored = ({ dtype, quantization }: Weight): string => quantization?.dtype ?? dtype;

function readManifest(who: string, manifest: unknown): Group[] {
  const isNumber = (value: unknown) => typeof value === "number" && Number.isFinite(value);
  if (!Array.isArray(manifest)) throw typeError(who, "a model.json with a weightsManifest", manifest);
  return manifest.map((group: Group, i) => {
    if (!Array.isArray(group?.paths) || !Array.isArray(group.weights)) {
      throw typeError(who, `group ${i} of the weightsManifest to have paths and weights`, group);
    }
    for (const weight of group.weights) {
      const { name, shape, dtype, quantization } = weight ?? {};
      if (typeof name !== "string" || !Array.isArray(shape)) {
        throw typeError(who, "a weight to have a name and a shape", weight);
      }
      if (!shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
        throw rangeError(who, `the shape of ${name} to be of integers from 0`, shape);
      }
      if (!Object.hasOwn(BYTES, stored(weight))) {
        throw rangeError(who, `${name} to have a dtype of ${Object.keys(BYTES).join(", ")}`, stored(weight));
      }
      if (
        quantization &&
        quantization.dtype !== "float16" &&
        !(isNumber(quantization.scale) && isNumber(quantization.min))
      ) {
        throw rangeError(
          who,
          `the quantization of ${name} (${dtype}) to have a scale and a min`,
          quantization,
        );
      }
    }
    return group;
  });
}

async function join(
  who: string,
  { paths, weights }: Group,
  shard: (path: string) => Uint8Array | Promise<Uint8Array>,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Uint8Array[] = [];
  for (const path of paths) {
    const part = await shard(path);
    if (!(part instanceof Uint8Array)) throw typeError(who, `${path} as a Uint8Array`, part);
    parts.push(part);
  }
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const expected = weights.reduce(
    (sum, weight) => sum + weight.shape.reduce((size, extent) => size * extent, BYTES[stored(weight)]!),
    0,
  );
  if (length !== expected) throw rangeError(who, `${expected} bytes in ${paths.join(", ")}`, length);
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

function decode(weight: Weight, bytes: Uint8Array<ArrayBuffer>, offset: number, size: number): Float32Array {
  const { quantization } = weight;
  const type = stored(weight);
  // A copy begins where its type's alignment asks for it.
  const { buffer } = bytes.slice(offset, offset + size * BYTES[type]!);
  if (type === "float32") return new Float32Array(buffer);
  if (type === "int32") return Float32Array.from(new Int32Array(buffer));
  if (type === "float16") return Float32Array.from(new Uint16Array(buffer), half);
  const values = type === "uint16" ? new Uint16Array(buffer) : new Uint8Array(buffer);
  const { scale, min } = quantization ?? { scale: 1, min: 0 };
  return Float32Array.from(values as Uint8Array, (level) => level * scale + min);
}

/** Bits of an IEEE binary16 to its value. */
function half(bits: number): number {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const sign = bits >> 15 ? -1 : 1;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}
