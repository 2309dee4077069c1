import { checksumOf, encode, HEADER_BYTES, type Header, type Message } from "./wire.js";

/** What one rank sent for a step. */
interface Letter {
  parts: (Uint8Array | undefined)[];
  missing: number;
  history: number;
}

/** What has come for one step, by rank. */
export class Mailbox {
  readonly #letters: (Letter | undefined)[];
  #complete = 0;

  constructor(size: number) {
    this.#letters = new Array<Letter | undefined>(size).fill(undefined);
  }

  /** Keeps a copy of a message, or of a part of one; a duplicate changes nothing. */
  take({ rank, part, parts, history, raw }: Message): void {
    const letter = (this.#letters[rank] ??= { parts: new Array(parts), missing: parts, history });
    if (parts !== letter.parts.length || part >= parts || letter.parts[part]) return;
    // Of Node's Buffers, which may come here, `slice` is a view.
    letter.parts[part] = new Uint8Array(raw);
    if (--letter.missing === 0) this.#complete++;
  }

  /** Puts this rank's own bytes in, cut to messages of at most `maxBytes`. */
  write(header: Header, bytes: Uint8Array, maxBytes: number): void {
    const room = Math.max(1, maxBytes - HEADER_BYTES);
    const parts = Math.max(1, Math.ceil(bytes.length / room));
    this.#letters[header.rank] = {
      parts: Array.from({ length: parts }, (_, part) =>
        encode({ ...header, part, parts }, bytes.subarray(part * room, (part + 1) * room)),
      ),
      missing: 0,
      history: header.history,
    };
    this.#complete++;
  }

  get complete(): boolean {
    return this.#complete === this.#letters.length;
  }

  /** The ranks whose bytes are not all there. */
  missing(): number[] {
    return this.#letters.flatMap((letter, rank) => (letter?.missing === 0 ? [] : [rank]));
  }

  /** The messages of a rank, as they came; none before all of them are there. */
  messages(rank: number): Uint8Array[] {
    const letter = this.#letters[rank];
    return letter?.missing === 0 ? (letter.parts as Uint8Array[]) : [];
  }

  /** Of a complete step: what each rank knew of the steps before. */
  histories(): number[] {
    return this.#letters.map((letter) => letter!.history);
  }

  /** Of a complete step: the checksums of all messages, by rank. */
  checksums(): Uint8Array {
    return Uint8Array.from(
      this.#letters.flatMap((letter) => letter!.parts.flatMap((part) => [...checksumOf(part!)])),
    );
  }

  /** Of a complete step: the bytes of each rank, in arrays of their own. */
  read(): Uint8Array[] {
    return this.#letters.map((letter) => {
      const parts = letter!.parts as Uint8Array[];
      if (parts.length === 1) return parts[0]!.slice(HEADER_BYTES);
      const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length - HEADER_BYTES, 0));
      let at = 0;
      for (const part of parts) {
        bytes.set(part.subarray(HEADER_BYTES), at);
        at += part.length - HEADER_BYTES;
      }
      return bytes;
    });
  }
}
