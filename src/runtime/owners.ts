/** While more than this share of the most memory is in use, what is watched can be swept as well. */
const SWEPT_FROM = 1 / 4;
/** How often, and with how many bytes, the engine is pressed to collect: V8 starts at 32 to 64 MB of garbage arrays. */
const ROUNDS = 16;
const PRESSURE = 256 << 20;
/** V8 marks on other threads meanwhile and ends the collection within a loop or a call. */
const PAUSE_MS = 5;

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

  /**
   * Frees what the engine knows, or finds out when pressed, to be unreachable. Returns whether there was any.
   *
   * deref() keeps what it finds until the task ends, so that each owner is asked for once: a few a round, and all others
   * as soon as one of those turns out to be collected.
   */
  sweep(): boolean {
    const left = [...this.#references];
    const some = Math.ceil(left.length / ROUNDS);
    let found = false;
    while (left.length && !found) {
      press();
      found = this.#free(left.splice(0, some));
    }
    return this.#free(left) || found;
  }

  #free(references: [free: () => void, reference: WeakRef<object>][]): boolean {
    const lost = references.filter(([, reference]) => !reference.deref());
    for (const [free] of lost) {
      this.unwatch(free);
      free();
    }
    return lost.length > 0;
  }
}

/** Makes it look as if memory were short to the engine, too. */
function press(): void {
  const kept: unknown[] = [];
  try {
    for (let i = 0; i < 4; i++) kept.push(new ArrayBuffer(PRESSURE / 4));
  } catch {
    // An engine collects before it refuses.
  }
  const start = Date.now();
  while (Date.now() - start < PAUSE_MS);
}
