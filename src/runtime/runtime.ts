// The runtime that the package has of its own, and how it starts: by itself at the first use, or through init.
import { checkInteger, checkWord, rangeError, readOptions } from "../errors.js";
import { fastest, given, kernelsIn, kernelsLater, own, variantOf } from "./compile.js";
import { Runtime } from "./instance.js";
import type { Kernels } from "./kernels.js";
import { allocatorIn, MOST_BYTES, newMemory, PAGE } from "./memory.js";
import { fetched, type WasmSource } from "./source.js";
import type { Variant } from "./variant.js";

export { Runtime, withRoom } from "./instance.js";
export type { WasmSource } from "./source.js";
export type { Variant } from "./variant.js";

/** The options of `init`. */
export interface InitOptions {
  /**
   * The binary, where the engine may not compile the bytes inlined here: a module, bytes, a response or a URL (`file:` in
   * Node 20.16 and later too), or a promise of one.
   */
  wasm?: WasmSource | Promise<WasmSource> | undefined;
  /** Default: the fastest that the engine validates. */
  variant?: Variant | undefined;
  /** 1: the kernels run on the calling thread. */
  threads?: number | undefined;
  /** The most bytes that linear memory may grow to; default 4 GiB. */
  maxMemory?: number | undefined;
  /** Bytes that linear memory has from the start: as long as they suffice, it does not grow, and views stay valid. Default 64 KiB. */
  initialMemory?: number | undefined;
}

/** What `runtimeInfo` tells. */
export interface RuntimeInfo {
  /** The instruction set of the binary that runs. */
  variant: Variant;
  /** How many threads the kernels run on: 1. */
  threads: number;
  /** The size of linear memory, in bytes. It never shrinks. */
  memoryBytes: number;
  /** Bytes of it that layers and Tensors hold. */
  bytesInUse: number;
  /** Tensors that are not yet disposed. */
  tensors: number;
}

/** The options of init, judged; undefined where nothing was said. */
interface Wanted {
  wasm: unknown;
  variant: Variant | undefined;
  threads: number | undefined;
  maxMemory: number | undefined;
  initialMemory: number | undefined;
}

let current: Runtime | undefined;
/** The init that is under way. */
let starting: { wanted: Wanted; done: Promise<void> } | undefined;

function made(kernels: Kernels, memory: WebAssembly.Memory, maxMemory: number): Runtime {
  const allocator = allocatorIn(memory, kernels.heapBase(), maxMemory);
  return new Runtime({ kernels, memory, allocator, maxMemory });
}

/** The runtime, made with the defaults at its first use. @throws Error if the engine refuses */
export function runtime(): Runtime {
  if (current) return current;
  const code = own(fastest());
  const memory = newMemory(0, MOST_BYTES);
  current = made(kernelsIn(memory, code), memory, MOST_BYTES);
  return current;
}

function read(options: unknown): Wanted {
  const { wasm, ...o } = readOptions("init", options, {
    wasm: undefined,
    variant: undefined,
    threads: undefined,
    maxMemory: undefined,
    initialMemory: undefined,
  });
  const said = <T>(value: unknown, check: (value: unknown) => T) =>
    value === undefined ? undefined : check(value);
  const maxMemory = said(o.maxMemory, (bytes) => checkInteger("init", "maxMemory", bytes, PAGE, MOST_BYTES));
  return {
    wasm,
    variant: said(o.variant, (word) => checkWord("init", "variant", word, "simd", "relaxed-simd")),
    threads: said(o.threads, (count) => checkInteger("init", "threads", count, 1, 1)),
    maxMemory,
    initialMemory: said(o.initialMemory, (bytes) =>
      checkInteger("init", "initialMemory", bytes, 0, maxMemory ?? MOST_BYTES),
    ),
  };
}

const same = (a: Wanted, b: Wanted): boolean =>
  (Object.keys(a) as (keyof Wanted)[]).every((name) => Object.is(a[name], b[name]));

/** Kernels over a memory as wanted. @throws what compile.ts and memory.ts throw, and RangeError for the other variant */
async function kernelsFor(wanted: Wanted): Promise<{ kernels: Kernels; memory: WebAssembly.Memory }> {
  const { wasm, variant, initialMemory = 0, maxMemory = MOST_BYTES } = wanted;
  const code = wasm === undefined ? own(variant ?? fastest()) : given(await fetched(wasm));
  const memory = newMemory(initialMemory, maxMemory);
  const kernels = await kernelsLater(memory, code);
  const got = variantOf(kernels);
  if (variant && got !== variant) throw rangeError("init", `wasm to be the binary for "${variant}"`, got);
  return { kernels, memory };
}

/** Whether what runs is as wanted. @throws Error if it is not */
async function hold(running: Runtime, wanted: Wanted): Promise<void> {
  const { variant, threads, maxMemory, memoryBytes } = running;
  // Another source may be the same binary; of it, too, only what it is counts.
  const brought =
    wanted.wasm === undefined
      ? wanted.variant
      : variantOf((await kernelsFor({ ...wanted, initialMemory: 0, maxMemory: PAGE })).kernels);
  const asked: [string, unknown, unknown, boolean][] = [
    ["variant", brought, variant, brought === variant],
    ["threads", wanted.threads, threads, wanted.threads === threads],
    ["maxMemory", wanted.maxMemory, maxMemory, wanted.maxMemory === maxMemory],
    ["initialMemory", wanted.initialMemory, memoryBytes, wanted.initialMemory! <= memoryBytes],
  ];
  for (const [name, want, is, holds] of asked) {
    if (want !== undefined && !holds) {
      const running = `variant "${variant}", threads ${threads}, maxMemory ${maxMemory}, ${memoryBytes} bytes of memory`;
      throw new Error(
        `init: expected ${name} as it has run since the first use or init, ${is}, got ${want} (what runs: ${running})`,
      );
    }
  }
}

async function start(wanted: Wanted): Promise<void> {
  const { kernels, memory } = await kernelsFor(wanted);
  // The first use may have come before.
  if (current) return hold(current, { ...wanted, wasm: undefined, variant: variantOf(kernels) });
  current = made(kernels, memory, wanted.maxMemory ?? MOST_BYTES);
}

/**
 * Chooses how the package runs, and compiles asynchronously; where the defaults will do and compiling at once is
 * allowed, it need not be called. Called again, at once or later, it resolves if what runs is as asked.
 *
 * @throws Error if it runs otherwise already, or the engine refuses to compile; TypeError or RangeError for a wrong option
 */
export async function init(options: InitOptions = {}): Promise<void> {
  const wanted = read(options);
  for (;;) {
    if (current) return hold(current, wanted);
    if (!starting) break;
    if (same(starting.wanted, wanted)) return starting.done;
    // How another one ends is for its caller to hear.
    await starting.done.catch(() => {});
  }
  const done = start(wanted).finally(() => {
    starting = undefined;
  });
  starting = { wanted, done };
  return done;
}

/** What runs and how much memory it holds. */
export function runtimeInfo(): RuntimeInfo {
  const { variant, threads, memoryBytes, bytesInUse, tensors } = runtime();
  return { variant, threads, memoryBytes, bytesInUse, tensors };
}
