// What init takes as a binary, and how it becomes bytes or a module.
import { describe, rangeError } from "../errors.js";

/** What `init` takes as a binary. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | URL | string;

// By what they have: a page, a worker and a sandbox each have classes of their own for these, and some have none.
const isUrl = (source: unknown): source is URL =>
  typeof source === "object" && typeof (source as URL | null)?.href === "string";

const isResponse = (source: unknown): source is Response =>
  typeof source === "object" && typeof (source as Response | null)?.arrayBuffer === "function";

/**
 * The bytes of a file: Node's fetch does not read file: URLs. Asked of the process, so that a bundler for browsers finds
 * no module of Node's to look for.
 */
async function readFile(address: string): Promise<Uint8Array | undefined> {
  const { process } = globalThis as { process?: { getBuiltinModule?: NodeJS.Process["getBuiltinModule"] } };
  return process?.getBuiltinModule?.("node:fs/promises").readFile(new URL(address));
}

function load(address: string): Promise<Response> {
  if (typeof fetch === "function") return fetch(address);
  throw new Error("expected an engine with fetch, got one without: give init the bytes or a module");
}

/** Fetches what has to be fetched. @throws Error if that fails, RangeError if a server refuses */
export async function fetched(given: unknown): Promise<unknown> {
  let source: unknown;
  try {
    source = await given;
    if (typeof source === "string" || isUrl(source)) {
      const address = `${source}`;
      given = address;
      source = (address.startsWith("file:") && (await readFile(address))) || (await load(address));
    }
    if (!isResponse(source)) return source;
    if (source.ok) return await source.arrayBuffer();
  } catch (cause) {
    throw new Error(`init: wasm cannot be read from ${describe(given)}`, { cause });
  }
  throw rangeError("init", "wasm to be a successful response", `a response of status ${source.status}`);
}
