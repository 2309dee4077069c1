import { rangeError } from "../errors.js";
import { decodeAscii, decodeUtf8 } from "./text.js";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
/** As the reference implementation has it. */
const MAX_DEPTH = 128;
/** Three fields and some types. */
const WORDS = 12;

const isSpace = (byte: number | undefined): boolean =>
  byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
const isDigit = (byte: number | undefined): boolean => byte !== undefined && byte >= 0x30 && byte <= 0x39;

/**
 * Reads JSON token by token from bytes, forward only, each byte once. JSON.parse is no guard for a header: of equal keys
 * it keeps the last, and nine million keys in 97 MB take it minutes.
 */
export class Cursor {
  at = 0;
  readonly bytes: Uint8Array;
  readonly #who: string;
  readonly #words: string[] = [];

  constructor(who: string, bytes: Uint8Array, at = 0) {
    this.#who = who;
    this.bytes = bytes;
    this.at = at;
  }

  /** An error about what comes next. */
  fail(expected: string): RangeError {
    const next = decodeAscii(this.bytes.slice(this.at, this.at + 20).map((b) => (b < 0x80 ? b : 0x3f)));
    return rangeError(this.#who, `${expected} at byte ${this.at} of the header`, next);
  }

  /** The next byte that is no white space; undefined at the end. */
  peek(): number | undefined {
    while (isSpace(this.bytes[this.at])) this.at++;
    return this.bytes[this.at];
  }

  /** Takes one character if it is next. */
  take(token: string): boolean {
    if (this.peek() !== token.charCodeAt(0)) return false;
    this.at++;
    return true;
  }

  /** Takes one character. @throws RangeError for anything else */
  need(token: string): void {
    if (!this.take(token)) throw this.fail(token);
  }

  /** Takes null, true or false if it is next. */
  literal(word: string): boolean {
    this.peek();
    for (let i = 0; i < word.length; i++) {
      if (this.bytes[this.at + i] !== word.charCodeAt(i)) return false;
    }
    this.at += word.length;
    return true;
  }

  /** @throws RangeError unless a string comes next, of well-formed text */
  string(): string {
    this.need('"');
    const { bytes } = this;
    const start = this.at;
    let at = start;
    let plain = true;
    for (let byte = bytes[at]; byte !== QUOTE; byte = bytes[at]) {
      // The end, or a control character.
      if (byte === undefined || byte < 0x20) throw this.#noString(start);
      if (byte === BACKSLASH) at++;
      if (byte === BACKSLASH || byte > 0x7f) plain = false;
      at++;
    }
    this.at = at + 1;
    const part = bytes.subarray(start, at);
    if (plain) return decodeAscii(part);
    const text = decodeUtf8(part);
    if (text === null) {
      this.at = start - 1;
      throw this.fail("text in UTF-8");
    }
    try {
      const value = JSON.parse(`"${text}"`) as string;
      if (!/\p{Surrogate}/u.test(value)) return value;
    } catch {
      // A bad escape.
    }
    throw this.#noString(start);
  }

  /** The same for what comes again and again: the same string each time, as far as it is remembered. */
  word(): string {
    if (this.peek() !== QUOTE) return this.string();
    const { bytes, at } = this;
    for (const word of this.#words) {
      const { length } = word;
      if (bytes[at + 1 + length] !== QUOTE) continue;
      let i = 0;
      while (i < length && bytes[at + 1 + i] === word.charCodeAt(i)) i++;
      if (i < length) continue;
      this.at = at + length + 2;
      return word;
    }
    const word = this.string();
    if (this.#words.length < WORDS && /^\w*$/.test(word)) this.#words.push(word);
    return word;
  }

  #noString(start: number): RangeError {
    this.at = start - 1;
    return this.fail("a string");
  }

  /** @throws RangeError unless an integer from 0 to 2^53 - 1 comes next */
  integer(): number {
    const first = this.peek();
    const start = this.at;
    let value = 0;
    for (; isDigit(this.bytes[this.at]) && this.at < start + 17; this.at++) {
      value = 10 * value + this.bytes[this.at]! - 0x30;
    }
    const zeros = first === 0x30 && this.at > start + 1;
    if (this.at === start || zeros || !Number.isSafeInteger(value)) {
      this.at = start;
      throw this.fail("an integer from 0 to 2^53");
    }
    return value;
  }

  /** Takes items between `open` and `close`, with commas between them. */
  list(open: string, close: string, item: () => void): void {
    this.need(open);
    if (this.take(close)) return;
    do item();
    while (this.take(","));
    this.need(close);
  }

  /** Takes a value of any kind and drops it. @throws RangeError for what is no JSON, or nested deeper than 128 */
  skip(depth = 0): void {
    if (depth > MAX_DEPTH) throw this.fail("a value that is not nested so deep");
    const next = this.peek();
    if (next === QUOTE) this.string();
    else if (next === 0x5b) this.list("[", "]", () => this.skip(depth + 1));
    else if (next === 0x7b) {
      this.list("{", "}", () => {
        this.string();
        this.need(":");
        this.skip(depth + 1);
      });
    } else if (!this.literal("null") && !this.literal("true") && !this.literal("false")) this.#number();
  }

  #number(): void {
    const start = this.at;
    while (/[-+.\deE]/.test(String.fromCharCode(this.bytes[this.at] ?? 0))) this.at++;
    const text = decodeAscii(this.bytes.subarray(start, this.at));
    if (/^-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?$/.test(text)) return;
    this.at = start;
    throw this.fail("a value");
  }
}
