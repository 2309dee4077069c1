// Run by the build, after the compiler: writes build/binaries.json, the text that embedded.ts inlines.
import { readFileSync, writeFileSync } from "node:fs";
import { diffArrays } from "diff";
import { CODES, decode, type Embedding, ESCAPES, FIRST_CODE } from "./embedding.js";

/** Characters that a string literal or a page's script may have to escape. */
const UNSAFE = new Set("\"'`\\$<");

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

/** The shortest codes go to the most frequent symbols. */
export function encode(first: Uint8Array, last: Uint8Array): Embedding {
  const sequence = merge(first, last);
  const counts = new Map<string, number>();
  for (const symbol of sequence) counts.set(symbol, (counts.get(symbol) ?? 0) + 1);

  const table: string[] = [];
  const words = new Map<string, string>();
  const ranked = [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)!);
  let code = ESCAPES;
  for (const symbol of ranked) {
    const letter = () => String.fromCharCode(FIRST_CODE + (code % CODES));
    while (UNSAFE.has(letter())) code++;
    const level = Math.floor(code / CODES);
    if (level > ESCAPES) throw new Error(`${ranked.length} symbols are more than the codes hold`);
    words.set(symbol, (level ? String.fromCharCode(FIRST_CODE + level - 1) : "") + letter());
    table[code++] = symbol;
  }
  const symbols = Array.from(table, (symbol) => symbol ?? "").join(",");
  return { text: sequence.map((symbol) => words.get(symbol)).join(""), symbols };
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
