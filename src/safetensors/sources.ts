import { rangeError, read, readOptions, typeError } from "../errors.js";
import type { OwnUint8Array } from "../own.js";
import { viewOf } from "./load.js";

/** As much of Node's `fs.promises` FileHandle as is used. */
export interface FileHandleLike {
  stat(): Promise<{ size: number | bigint }>;
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>;
}

/** Where a file may lie: bytes, a Blob or File, an open file of Node's, or a URL whose server answers range requests. */
export type SafetensorsSource = Uint8Array | ArrayBufferLike | Blob | FileHandleLike | URL | string;

/** As much of `fetch` as is used. */
export type Fetch = (url: string, init: { headers: Record<string, string> }) => Promise<Response>;

/** A file of which parts can be read. */
export interface Source {
  /** Bytes in all; undefined where that is not known, or not yet. */
  size: number | undefined;
  /** Where it lies, if that is a URL. */
  url?: URL | undefined;
  /** A fresh copy of bytes `begin` to `end`; fewer only where `clipped` and the file ends. */
  read(begin: number, end: number, clipped?: boolean): Promise<OwnUint8Array>;
}

/** A read of more at once fails on some systems. */
const MOST = 2 ** 30;

function fromBytes(view: Uint8Array): Source {
  return { size: view.length, read: async (begin, end) => new Uint8Array(view.subarray(begin, end)) };
}

function fromBlob(blob: Blob): Source {
  return {
    size: blob.size,
    read: async (begin, end) => new Uint8Array(await blob.slice(begin, end).arrayBuffer()),
  };
}

async function fromHandle(who: string, handle: FileHandleLike): Promise<Source> {
  const size = Number((await handle.stat()).size);
  return {
    size,
    async read(begin, end) {
      const bytes = new Uint8Array(Math.min(end, size) - begin);
      for (let at = 0; at < bytes.length; ) {
        const { bytesRead } = await handle.read(bytes, at, Math.min(bytes.length - at, MOST), begin + at);
        if (bytesRead === 0) throw rangeError(who, `a file of ${size} bytes`, begin + at);
        at += bytesRead;
      }
      return bytes;
    },
  };
}

/** The file's length by `Content-Range: bytes 0-9/100`; undefined where the server, or CORS, does not tell. */
function totalOf(who: string, response: Response, begin: number): number | undefined {
  const range = response.headers.get("content-range");
  if (range === null) return undefined;
  const [, first, total] = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(range.trim()) ?? [];
  if (Number(first) !== begin) throw rangeError(who, `the bytes from ${begin} on`, range);
  return total === "*" ? undefined : Number(total);
}

function fromUrl(who: string, url: URL, fetch: Fetch): Source {
  let tag: string | null | undefined;
  const source: Source = {
    size: undefined,
    url,
    async read(begin, end, clipped) {
      if (begin === end) return new Uint8Array(0);
      const response = await fetch(url.href, { headers: { Range: `bytes=${begin}-${end - 1}` } });
      if (response.status !== 206) {
        // Unread, so that a server that ignores ranges does not send 5 GB.
        await response.body?.cancel();
        const remedy = response.status === 200 ? "; loadSafetensors reads a file that was fetched whole" : "";
        throw new Error(
          `${who}: expected an answer of status 206 to a range request to ${url.href}, got ${response.status}${remedy}`,
        );
      }
      const total = totalOf(who, response, begin);
      const etag = response.headers.get("etag");
      const bytes = new Uint8Array(await response.arrayBuffer());
      const last = clipped ? Math.min(end, total ?? begin + bytes.length) : end;
      if (bytes.length !== last - begin || bytes.length > end - begin) {
        throw rangeError(who, `${last - begin} bytes from ${url.href}`, bytes.length);
      }
      if (tag !== undefined && (etag !== tag || total !== source.size)) {
        throw new Error(`${who}: expected ${url.href} to stay as it was, got another version of it`);
      }
      tag = etag;
      source.size = total;
      return bytes;
    },
  };
  return source;
}

const isUrl = (value: unknown): value is URL =>
  Object.prototype.toString.call(value) === "[object URL]" || typeof value === "string";

/** Reads the option `fetch`, or takes the platform's. @throws TypeError where there is none */
function readFetch(who: string, given: unknown): Fetch {
  const fetch = given ?? (globalThis as { fetch?: unknown }).fetch;
  if (typeof fetch !== "function") {
    const what = "fetch, which this runtime does not have, to read a URL: give { fetch }";
    throw typeError(who, given === undefined ? what : "fetch to be a function", given);
  }
  // The platform's own insists on its `this`.
  return (url, init) => (fetch as Fetch).call(globalThis, url, init);
}

function parseUrl(who: string, value: URL | string): URL {
  let url: URL;
  try {
    url = new URL(String(value), (globalThis as { document?: Document }).document?.baseURI);
  } catch (cause) {
    throw new TypeError(`${who}: expected a URL, got ${JSON.stringify(String(value).slice(0, 60))}`, {
      cause,
    });
  }
  if (url.protocol === "file:") {
    throw typeError(
      who,
      "a URL that fetch reads (Node: give `await open(url)` of node:fs/promises)",
      url.href,
    );
  }
  return url;
}

/** Tells what a source is. @throws TypeError if it is none */
export async function toSource(who: string, value: unknown, fetch?: unknown): Promise<Source> {
  const view = viewOf(who, value);
  if (view) return fromBytes(view);
  if (read(who, "the source", () => isUrl(value))) {
    return fromUrl(who, parseUrl(who, value as URL | string), readFetch(who, fetch));
  }
  const has = (...names: string[]) =>
    read(who, "the source", () =>
      names.every((name) => typeof (value as Record<string, unknown> | null)?.[name] === "function"),
    );
  if (has("slice", "arrayBuffer")) return fromBlob(value as Blob);
  if (has("read", "stat")) return fromHandle(who, value as FileHandleLike);
  throw typeError(who, "bytes, a Blob, an open file or a URL", value);
}

/** Reads the options that say how sources are reached. */
export function readReach(who: string, options: unknown): { fetch: unknown; open: unknown } {
  const { fetch, open } = readOptions(who, options, { fetch: undefined, open: undefined });
  if (open !== undefined && typeof open !== "function") throw typeError(who, "open to be a function", open);
  return { fetch, open };
}
