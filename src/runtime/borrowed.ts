import type { Source } from "./instance.js";

/** Cache lines; a vector never lies across two of them. */
const ALIGNMENT = 64;

/** What owns the memory: malloc and free, as C has them. */
export interface Owner {
  /** The address of new bytes; 0 where there is no room. */
  alloc(bytes: number): number;
  free(address: number): void;
}

/**
 * The allocator of a runtime in a memory that another module owns and allocates in. Blocks begin at multiples of 64,
 * whatever the owner aligns to.
 *
 *   │ owner's block:  … │ the address given out, a multiple of 64:  bytes  │ … │
 */
export class Borrowed implements Source {
  readonly shares = true;
  bytesInUse = 0;
  readonly #owner: Owner;
  /** By the address given out. */
  readonly #blocks = new Map<number, { start: number; bytes: number }>();

  constructor(owner: Owner) {
    this.#owner = owner;
  }

  /** @throws RangeError if the owner has no room */
  alloc(bytes: number): number {
    const all = bytes + ALIGNMENT;
    // Some give addresses as signed numbers.
    const start = this.#owner.alloc(all) >>> 0;
    if (!start) throw new RangeError(`has an owner with no room for ${all} more`);
    const address = Math.ceil(start / ALIGNMENT) * ALIGNMENT;
    this.#blocks.set(address, { start, bytes: all });
    this.bytesInUse += all;
    return address;
  }

  /** @throws Error if no block in use starts there */
  free(address: number): void {
    const block = this.#blocks.get(address);
    if (!block) throw new Error(`Borrowed: expected a block in use, got ${address}`);
    this.#blocks.delete(address);
    this.bytesInUse -= block.bytes;
    this.#owner.free(block.start);
  }
}
