// Opens a checkpoint on disk, of whatever format: only what is asked for is decoded.
import { type FileHandle, open, readFile, stat } from "node:fs/promises";
import { dirname, join, resolve, sep } from "node:path";
import { openTfjsModel } from "../analysis/tfjs-model.js";
import type { Checkpoint } from "../analysis.js";
import { rangeError } from "../errors.js";
import { openSafetensors, type ShardIndex } from "../safetensors.js";

/** A checkpoint, and what its file is. */
export interface Opened {
  checkpoint: Checkpoint;
  format: "safetensors" | "tfjs";
  /** Closes its files; nothing can be loaded after that. */
  close(): Promise<void>;
}

/** Where a directory keeps its checkpoint, the first that is there. */
const USUAL = ["model.safetensors.index.json", "model.safetensors", "model.json"];

const WHO = "inspect";

/**
 * Opens a safetensors file, its index.json of shards, a model.json of TensorFlow.js, or a directory that has one.
 *
 * @throws Error where a file is missing, and what the formats' readers throw
 */
export async function openCheckpoint(path: string): Promise<Opened> {
  const file = (await stat(path)).isDirectory() ? await usual(path) : path;
  const folder = dirname(file);
  const handles: FileHandle[] = [];
  const take = async (name: string) => {
    const handle = await open(name);
    handles.push(handle);
    return handle;
  };
  const shard = (name: string) => take(within(folder, name));
  const close = async () => void (await Promise.all(handles.map((handle) => handle.close())));
  if (!file.endsWith(".json")) {
    return { checkpoint: await safetensors(await take(file), shard), format: "safetensors", close };
  }
  const json = parse(file, await readFile(file, "utf8"));
  if (json !== null && typeof json === "object" && "weight_map" in json) {
    return { checkpoint: await safetensors(json as ShardIndex, shard), format: "safetensors", close };
  }
  return { checkpoint: openTfjsModel(json, (name) => readFile(within(folder, name))), format: "tfjs", close };
}

async function usual(directory: string): Promise<string> {
  for (const name of USUAL) {
    const file = join(directory, name);
    if (await stat(file).catch(() => null)) return file;
  }
  throw rangeError(WHO, `one of ${USUAL.join(", ")} in the directory`, directory);
}

function parse(file: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new RangeError(`${WHO}: expected JSON in ${file}`, { cause });
  }
}

/** A file beside the index, and nowhere else, whatever the index says. */
function within(directory: string, name: string): string {
  const root = resolve(directory);
  const file = resolve(root, name);
  if (!file.startsWith(root.endsWith(sep) ? root : root + sep)) {
    throw rangeError(WHO, "shards in the index's own directory", name);
  }
  return file;
}

/** Tensors in float32, whatever they are stored in; `open` gives the shards of an index. */
async function safetensors(
  source: FileHandle | ShardIndex,
  open: (file: string) => Promise<FileHandle>,
): Promise<Checkpoint> {
  const file = await openSafetensors(source, { open });
  return {
    names: file.names,
    shape: (name) => file.shape(name),
    load: (name) => file.load(name, { dtype: "float32" }),
  };
}
