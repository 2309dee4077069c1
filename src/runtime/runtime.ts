// The runtime that the package has of its own, and how it starts: by itself at the first use, or through init.
import { checkInteger, checkWord, rangeError, readOptions } from "../errors.js";
import { fastest, given, kernelsIn, kernelsLater, own, variantOf } from "./compile.js";
import { type Launch, Runtime } from "./instance.js";
import type { Kernels } from "./kernels.js";
import { allocatorIn, MOST_BYTES, newMemory, PAGE, pagesOf } from "./memory.js";
import { fetched, type WasmSource } from "./source.js";
import type { WorkerSource } from "./threads/spawn.js";
import { share } from "./threads/start.js";
import type { Code, Variant } from "./variant.js";

export { Runtime, withRoom } from "./instance.js";
export type { WasmSource } from "./source.js";
export type { AnyWorker, NodeWorker, WebWorker, WorkerSource } from "./threads/spawn.js";
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
  /**
   * How many threads run large calls, the caller's included: a number up to 64, or "auto" for one a core and at most 8. Default 1.
   * All give the same bits. Where threads cannot be had, one runs, and `runtimeInfo().threadsReason` says why.
   */
  threads?: number | "auto" | undefined;
  /**
   * Where workers come from, if a Content-Security-Policy forbids what is made of text: the URL at which
   * `wasm-norm/threads-worker` is hosted, or a function that makes a worker of it.
   */
  worker?: WorkerSource | undefined;
  /** The most bytes that linear memory may grow to; default 4 GiB. */
  maxMemory?: number | undefined;
  /** Bytes that linear memory has from the start: as long as they suffice, it does not grow, and views stay valid. Default 64 KiB. */
  initialMemory?: number | undefined;
}

/** What `runtimeInfo` tells. */
export interface RuntimeInfo {
  /** The instruction set of the binary that runs. */
  variant: Variant;
  /** How many threads large calls run on. */
  threads: number;
  /** Why these are fewer than asked for. */
  threadsReason: string | undefined;
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
  worker: WorkerSource | undefined;
  maxMemory: number | undefined;
  initialMemory: number | undefined;
}

/** Threads at most: see threads/control.ts. */
const MOST_THREADS = 64;

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
    worker: undefined,
    maxMemory: undefined,
    initialMemory: undefined,
  });
  const said = <T>(value: unknown, check: (value: unknown) => T) =>
    value === undefined ? undefined : check(value);
  const maxMemory = said(o.maxMemory, (bytes) => checkInteger("init", "maxMemory", bytes, PAGE, MOST_BYTES));
  return {
    wasm,
    variant: said(o.variant, (word) => checkWord("init", "variant", word, "simd", "relaxed-simd")),
    threads: said(o.threads, (count) =>
      count === "auto" ? cores() : checkInteger("init", "threads", count, 1, MOST_THREADS),
    ),
    worker: o.worker as WorkerSource | undefined,
    maxMemory,
    initialMemory: said(o.initialMemory, (bytes) =>
      checkInteger("init", "initialMemory", bytes, 0, maxMemory ?? MOST_BYTES),
    ),
  };
}

const same = (a: Wanted, b: Wanted): boolean =>
  (Object.keys(a) as (keyof Wanted)[]).every((name) => Object.is(a[name], b[name]));

/** The binary that is wanted. @throws what compile.ts throws, and RangeError for the other variant */
async function codeFor({ wasm, variant }: Wanted): Promise<Code> {
  return wasm === undefined ? own(variant ?? fastest()) : given(await fetched(wasm));
}

/** Kernels in a memory. @throws RangeError unless they are of the variant that was asked for */
async function kernelsFor(memory: WebAssembly.Memory, code: Code, variant?: Variant): Promise<Kernels> {
  const kernels = await kernelsLater(memory, code);
  const got = variantOf(kernels);
  if (variant && got !== variant) throw rangeError("init", `wasm to be the binary for "${variant}"`, got);
  return kernels;
}

/** Whether what runs is as wanted; threads that were shut down are started again. @throws Error if it is not */
async function hold(running: Runtime, wanted: Wanted): Promise<void> {
  const { variant, threadsAsked: threads, maxMemory, memoryBytes } = running;
  // Another source may be the same binary; of it, too, only what it is counts.
  const brought =
    wanted.wasm === undefined
      ? wanted.variant
      : variantOf(await kernelsFor(newMemory(0, PAGE), await codeFor(wanted), wanted.variant));
  const restarts = running.launch !== undefined && running.team === undefined;
  const asked: [string, unknown, unknown, boolean][] = [
    ["variant", brought, variant, brought === variant],
    ["threads", wanted.threads, threads, wanted.threads === threads || restarts],
    ["maxMemory", wanted.maxMemory, maxMemory, wanted.maxMemory === maxMemory],
    ["initialMemory", wanted.initialMemory, memoryBytes, wanted.initialMemory! <= memoryBytes],
  ];
  for (const [name, want, is, holds] of asked) {
    if (want !== undefined && !holds) {
      const running = `variant "${variant}", threads ${threads}, maxMemory ${maxMemory}, ${memoryBytes} bytes of memory`;
      const remedy = name === "threads" ? ": call init before the first use, or shutdown() first" : "";
      throw new Error(
        `init: expected ${name} as it has run since the first use or init, ${is}, got ${want}${remedy} (what runs: ${running})`,
      );
    }
  }
  if (restarts) await running.start(wanted.threads ?? 1, wanted.worker);
}

/** As many threads as there are cores, up to 8. */
function cores(): number {
  const { navigator, process } = globalThis as {
    navigator?: { hardwareConcurrency?: number };
    process?: { getBuiltinModule?: NodeJS.Process["getBuiltinModule"] };
  };
  const found =
    navigator?.hardwareConcurrency ?? process?.getBuiltinModule?.("node:os").availableParallelism();
  return Math.min(8, found || 1);
}

async function start(wanted: Wanted): Promise<void> {
  const { threads = 1, variant, initialMemory = 0, maxMemory = MOST_BYTES } = wanted;
  let code = await codeFor(wanted);
  let memory: WebAssembly.Memory | undefined;
  let launch: Launch | undefined;
  let reason: string | undefined;
  if (threads > 1) {
    ({ code, memory, launch, reason } = await share(code, pagesOf(initialMemory, maxMemory)));
  }
  memory ??= newMemory(initialMemory, maxMemory);
  const kernels = await kernelsFor(memory, code, variant);
  // The first use may have come before.
  if (current) return hold(current, { ...wanted, wasm: undefined, variant: variantOf(kernels) });
  current = made(kernels, memory, maxMemory);
  current.launch = launch;
  current.threadsAsked = threads;
  current.threadsReason = reason;
  await current.start(threads, wanted.worker);
}

/**
 * Chooses how the package runs, and compiles asynchronously; where the defaults will do and compiling at once is
 * allowed, it need not be called. Called again, at once or later, it resolves if what runs is as asked.
 *
 * @throws Error if it runs otherwise already, or the engine refuses to compile; TypeError or RangeError for a wrong option
 */
export async function init(options: InitOptions = {}): Promise<void> {
  const wanted = read(options);
  while (starting) {
    if (same(starting.wanted, wanted)) return starting.done;
    // How another one ends is for its caller to hear.
    await starting.done.catch(() => {});
  }
  const done = (current ? hold(current, wanted) : start(wanted)).finally(() => {
    starting = undefined;
  });
  starting = { wanted, done };
  return done;
}

/**
 * Ends the threads that `init` started. Layers and Tensors stay as they are, and calls run on the calling thread, until `init`
 * starts threads anew.
 */
export async function shutdown(): Promise<void> {
  await starting?.done.catch(() => {});
  await current?.stop();
}

/** What runs and how much memory it holds. */
export function runtimeInfo(): RuntimeInfo {
  const { variant, team, threadsReason, memoryBytes, bytesInUse, tensors } = runtime();
  return {
    variant,
    threads: team?.threads ?? 1,
    threadsReason: team ? team.reason : threadsReason,
    memoryBytes,
    bytesInUse,
    tensors,
  };
}
