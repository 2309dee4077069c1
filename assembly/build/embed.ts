// Run by the build, after the compiler: writes build/binaries.json, the text that embedded.ts inlines.
import { readFileSync, writeFileSync } from "node:fs";
import { diffArrays } from "diff";
import {
  ACCESS,
  BACKSLASH,
  CHARACTERS,
  decode,
  type Embedding,
  ESCAPES,
  FIRST,
  LOCAL,
  nameSection,
} from "../../src/runtime/embedding.js";

/**
 * An opcode for a local and the local; a SIMD load or store and its offset; a vector, a shuffle or a float64; another SIMD
 * opcode; a block without a value; an integer; or else a byte. Where it takes data for code, the text is longer and no less
 * right.
 */
const INSTRUCTION =
  /(2[012]|fd..0[34])(..)|fd0[cd](?:..){16}|44(?:..){8}|fd(?:0[0-9ab]|5[cd])....|fd[89a-f].0[12]|fd..|0[234]40|41(?:[89a-f].)*[0-7].|../g;
/** Fewer of a kind are dearer in the table of symbols than as bytes: 0.1 kB. */
const FREQUENT = 8;

/** A binary as symbols, in hex. They hold more than a byte where that saves: 0.3 kB. */
function symbolsOf(binary: Uint8Array): string[] {
  const symbols = Array.from(
    Buffer.from(binary).toString("hex").matchAll(INSTRUCTION),
    ([all, opcode, operand]) => (opcode && operand ? [opcode, operand] : [all]),
  ).flat();
  const counts = count(symbols);
  return symbols.flatMap((symbol) => (counts.get(symbol)! < FREQUENT ? symbol.match(/../g)! : [symbol]));
}

function count(symbols: string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const symbol of symbols) counts.set(symbol, (counts.get(symbol) ?? 0) + 1);
  return counts;
}

/** The two binaries as one sequence of symbols: what both have, or `one>other` where they differ. */
export function merge(first: Uint8Array, last: Uint8Array): string[] {
  const symbols: string[] = [];
  let ours = "";
  let theirs = "";
  const settle = () => {
    if (ours || theirs) symbols.push(`${ours}>${theirs}`);
    ours = theirs = "";
  };
  for (const { removed, added, value } of diffArrays(symbolsOf(first), symbolsOf(last))) {
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

/** The sequence in three parts: what follows an opcode for a local, what follows a load or store, and all else. */
function setApart(sequence: string[]): { text: string[]; locals: string[]; offsets: string[] } {
  const text: string[] = [];
  const locals: string[] = [];
  const offsets: string[] = [];
  for (let i = 0; i < sequence.length; i++) {
    const symbol = sequence[i]!;
    text.push(symbol);
    const apart = LOCAL.test(symbol) ? locals : ACCESS.test(symbol) ? offsets : undefined;
    if (apart && i + 1 < sequence.length) apart.push(sequence[++i]!);
  }
  return { text, locals, offsets };
}

const NAME = "\x04name";

/** The text of the name section that a binary ends with; empty if it ends with none that comes back. */
function namesOf(binary: Uint8Array): string {
  const bytes = Buffer.from(binary);
  let at = bytes.lastIndexOf(NAME, undefined, "latin1");
  if (at < 0) return "";
  at += NAME.length;
  const leb = (): number => {
    const byte = bytes[at++] ?? 0;
    return byte < 128 ? byte : (byte & 127) + 128 * leb();
  };
  const parts: string[] = [];
  while (at < bytes.length) {
    const part = [leb()];
    leb();
    const names = Array.from({ length: Math.min(leb(), bytes.length) }, () => {
      leb();
      const length = leb();
      at += length;
      return bytes.toString("latin1", at - length, at);
    });
    parts.push([...part, ...names].join(" "));
  }
  const names = parts.join(";");
  const section = Buffer.from(nameSection(names));
  return section.equals(bytes.subarray(-section.length)) ? names : "";
}

export function encode(first: Uint8Array, last: Uint8Array): Embedding {
  const shared = namesOf(first);
  const names = shared === namesOf(last) ? shared : "";
  const length = names ? nameSection(names).length : 0;
  const [ours, theirs] = [first, last].map((binary) => binary.subarray(0, binary.length - length));
  const { text, locals, offsets } = setApart(merge(ours!, theirs!));
  const counts = new Map([...locals, ...offsets].map((symbol) => [symbol, 0]));
  for (const [symbol, times] of count(text)) counts.set(symbol, times);
  const table = [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)!);

  const words = new Map(table.map((symbol, number) => [symbol, word(number)]));
  const recent = [...table];
  const distances = locals.map((symbol) => {
    const distance = recent.indexOf(symbol);
    recent.unshift(...recent.splice(distance, 1));
    return distance;
  });
  const spell = (sequence: string[]) => sequence.map((symbol) => words.get(symbol)!).join("");
  return {
    symbols: table.join(","),
    text: spell(text),
    offsets: spell(offsets),
    locals: distances.map(word).join(""),
    names,
  };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const [relaxed, simd] = ["relaxed-simd", "simd"].map(
    (name) => new Uint8Array(readFileSync(`build/${name}.wasm`)),
  );
  const embedding = encode(relaxed!, simd!);
  for (const [side, binary] of [
    [0, relaxed!],
    [-1, simd!],
  ] as const) {
    if (Buffer.compare(decode(embedding, side), binary))
      throw new Error(`${side ? "simd" : "relaxed-simd"}.wasm does not come back`);
  }
  writeFileSync("build/binaries.json", JSON.stringify(embedding));
}
