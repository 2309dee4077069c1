// Run by the build, after the compiler: writes build/binaries.json, the text that embedded.ts inlines.
import { readFileSync, writeFileSync } from "node:fs";
import { diffArrays } from "diff";
import { BACKSLASH, CHARACTERS, decode, type Embedding, ESCAPES, FIRST, LOCAL } from "./embedding.js";

const hexOf = (byte: number) => byte.toString(16).padStart(2, "0");

/** The two binaries as one sequence of symbols: a byte of both, or `one>other` where they differ. */
export function merge(first: Uint8Array, last: Uint8Array): string[] {
  const symbols: string[] = [];
  let ours = "";
  let theirs = "";
  const settle = () => {
    if (ours || theirs) symbols.push(`${ours}>${theirs}`);
    ours = theirs = "";
  };
  for (const { removed, added, value } of diffArrays(Array.from(first, hexOf), Array.from(last, hexOf))) {
    if (removed) ours += value.join("");
    else if (added) theirs += value.join("");
    else {
      settle();
      symbols.push(...value);
    }
  }
  settle();
  return symbols;
}

const character = (code: number) => String.fromCharCode(FIRST + code + (FIRST + code >= BACKSLASH ? 1 : 0));

/** The inverse of `numbers` in embedding.ts, for one number. */
function word(number: number): string {
  const code = number + ESCAPES;
  const level = Math.floor(code / CHARACTERS);
  if (level > ESCAPES) throw new RangeError(`there are no words for more than ${number} symbols`);
  return (level ? character(level - 1) : "") + character(code % CHARACTERS);
}

/** The sequence in two parts: what follows an opcode for a local, and all else. */
function setApart(sequence: string[]): { text: string[]; locals: string[] } {
  const text: string[] = [];
  const locals: string[] = [];
  for (let i = 0; i < sequence.length; i++) {
    text.push(sequence[i]!);
    if (LOCAL.test(sequence[i]!) && i + 1 < sequence.length) locals.push(sequence[++i]!);
  }
  return { text, locals };
}

export function encode(first: Uint8Array, last: Uint8Array): Embedding {
  const { text, locals } = setApart(merge(first, last));
  const counts = new Map(locals.map((symbol) => [symbol, 0]));
  for (const symbol of text) counts.set(symbol, (counts.get(symbol) ?? 0) + 1);
  const table = [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)!);

  const words = new Map(table.map((symbol, number) => [symbol, word(number)]));
  const recent = [...table];
  const distances = locals.map((symbol) => {
    const distance = recent.indexOf(symbol);
    recent.unshift(...recent.splice(distance, 1));
    return distance;
  });
  return {
    symbols: table.join(","),
    text: text.map((symbol) => words.get(symbol)!).join(""),
    locals: distances.map(word).join(""),
  };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const [relaxed, simd] = ["relaxed-simd", "simd"].map(
    (name) => new Uint8Array(readFileSync(`build/${name}.wasm`)),
  );
  const embedding = encode(relaxed!, simd!);
  for (const [side, binary] of [
    ["first", relaxed!],
    ["last", simd!],
  ] as const) {
    if (Buffer.compare(decode(embedding, side), binary))
      throw new Error(`the ${side} binary does not come back`);
  }
  writeFileSync("build/binaries.json", JSON.stringify(embedding));
}
