import type { Transport } from "./types.js";
import { encode, encodeRanks, type Header, type Kind } from "./wire.js";

/** What is the same in all messages of a rank. */
type Sender = Pick<Header, "epoch" | "rank" | "size" | "nonce">;

/** Writes a rank's messages and hands them to the transport. */
export class Outbox {
  readonly #transport: Transport;
  readonly #sender: Sender;
  readonly #closed: () => void;

  /** `closed` is called where the transport has come to its end. */
  constructor(transport: Transport, sender: Sender, closed: () => void) {
    this.#transport = transport;
    this.#sender = sender;
    this.#closed = closed;
  }

  get maxBytes(): number {
    return this.#transport.maxBytes ?? Infinity;
  }

  header(kind: Kind, step: number, history: number, part = 0): Header {
    return { ...this.#sender, kind, step, history, part, parts: 1 };
  }

  /** A message about some ranks. */
  send(kind: Kind, step: number, ranks: readonly number[] = [], part = 0): void {
    this.post([encode(this.header(kind, step, 0, part), encodeRanks(ranks, this.#sender.size))]);
  }

  post(messages: readonly Uint8Array[]): void {
    try {
      for (const message of messages) this.#transport.send(message);
    } catch {
      this.#closed();
    }
  }

  close(): void {
    this.#transport.close();
  }
}
