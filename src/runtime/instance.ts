import { outgrown } from "../arrays.js";
import type { Kernels } from "./kernels.js";
import { MOST_BYTES } from "./memory.js";
import { Owners } from "./owners.js";
import type { WorkerSource } from "./threads/spawn.js";
import { type Variant, WHO } from "./variant.js";

/**
 * Added to large blocks, so that arrays of a power of two do not all begin at the same offset of a page: the first-level
 * cache has room for only twelve lines of one offset (1024 x 1024, backward: 1.4 times slower without).
 */
export const STAGGER = 320;
const STAGGERED = 4096;
/** Blocks are whole cache lines. */
const UNIT = 64;

/** What is asked of the allocator for so many bytes. */
const padded = (bytes: number): number => (bytes >= STAGGERED ? bytes + STAGGER : bytes);

/** Where a runtime's memory comes from. */
export interface Source {
  /** The address, a multiple of 64 and not 0, of new bytes. @throws RangeError if there is no room; nothing has changed then */
  alloc(bytes: number): number;
  free(address: number): void;
  /** Bytes given out and not taken back. */
  readonly bytesInUse: number;
  /** Whether others allocate in the memory, too, and make it grow. */
  readonly shares?: boolean;
}

/** Threads that run passes: threads/team.ts, which only `init` makes. Each method tells whether it ran what it was given. */
export interface Team {
  /** How many there are, the caller included. */
  readonly threads: number;
  /** How many parts of the workspace they use. */
  readonly places: number;
  /** Why there are fewer than asked for. */
  readonly reason: string | undefined;
  forward(pass: number): boolean;
  backward(pass: number): boolean;
  /** Forward by tiles of whole rows, with stages around them. */
  around(pass: number, rows: number, stream: boolean, after: boolean): boolean;
  stage(pass: number, stage: "before" | "after" | "beforeBackward" | "afterBackward", rows: number): boolean;
  end(): Promise<void>;
}

/** Starts a team over a runtime's memory. */
export type Launch = (held: Runtime, threads: number, worker: WorkerSource | undefined) => Promise<Team>;

/** What a runtime is made of. */
export interface Parts {
  /** An instance of the kernels over the memory. */
  kernels: Kernels;
  /** Linear memory. Who owns it may grow it at any time. */
  memory: WebAssembly.Memory;
  /** Hands out parts of that memory. */
  allocator: Source;
  /** The most bytes that the memory may grow to, as far as that is known. */
  maxMemory?: number | undefined;
}

/**
 * Linear memory, its allocator and the kernels that run in it. The package has one of its own (runtime.ts); others may lie
 * over a memory that another WebAssembly module owns and allocates in (borrowed.ts).
 */
export class Runtime {
  readonly kernels: Kernels;
  readonly variant: Variant;
  readonly maxMemory: number;
  /** Views of all of linear memory: valid until the next allocation, by whom ever. */
  f32!: Float32Array;
  f64!: Float64Array;
  u32!: Uint32Array;
  /** Tensors that live. */
  tensors = 0;
  /** Who runs passes beside the caller. */
  team: Team | undefined = undefined;
  /** Starts threads over a memory that is shared. */
  launch: Launch | undefined;
  threadsAsked = 1;
  /** Why there are fewer. */
  threadsReason: string | undefined;
  readonly #memory: WebAssembly.Memory;
  readonly #allocator: Source;
  readonly #owners = new Owners();
  /** What `alloc` threw. */
  readonly #refusals = new WeakSet<object>();
  /** Whether growth leaves views as they are, only shorter than the memory. */
  readonly #shared: boolean;
  /** What belongs to no one, and what of the allocator's count is due to it. */
  readonly #workspaces: { address: number; bytes: number }[] = [];
  #workspaceBytes = 0;
  #round = 0;
  #tensorBytes = 0;

  constructor({ kernels, memory, allocator, maxMemory = MOST_BYTES }: Parts) {
    this.kernels = kernels;
    this.variant = kernels.RELAXED.value ? "relaxed-simd" : "simd";
    this.maxMemory = maxMemory;
    this.#memory = memory;
    this.#allocator = allocator;
    this.#shared = !(memory.buffer instanceof ArrayBuffer);
    this.#renewViews();
    if (allocator.shares) this.#watchViews();
  }

  /** Starts threads, where there is a way to: the caller and so many less one beside it. */
  async start(threads: number, worker: WorkerSource | undefined): Promise<void> {
    if (!this.launch || threads <= 1) return;
    this.threadsAsked = threads;
    const team = await this.launch(this, threads, worker);
    this.threadsReason = team.reason;
    if (team.threads > 1) this.#join(team);
    else await team.end();
  }

  /** Ends them. */
  async stop(): Promise<void> {
    const { team } = this;
    if (this.launch) {
      this.threadsAsked = 1;
      this.threadsReason = undefined;
    }
    this.#join(undefined);
    await team?.end();
  }

  #join(team: Team | undefined): void {
    this.team = team;
    // Passes are planned anew: each thread needs a part of the workspace.
    this.#round++;
  }

  get memoryBytes(): number {
    return this.#memory.buffer.byteLength;
  }

  /** Bytes that layers and Tensors hold. */
  get bytesInUse(): number {
    return this.#allocator.bytesInUse - this.#workspaceBytes;
  }

  /** The address, a multiple of 64, of `bytes` new bytes. @throws RangeError if memory cannot grow to hold them */
  alloc(bytes: number): number {
    const all = padded(bytes);
    if (all > MOST_BYTES)
      throw this.#exhausted(new RangeError(`cannot grow to ${all}: its maximum is ${this.maxMemory}`));
    let address: number;
    try {
      address = this.#allocator.alloc(all);
    } catch (cause) {
      throw this.#exhausted(cause);
    }
    if (this.#isStale()) this.#renewViews();
    return address;
  }

  /**
   * Whether a call that failed with `error` may well succeed if it is made again: it found no room, and there is some now,
   * of what was dropped without having been disposed.
   *
   * Not a part of `alloc`: amid a call an engine may see that a Tensor is not used again, and count it as dropped, while
   * its address is. Whoever makes the call again still holds all that was given.
   */
  reclaim(error: unknown): boolean {
    return typeof error === "object" && error !== null && this.#refusals.has(error) && this.#owners.sweep();
  }

  /** Counts a Tensor of `bytes` bytes in (1) or out (-1). */
  count(by: 1 | -1, bytes: number): void {
    this.tensors += by;
    this.#tensorBytes += by * Math.max(UNIT, Math.ceil(padded(bytes) / UNIT) * UNIT);
  }

  free(address: number): void {
    this.#allocator.free(address);
  }

  /**
   * The address of `bytes` bytes that belong to the runtime: every call uses them anew. It moves, and what was there is
   * lost, only when more is asked for than ever before. Scratch that is needed beside another is another `slot`.
   *
   * @throws RangeError if memory cannot hold them
   */
  workspace(bytes: number, slot = 0): number {
    const now = this.#workspaces[slot];
    if (now && now.bytes >= bytes && now.address) return now.address;
    const more = Math.max(64, 2 ** Math.ceil(Math.log2(bytes)));
    const before = this.#allocator.bytesInUse;
    // The one that is too small makes room first, in both senses.
    if (now?.address) {
      this.#workspaces[slot] = { address: 0, bytes: 0 };
      this.free(now.address);
    }
    try {
      this.#workspaces[slot] = this.#room(bytes, more);
      if (slot === 0) this.#round++;
    } finally {
      this.#workspaceBytes += this.#allocator.bytesInUse - before;
    }
    return this.#workspaces[slot]!.address;
  }

  /** Gives the workspaces back: the next call takes them anew. */
  releaseWorkspaces(): void {
    for (const workspace of this.#workspaces.splice(0)) if (workspace?.address) this.free(workspace.address);
    this.#workspaceBytes = 0;
    this.#round++;
  }

  /** How often the first workspace was taken anew or given back: as long as that stays, it lies where it was, and as large. */
  get workspaceRound(): number {
    return this.#round;
  }

  /** Runs `free` when `owner` is collected without having been disposed. */
  watch(owner: object, free: () => void): void {
    this.#owners.watch(owner, free, this.bytesInUse / this.maxMemory);
  }

  unwatch(free: () => void): void {
    this.#owners.unwatch(free);
  }

  /** The next power of two, or, where that is refused, just as much as is needed. */
  #room(bytes: number, more: number): { address: number; bytes: number } {
    try {
      return { address: this.alloc(more), bytes: more };
    } catch {
      return { address: this.alloc(bytes), bytes };
    }
  }

  #exhausted(cause: unknown): RangeError {
    const { tensors, bytesInUse } = this;
    const tensorBytes = this.#tensorBytes;
    const why = cause instanceof Error ? cause.message : String(cause);
    const error = new RangeError(
      `${WHO}: memory of ${this.memoryBytes} bytes (${bytesInUse} in use) ${why}. ${tensors} Tensors hold ${tensorBytes} ` +
        `bytes, layers ${bytesInUse - tensorBytes}: dispose() of what is not needed, or make it with \`using\` or in tidy()`,
      { cause },
    );
    this.#refusals.add(error);
    return error;
  }

  /** Growth detaches the views of a memory that is not shared, at no cost to see; a shared one has another buffer. */
  #isStale(): boolean {
    return this.f32.length === 0 || (this.#shared && this.f32.buffer !== this.#memory.buffer);
  }

  #renewViews(): void {
    const { buffer } = this.#memory;
    if (this.#shared && this.f32) outgrown.add(this.f32.buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
    this.u32 = new Uint32Array(buffer);
  }

  /**
   * Has the views looked at each time they are asked for, as others make the memory grow. Not for the package's own
   * runtime: a word compared and written through a field took 3.5 ns, through a getter 6.3 ns.
   */
  #watchViews(): void {
    const views = { f32: Float32Array, f64: Float64Array, u32: Uint32Array };
    const memory = this.#memory;
    for (const [name, View] of Object.entries(views)) {
      let view = new View(memory.buffer);
      Object.defineProperty(this, name, {
        get() {
          if (view.buffer !== memory.buffer) view = new View(memory.buffer);
          return view;
        },
        set() {},
      });
    }
  }
}

/** Makes a call, and makes it again if it found no room and there is some now. `call` changes nothing when it throws. */
export function withRoom<T>(held: Runtime, call: () => T): T {
  try {
    return call();
  } catch (error) {
    if (!held.reclaim(error)) throw error;
  }
  return withRoom(held, call);
}
