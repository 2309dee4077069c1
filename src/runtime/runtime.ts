import { instantiateSync } from "@assemblyscript/loader";
import { checkInteger, checkWord, describe, rangeError, readOptions, typeError } from "../errors.js";
import { Allocator } from "./allocator.js";
import { binary } from "./embedded.js";
import { ABI, type Kernels } from "./kernels.js";

/** The two instruction sets the kernels are built for; relaxed SIMD has fused multiply-add. */
export type Variant = "simd" | "relaxed-simd";

/** What there is to instantiate: a module, or bytes to make one of. */
export type Code = WebAssembly.Module | BufferSource;

/** What `init` takes as a binary. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | URL | string;

/** The options of `init`. */
export interface InitOptions {
  /** The binary, where the engine may not compile the bytes inlined here: a module, bytes, a response or a URL, or a promise of one. */
  wasm?: WasmSource | Promise<WasmSource>;
  /** Default: the fastest that the engine validates. */
  variant?: Variant;
  /** 1: the kernels run on the calling thread. */
  threads?: number;
  /** The most bytes that linear memory may grow to; default 4 GiB. */
  maxMemory?: number;
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

/**
 * Added to large blocks, so that arrays of a power of two do not all begin at the same offset of a page: the first-level
 * cache has room for only twelve lines of one offset (1024 x 1024, backward: 1.4 times slower without).
 */
export const STAGGER = 320;
const PAGE = 65536;
const MOST_PAGES = 65536;
const WHO = "wasm-norm";
const NAMES = { simd: "SIMD", "relaxed-simd": "relaxed SIMD" };

/** Linear memory, its allocator and the kernels that run in it: one for the whole package. */
export class Runtime {
  readonly kernels: Kernels;
  readonly variant: Variant;
  readonly threads = 1;
  tensors = 0;
  /** Views of all of linear memory: valid until the next allocation. */
  f32!: Float32Array;
  f64!: Float64Array;
  u32!: Uint32Array;
  readonly #memory: WebAssembly.Memory;
  readonly #maxPages: number;
  readonly #allocator: Allocator;
  readonly #lost = new FinalizationRegistry((free: () => void) => free());

  constructor(module: WebAssembly.Module, maxMemory: number) {
    this.#maxPages = Math.min(MOST_PAGES, Math.floor(maxMemory / PAGE));
    try {
      this.#memory = new WebAssembly.Memory({ initial: 1, maximum: this.#maxPages });
    } catch (cause) {
      throw new RangeError(
        `${WHO}: the engine refused a memory that may grow to ${maxMemory} bytes; init({ maxMemory }) lowers it`,
        { cause },
      );
    }
    this.kernels = instantiate(module, this.#memory);
    this.variant = this.kernels.RELAXED.value ? "relaxed-simd" : "simd";
    this.#renewViews();
    this.#allocator = new Allocator(this.kernels.heapBase(), (end) => this.#grow(end));
  }

  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  get bytesInUse(): number {
    return this.#allocator.bytesInUse;
  }

  /** The address, a multiple of 64, of `bytes` new bytes. @throws RangeError if memory cannot grow to hold them */
  alloc(bytes: number): number {
    const padded = bytes >= 4096 ? bytes + STAGGER : bytes;
    // Beyond what the allocator counts to: refused there in words.
    if (padded > MOST_PAGES * PAGE) this.#grow(padded);
    return this.#allocator.alloc(padded);
  }

  free(address: number): void {
    this.#allocator.free(address);
  }

  /** Runs `free` when `owner` is collected without having been disposed. */
  watch(owner: object, free: () => void): void {
    this.#lost.register(owner, free, free);
  }

  unwatch(free: () => void): void {
    this.#lost.unregister(free);
  }

  #grow(end: number): void {
    const pages = Math.ceil(end / PAGE);
    const now = this.memoryBytes / PAGE;
    if (pages <= now) return;
    const refuse = (why: string, cause?: unknown) =>
      new RangeError(
        `${WHO}: memory of ${this.memoryBytes} bytes (${this.bytesInUse} in use) cannot grow to ${pages * PAGE}: ${why}`,
        { cause },
      );
    if (pages > this.#maxPages) throw refuse(`its maximum is ${this.#maxPages * PAGE}`);
    // Doubling keeps growth rare (each one detaches every view); the exact size is the fallback.
    for (const target of [Math.min(this.#maxPages, Math.max(pages, Math.min(2 * now, now + 1024))), pages]) {
      try {
        this.#memory.grow(target - now);
        this.#renewViews();
        return;
      } catch (cause) {
        if (target === pages) throw refuse("the engine refused", cause);
      }
    }
  }

  #renewViews(): void {
    const { buffer } = this.#memory;
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.u32 = new Uint32Array(buffer);
  }
}

const isBytes = (code: unknown): code is BufferSource =>
  code instanceof ArrayBuffer || ArrayBuffer.isView(code);

const isValid = (code: unknown): code is Code =>
  typeof WebAssembly === "object" &&
  (code instanceof WebAssembly.Module || (isBytes(code) && WebAssembly.validate(code)));

/** `whose` is the variant of a binary of ours, or nothing where init was given one. */
function compile(code: unknown, whose?: Variant): WebAssembly.Module {
  if (!isValid(code)) {
    if (whose)
      throw new Error(`${WHO}: expected an engine with WebAssembly ${NAMES[whose]}, got one without`);
    if (isBytes(code)) throw rangeError("init", "wasm to be a valid binary", code);
    throw typeError("init", "wasm to be a WebAssembly.Module, its bytes, a Response or a URL", code);
  }
  if (code instanceof WebAssembly.Module) return code;
  try {
    return new WebAssembly.Module(code);
  } catch (cause) {
    throw new Error(
      `${WHO}: compiling WebAssembly is forbidden here: allow 'wasm-unsafe-eval' in the Content-Security-Policy, or give init a WebAssembly.Module`,
      { cause },
    );
  }
}

function instantiate(module: WebAssembly.Module, memory: WebAssembly.Memory): Kernels {
  const refuse = (got: string, cause?: unknown) =>
    new RangeError(`${WHO}: expected a binary of interface ${ABI}, got ${got}`, { cause });
  let kernels: Kernels;
  try {
    const { instance } = instantiateSync(module, { env: { memory } });
    // The instance's own exports: the loader's wrappers cost a closure and a rest array on each call.
    kernels = instance.exports as unknown as Kernels;
  } catch (cause) {
    throw refuse("a module that does not instantiate", cause);
  }
  if (kernels.ABI?.value !== ABI) throw refuse(`${kernels.ABI?.value ?? "another module"}`);
  return kernels;
}

let current: Runtime | undefined;
/** An init is under way or done. */
let begun = false;

const compileOwn = (variant: Variant) => compile(binary(variant), variant);

const fastest = (): Variant => (isValid(binary("relaxed-simd")) ? "relaxed-simd" : "simd");

/** The runtime, made with the defaults at its first use. */
export function runtime(): Runtime {
  if (current) return current;
  current = new Runtime(compileOwn(fastest()), MOST_PAGES * PAGE);
  return current;
}

/** Fetches what has to be fetched; what it then is, `compile` judges. */
async function read(given: unknown): Promise<unknown> {
  try {
    let source = await given;
    if (typeof source === "string" || source instanceof URL) source = await fetch(source);
    if (typeof Response !== "function" || !(source instanceof Response)) return source;
    if (source.ok) return await source.arrayBuffer();
    given = `a response of status ${source.status}`;
  } catch (cause) {
    throw new Error(`init: wasm cannot be read from ${describe(given)}`, { cause });
  }
  throw rangeError("init", "wasm to be a successful response", given);
}

/**
 * Chooses how the package runs, before its first use; where the defaults will do it need not be called.
 *
 * @throws Error if called twice or after the first use; TypeError or RangeError for a wrong option
 */
export async function init(options: InitOptions = {}): Promise<void> {
  const { wasm, threads, maxMemory, ...o } = readOptions("init", options, {
    wasm: undefined,
    variant: undefined,
    threads: 1,
    maxMemory: MOST_PAGES * PAGE,
  });
  const variant =
    o.variant === undefined ? undefined : checkWord("init", "variant", o.variant, "simd", "relaxed-simd");
  checkInteger("init", "threads", threads, 1, 1);
  const bytes = checkInteger("init", "maxMemory", maxMemory, PAGE, MOST_PAGES * PAGE);
  if (begun) throw new Error("init: expected one call, got a second");
  const late = () => new Error("init: expected before the first use, got it after");
  if (current) throw late();
  begun = true;
  try {
    const module = wasm === undefined ? compileOwn(variant ?? fastest()) : compile(await read(wasm));
    if (current) throw late();
    const made = new Runtime(module, bytes);
    if (variant && made.variant !== variant) {
      throw rangeError("init", `wasm to be the binary for "${variant}"`, made.variant);
    }
    current = made;
  } catch (error) {
    begun = false;
    throw error;
  }
}

/** What runs and how much memory it holds. */
export function runtimeInfo(): RuntimeInfo {
  const { variant, threads, memoryBytes, bytesInUse, tensors } = runtime();
  return { variant, threads, memoryBytes, bytesInUse, tensors };
}
