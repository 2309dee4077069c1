import type { CollectiveErrorCode } from "./error.js";
import type { Message } from "./wire.js";

/** Why a group is broken, as messages number it. */
export const REASONS: CollectiveErrorCode[] = [
  "timeout",
  "version",
  "size",
  "epoch",
  "restarted",
  "diverged",
  "closed",
];

/** What a rank is waiting for. */
export interface Call {
  resolve(bytes: Uint8Array[]): void;
  reject(error: Error): void;
  timers: Set<ReturnType<typeof setTimeout>>;
  /** Whom each rank misses as the deadline is near; undefined before. */
  verdicts: Map<number, number[]> | undefined;
}

/** Why a group cannot go on, and because of whom. */
export interface Breach {
  code: CollectiveErrorCode;
  ranks: readonly number[];
}

/** Who is in the group: one process a rank, all of one epoch, size and version. */
export class Members {
  readonly #rank: number;
  readonly #size: number;
  readonly #epoch: number;
  readonly #nonces: (bigint | undefined)[];

  constructor(rank: number, size: number, epoch: number, nonce: bigint) {
    this.#rank = rank;
    this.#size = size;
    this.#epoch = epoch;
    this.#nonces = new Array<bigint | undefined>(size).fill(undefined);
    this.#nonces[rank] = nonce;
  }

  /** What a message is to the group: of another member, nothing to it, or a breach. */
  judge(message: Message | { foreign: number; epoch: number } | undefined): Message | Breach | undefined {
    if (!message || message.epoch < this.#epoch) return undefined;
    if ("foreign" in message) return { code: "version", ranks: [message.foreign] };
    const { rank, size, nonce, epoch } = message;
    if (epoch > this.#epoch) return { code: "epoch", ranks: [this.#rank] };
    if (size !== this.#size) return { code: "size", ranks: rank < this.#size ? [rank] : [] };
    const known = (this.#nonces[rank] ??= nonce);
    if (known !== nonce) return { code: "restarted", ranks: [rank] };
    return rank === this.#rank ? undefined : message;
  }
}
