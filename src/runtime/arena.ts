import type { Runtime } from "./runtime.js";

/**
 * What one owner (a layer, a Tensor) holds of linear memory, by name. It is freed with `release`, or when the owner
 * is collected.
 */
export class Arena {
  readonly #runtime: Runtime;
  readonly #slots = new Map<string, { address: number; bytes: number }>();
  readonly #free: () => void;

  /** `released` runs once, after the memory was given back; like the arena itself it must not reach `owner`. */
  constructor(runtime: Runtime, owner: object, released?: () => void) {
    const slots = this.#slots;
    this.#runtime = runtime;
    this.#free = () => {
      for (const { address } of slots.values()) runtime.free(address);
      slots.clear();
      released?.();
    };
    runtime.watch(owner, this.#free);
  }

  /** The address of a slot that was reserved. */
  at(name: string): number {
    return this.#slots.get(name)!.address;
  }

  /**
   * Makes every slot named at least as large as asked. One that grows loses its contents; if any cannot be had, or
   * `ready`, which runs before anything is given up, throws, none has changed. @throws RangeError, and what `ready` throws
   */
  reserve(sizes: Record<string, number>, ready?: () => void): void {
    const fresh: [string, { address: number; bytes: number }][] = [];
    try {
      for (const name in sizes) {
        const bytes = sizes[name]!;
        if (bytes > (this.#slots.get(name)?.bytes ?? -1)) {
          fresh.push([name, { address: this.#runtime.alloc(bytes), bytes }]);
        }
      }
      ready?.();
    } catch (error) {
      for (const [, { address }] of fresh) this.#runtime.free(address);
      throw error;
    }
    for (const [name, slot] of fresh) {
      const old = this.#slots.get(name);
      if (old) this.#runtime.free(old.address);
      this.#slots.set(name, slot);
    }
  }

  release(): void {
    this.#runtime.unwatch(this.#free);
    this.#free();
  }
}
