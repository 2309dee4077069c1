import type { Runtime } from "./runtime.js";

/** Memory for the length of one call. */
export class Scratch {
  readonly #runtime: Runtime;
  #taken: number[] | undefined;
  #passage = 0;
  #passageBytes = 0;

  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** Runs `work` and gives back what it took, whether it returns or throws. */
  static with<T>(runtime: Runtime, work: (scratch: Scratch) => T): T {
    const scratch = new Scratch(runtime);
    try {
      return work(scratch);
    } finally {
      scratch.release();
    }
  }

  /** The address of `bytes` bytes. @throws RangeError if memory cannot hold them */
  take(bytes: number): number {
    const address = this.#runtime.alloc(bytes);
    if (this.#taken) this.#taken.push(address);
    else this.#taken = [address];
    return address;
  }

  /** The same as long as it suffices: what is there is soon gone. @throws RangeError if memory cannot hold it */
  passage(bytes: number): number {
    if (bytes > this.#passageBytes) {
      this.#passage = this.take(bytes);
      this.#passageBytes = bytes;
    }
    return this.#passage;
  }

  release(): void {
    if (this.#taken) for (const address of this.#taken) this.#runtime.free(address);
    this.#taken = undefined;
    this.#passageBytes = 0;
  }
}
