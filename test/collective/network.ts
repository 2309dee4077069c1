/** A network in memory that may lose, repeat, damage and reorder messages, from a seed. */
import { Group, type GroupOptions, type Transport } from "../../src/collective.js";

export interface Faults {
  loss?: number;
  duplicates?: number;
  damage?: number;
  /** Messages take up to as many milliseconds each, and so overtake each other. */
  delay?: number;
  maxBytes?: number;
}

/** mulberry32 */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

export class Network {
  readonly #listeners = new Set<(message: Uint8Array) => void>();
  readonly #random: () => number;
  readonly #faults: Faults;
  /** All that was sent, for a test to send it again. */
  readonly sent: Uint8Array[] = [];
  /** Whom the network reaches; all at first. */
  cut = new Set<Transport>();

  constructor(faults: Faults = {}, seed = 1) {
    this.#faults = faults;
    this.#random = random(seed);
  }

  transport(): Transport {
    let own: ((message: Uint8Array) => void) | undefined;
    const transport: Transport = {
      send: (message) => {
        this.sent.push(message.slice());
        if (this.cut.has(transport)) return;
        for (const listener of this.#listeners) if (listener !== own) this.#deliver(listener, message);
      },
      listen: (listener) => {
        own = (message) => {
          if (!this.cut.has(transport)) listener(message);
        };
        this.#listeners.add(own);
      },
      close: () => this.#listeners.delete(own!),
      ...(this.#faults.maxBytes !== undefined && { maxBytes: this.#faults.maxBytes }),
    };
    return transport;
  }

  group(options: GroupOptions): Group {
    return new Group("Test", this.transport(), options);
  }

  groups(size: number, options: Partial<GroupOptions> = {}): Group[] {
    return Array.from({ length: size }, (_, rank) => this.group({ rank, size, deadline: 500, ...options }));
  }

  /** Sends to all. */
  inject(message: Uint8Array): void {
    for (const listener of this.#listeners) listener(message.slice());
  }

  #deliver(listener: (message: Uint8Array) => void, message: Uint8Array): void {
    const { loss = 0, duplicates = 0, damage = 0, delay = 0 } = this.#faults;
    const times = this.#random() < duplicates ? 2 : 1;
    for (let i = 0; i < times; i++) {
      if (this.#random() < loss) continue;
      // As Node's clients give them: Buffers, views of a pool that is used again.
      const copy = Buffer.from(message);
      if (this.#random() < damage)
        copy[Math.floor(this.#random() * copy.length)]! ^= 1 << (this.#random() * 8);
      if (delay > 0) setTimeout(() => listener(copy), this.#random() * delay);
      else queueMicrotask(() => listener(copy));
    }
  }
}

export const bytesOf = (...values: number[]): Uint8Array => Uint8Array.from(values);

/** What each rank came to: its bytes, or its error. */
export async function outcomes<T>(calls: Promise<T>[]): Promise<(T | Error)[]> {
  return (await Promise.allSettled(calls)).map((result) =>
    result.status === "fulfilled" ? result.value : (result.reason as Error),
  );
}
