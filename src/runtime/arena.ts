import type { Runtime } from "./runtime.js";

interface Slot {
  address: number;
  bytes: number;
}

/**
 * What one owner (a layer, a Tensor) holds of linear memory, by name. It is freed with `release`, or when the owner
 * is collected.
 */
export class Arena<Name extends string> {
  /** Those that were reserved. */
  readonly slots: Record<Name, Slot> = Object.create(null);
  readonly #runtime: Runtime;
  readonly #free: () => void;

  /** `released` runs once, after the memory was given back; like the arena itself it must not reach `owner`. */
  constructor(runtime: Runtime, owner: object, released?: () => void) {
    const { slots } = this;
    this.#runtime = runtime;
    this.#free = () => {
      for (const name in slots) runtime.free(slots[name].address);
      released?.();
    };
    runtime.watch(owner, this.#free);
  }

  /**
   * Makes every slot named at least as large as asked. One that grows loses its contents; if any cannot be had, or
   * `ready`, which runs before anything is given up, throws, none has changed. @throws RangeError, and what `ready` throws
   */
  reserve(sizes: { [name in Name]?: number | undefined }, ready?: () => void): void {
    const { slots } = this;
    const fresh: { [name in Name]?: Slot } = Object.create(null);
    try {
      for (const name of Object.keys(sizes) as Name[]) {
        const bytes = sizes[name] ?? 0;
        if (!(slots[name]?.bytes >= bytes)) fresh[name] = { address: this.#runtime.alloc(bytes), bytes };
      }
      ready?.();
    } catch (error) {
      for (const name in fresh) this.#runtime.free(fresh[name]!.address);
      throw error;
    }
    for (const name in fresh) {
      if (slots[name]) this.#runtime.free(slots[name].address);
      slots[name] = fresh[name]!;
    }
  }

  release(): void {
    this.#runtime.unwatch(this.#free);
    this.#free();
  }
}
