/** While more than this share of the most memory is in use, what is watched can be swept as well. */
const SWEPT_FROM = 1 / 4;
/** How much garbage makes V8 collect at once: from 256 MB on it did (Node 20), 512 MB leave room. */
const PRESSURE = 8;
const PRESSURE_BYTES = 64 << 20;

/**
 * Who holds memory and may be dropped without a word: it is freed when the engine collects the owner. That is told by a
 * callback, which runs only between two tasks. A loop that needs memory within a task cannot wait for it, so that
 * references to some owners stand beside it, to be looked at when memory is short (`sweep`).
 */
export class Owners {
  /** Not before it is needed: some engines have none, and there memory is given back by `dispose` alone. */
  #registry: FinalizationRegistry<() => void> | undefined;
  readonly #references = new Map<() => void, WeakRef<object>>();

  /**
   * Runs `free` once `owner` is collected. `full` is the share of memory in use.
   *
   * An engine keeps whatever a new WeakRef refers to until the task ends. So there are none as long as memory is
   * plentiful, and a task that makes and disposes of millions of Tensors keeps none of them.
   */
  watch(owner: object, free: () => void, full: number): void {
    if (typeof FinalizationRegistry === "function") {
      this.#registry ??= new FinalizationRegistry((lost) => {
        this.#references.delete(lost);
        lost();
      });
      this.#registry.register(owner, free, free);
    }
    if (full > SWEPT_FROM && typeof WeakRef === "function") this.#references.set(free, new WeakRef(owner));
  }

  unwatch(free: () => void): void {
    this.#registry?.unregister(free);
    this.#references.delete(free);
  }

  /** Frees what the engine knows, or finds out when pressed, to be unreachable. Returns whether there was any. */
  sweep(): boolean {
    if (!this.#references.size) return false;
    // First, as deref() keeps what it finds until the task ends.
    try {
      for (let i = 0; i < PRESSURE; i++) new ArrayBuffer(PRESSURE_BYTES);
    } catch {
      // The engine has collected before it refused.
    }
    const lost = [...this.#references].filter(([, reference]) => !reference.deref());
    for (const [free] of lost) {
      this.unwatch(free);
      free();
    }
    return lost.length > 0;
  }
}
