import { instantiateSync } from "@assemblyscript/loader";
import { checkInteger, rangeError, readOptions, typeError } from "../errors.js";
import { Allocator } from "./allocator.js";
import { embedded } from "./embedded.js";
import { ABI, type Kernels } from "./kernels.js";

/** The two instruction sets the kernels are built for; relaxed SIMD has fused multiply-add. */
export type Variant = "simd" | "relaxed-simd";

/** What `init` takes as a binary. */
export type WasmSource = WebAssembly.Module | BufferSource | Response | URL | string;

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

export interface RuntimeInfo {
  variant: Variant;
  threads: number;
  /** The size of linear memory, in bytes. It never shrinks. */
  memoryBytes: number;
  /** Bytes of it that layers and Tensors hold. */
  bytesInUse: number;
  /** Tensors that are not yet disposed. */
  tensors: number;
}

const PAGE = 65536;
const MOST_PAGES = 65536;
const WHO = "wasm-norm";

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
  u8!: Uint8Array;
  readonly #memory: WebAssembly.Memory;
  readonly #maxPages: number;
  readonly #allocator: Allocator;
  readonly #lost = new FinalizationRegistry((free: () => void) => free());

  constructor(source: WebAssembly.Module | BufferSource, variant: Variant, maxMemory: number) {
    this.variant = variant;
    this.#maxPages = Math.min(MOST_PAGES, Math.floor(maxMemory / PAGE));
    try {
      this.#memory = new WebAssembly.Memory({ initial: 1, maximum: this.#maxPages });
    } catch (cause) {
      throw new RangeError(`${WHO}: the engine refused a WebAssembly memory`, { cause });
    }
    this.kernels = instantiate(source, this.#memory);
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
    return this.#allocator.alloc(bytes);
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
    this.u8 = new Uint8Array(buffer);
  }
}

function instantiate(source: WebAssembly.Module | BufferSource, memory: WebAssembly.Memory): Kernels {
  const { instance } = instantiateSync(source as WebAssembly.Module, { env: { memory } });
  // The instance's own exports: the loader's wrappers cost a closure and a rest array on each call.
  const kernels = instance.exports as unknown as Kernels;
  if (kernels.ABI?.value !== ABI) {
    throw new RangeError(
      `${WHO}: expected a binary of interface ${ABI}, got ${kernels.ABI?.value ?? "another module"}`,
    );
  }
  return kernels;
}

let current: Runtime | undefined;
let pending = false;

const supports = (variant: Variant) => WebAssembly.validate(embedded(variant));
const fastest = (): Variant => (supports("relaxed-simd") ? "relaxed-simd" : "simd");

/** The runtime, made with the defaults at its first use. */
export function runtime(): Runtime {
  if (current) return current;
  const variant = fastest();
  current = new Runtime(embedded(variant), variant, MOST_PAGES * PAGE);
  return current;
}

async function read(source: WasmSource): Promise<WebAssembly.Module | BufferSource> {
  if (typeof source === "string" || source instanceof URL) source = await fetch(source);
  if (typeof Response !== "undefined" && source instanceof Response) {
    if (!source.ok) throw rangeError("init", "a successful response for wasm", source.status);
    return source.arrayBuffer();
  }
  return source as WebAssembly.Module | BufferSource;
}

/**
 * Chooses how the package runs, before its first use; where the defaults will do it need not be called.
 *
 * @throws Error if called twice or after the first use; TypeError or RangeError for a wrong option
 */
export async function init(options: InitOptions = {}): Promise<void> {
  const { wasm, variant, threads, maxMemory } = readOptions("init", options, {
    wasm: undefined,
    variant: undefined,
    threads: 1,
    maxMemory: MOST_PAGES * PAGE,
  });
  if (variant !== undefined && variant !== "simd" && variant !== "relaxed-simd") {
    throw typeError("init", 'variant to be "simd" or "relaxed-simd"', variant);
  }
  checkInteger("init", "threads", threads, 1, 1);
  const bytes = checkInteger("init", "maxMemory", maxMemory, PAGE, MOST_PAGES * PAGE);
  if (current || pending) throw new Error("init: expected to be called once, before the first use");
  pending = true;
  try {
    const chosen = variant ?? fastest();
    const source = wasm === undefined ? embedded(chosen) : await read((await wasm) as WasmSource);
    if (current) throw new Error("init: expected to be finished before the first use");
    current = new Runtime(source, chosen, bytes);
  } finally {
    pending = false;
  }
}

/** What runs and how much memory it holds. */
export function runtimeInfo(): RuntimeInfo {
  const { variant, threads, memoryBytes, bytesInUse, tensors } = runtime();
  return { variant, threads, memoryBytes, bytesInUse, tensors };
}
