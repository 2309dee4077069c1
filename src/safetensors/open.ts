import { describe, rangeError, read, typeError } from "../errors.js";
import type { OwnFloat32Array, OwnUint8Array } from "../own.js";
import { listOf } from "../state.js";
import { Header, headerLength } from "./header.js";
import { readPrecision } from "./load.js";
import { type Fetch, readReach, type SafetensorsSource, type Source, toSource } from "./sources.js";
import { decodeUtf8 } from "./text.js";
import { decode, describeKept, type FloatArray, type KeptArray, type Precision } from "./types.js";

/** As much as most headers take, so that one request reads them. */
const FIRST = 32_768;
const MAX_INDEX = 100_000_000;

/** An open checkpoint: what its header says, and its tensors, each read when it is asked for. */
export interface SafetensorsFile {
  /** The tensors' names, in the header's order. */
  readonly names: readonly string[];
  /** The texts that were saved with the tensors; of several shards all together. */
  readonly metadata: Readonly<Record<string, string>>;
  /** The extents of a tensor; empty for a scalar. @throws RangeError for a name that is not there */
  shape(name: string): number[];
  /** The format's name of a tensor's type, such as "BF16"; one that is not read here is told as well. @throws RangeError */
  dtype(name: string): string;
  /**
   * Reads one tensor, and no more of the file; what comes is said at `Precision`.
   *
   * @throws RangeError for a name that is not there and a type that is not read here; what reading the source throws
   */
  load(name: string, options: { dtype: "float32" }): Promise<OwnFloat32Array>;
  load(name: string, options: { dtype: "keep" }): Promise<KeptArray>;
  load(name: string, options?: { dtype?: undefined }): Promise<FloatArray>;
  load(name: string, options?: { dtype?: Precision | undefined }): Promise<FloatArray | KeptArray>;
}

/** The index of a sharded checkpoint, as `model.safetensors.index.json` holds it. */
export interface ShardIndex {
  /** The file of each tensor. */
  weight_map: Readonly<Record<string, string>>;
  metadata?: unknown;
}

/** How to reach what is opened. */
export interface OpenOptions {
  /** In place of the platform's fetch, for headers of one's own, say. */
  fetch?: Fetch | undefined;
  /** Gives the source of a shard by its name in the index; by default shards lie beside an index that came from a URL. */
  open?: ((file: string) => SafetensorsSource | Promise<SafetensorsSource>) | undefined;
}

class OpenFile implements SafetensorsFile {
  readonly metadata: Readonly<Record<string, string>>;
  readonly #shards: readonly Shard[];
  /** The shard of each tensor, where there is an index. */
  readonly #map: ReadonlyMap<string, Shard> | undefined;

  constructor(shards: readonly Shard[], map?: ReadonlyMap<string, Shard>) {
    this.#shards = shards;
    this.#map = map;
    this.metadata = Object.assign({}, ...shards.map(({ header }) => header.metadata));
  }

  get names(): string[] {
    return [...(this.#map ?? this.#shards[0]!.header.index).keys()];
  }

  #find(who: string, name: string): { shard: Shard; i: number } {
    const shard = this.#map ? this.#map.get(name) : this.#shards[0]!;
    const i = shard?.header.index.get(name);
    if (!shard || i === undefined) throw rangeError(who, `one of ${listOf(this.names)}`, name);
    return { shard, i };
  }

  shape(name: string): number[] {
    const { shard, i } = this.#find("SafetensorsFile.shape", name);
    return shard.header.shape(i);
  }

  dtype(name: string): string {
    const { shard, i } = this.#find("SafetensorsFile.dtype", name);
    return shard.header.dtype(i);
  }

  load(name: string, options: { dtype: "float32" }): Promise<OwnFloat32Array>;
  load(name: string, options: { dtype: "keep" }): Promise<KeptArray>;
  load(name: string, options?: { dtype?: undefined }): Promise<FloatArray>;
  async load(name: string, options?: { dtype?: Precision | undefined }): Promise<FloatArray | KeptArray> {
    const who = "SafetensorsFile.load";
    const precision = readPrecision(who, options);
    const { shard, i } = this.#find(who, name);
    const { header, source, start } = shard;
    const dtype = header.dtype(i);
    const [begin, end] = header.range(i);
    // Before anything is read: a type that is not known makes this throw.
    decode(who, name, dtype, new Uint8Array(0), true, precision);
    const bytes = await source.read(start + begin, start + end);
    const array = decode(who, name, dtype, bytes, true, precision);
    if (precision === "keep") describeKept(array, dtype, header.shape(i));
    return array;
  }
}

interface Shard {
  source: Source;
  header: Header;
  /** Where in the file the data begin. */
  start: number;
}

async function readShard(who: string, source: Source, first: Uint8Array): Promise<Shard> {
  const length = headerLength(who, first, source.size);
  const start = 8 + length;
  const bytes = new Uint8Array(length);
  bytes.set(first.subarray(8, start));
  if (start > first.length) bytes.set(await source.read(first.length, start), first.length - 8);
  const data = source.size === undefined ? undefined : source.size - start;
  return { source, header: new Header(who, bytes, data), start };
}

const firstOf = (source: Source): Promise<OwnUint8Array> =>
  source.read(0, Math.min(source.size ?? FIRST, FIRST), true);

/** Whether these are the first bytes of JSON: as the length of a header they would be beyond any limit. */
const isJson = (first: Uint8Array): boolean => first[0] === 0x7b && first.length >= 8 && first[7]! >= 0x09;

async function readIndex(who: string, source: Source, first: Uint8Array): Promise<unknown> {
  const end = source.size ?? first.length;
  if (end > MAX_INDEX) throw rangeError(who, "an index of at most 100 MB", end);
  const bytes = new Uint8Array(end);
  bytes.set(first);
  if (end > first.length) bytes.set(await source.read(first.length, end), first.length);
  const text = decodeUtf8(bytes);
  let index: unknown;
  try {
    index = text === null ? undefined : JSON.parse(text);
  } catch {
    // Told below.
  }
  if (typeof (index as ShardIndex | null | undefined)?.weight_map !== "object") {
    throw new RangeError(
      `${who}: expected a safetensors file, or the index of one in JSON with a weight_map`,
    );
  }
  return index;
}

/** The files of an index, and the names of the tensors in each. @throws TypeError, RangeError */
function readWeightMap(who: string, index: unknown): Map<string, string[]> {
  const map = read(who, "the index", () => (index as ShardIndex | null)?.weight_map);
  if (typeof map !== "object" || map === null) throw typeError(who, "an index with a weight_map", index);
  const files = new Map<string, string[]>();
  for (const [name, file] of read(who, "weight_map", () => Object.entries(map as Record<string, unknown>))) {
    if (typeof file !== "string") throw typeError(who, `weight_map to have a file for ${name}`, file);
    // It is joined to a folder or a URL, which it must not leave.
    if (!file || /[\\:?#%]|^\/|(^|\/)\.\.?(\/|$)/.test(file)) {
      throw rangeError(who, "weight_map to name files in the index's own folder", file);
    }
    const names = files.get(file);
    if (names) names.push(name);
    else files.set(file, [name]);
  }
  return files;
}

async function openShards(who: string, index: unknown, url: URL | undefined, options: OpenOptions) {
  const files = readWeightMap(who, index);
  const { open, fetch } = options;
  if (!open && !url) throw typeError(who, "open, which gives the source of each shard by its name", open);
  const shards = new Map<string, Shard>();
  const opened = await Promise.all(
    Array.from(files, async ([file, names]) => {
      const given = open ? await open(file) : new URL(file, url);
      const called = `${who} (${file})`;
      const source = await toSource(called, given, fetch);
      return { file, names, shard: await readShard(called, source, await firstOf(source)) };
    }),
  );
  for (const { file, names, shard } of opened) {
    for (const name of names) {
      if (!shard.header.index.has(name)) {
        throw new RangeError(`${who}: expected ${describe(name)} in ${file}, as weight_map has it, got none`);
      }
      shards.set(name, shard);
    }
  }
  return new OpenFile(
    opened.map(({ shard }) => shard),
    shards,
  );
}

/**
 * Opens a checkpoint in the safetensors format: reads the header alone, and each tensor when it is asked for. Three
 * vectors out of 5 GB at a URL cost the header and three requests. What is opened must stay as it is, and as long as
 * tensors are read from it a file handle must stay open; there is nothing to close.
 *
 * A sharded checkpoint is opened by its index: the source of `model.safetensors.index.json`, or what it holds, parsed.
 * Its shards lie beside it at a URL; for anything else `{ open }` says where, for instance
 * `openSafetensors(index, { open: (file) => fs.open(join(folder, file)) })`.
 *
 * @throws TypeError for what is no source; RangeError if it breaks a rule of the format, as for `loadSafetensors`; Error
 *   where a server does not answer range requests; what reading the source throws
 */
export async function openSafetensors(
  source: SafetensorsSource | ShardIndex,
  options?: OpenOptions,
): Promise<SafetensorsFile> {
  const who = "openSafetensors";
  const reach = readReach(who, options) as OpenOptions;
  const parsed = read(
    who,
    "the source",
    () => typeof source === "object" && source !== null && "weight_map" in source,
  );
  if (parsed) return openShards(who, source, undefined, reach);
  const opened = await toSource(who, source, reach.fetch);
  const first = await firstOf(opened);
  if (isJson(first)) return openShards(who, await readIndex(who, opened, first), opened.url, reach);
  return new OpenFile([await readShard(who, opened, first)]);
}
