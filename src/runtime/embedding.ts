// How the two binaries travel inside the JavaScript: as text that a bundle's own compression (gzip, Brotli) still
// understands. Base64 hides the bytes' alignment from it: 16.2 kB gzipped for a binary of 31 kB, and nothing saved on
// the second. Here, bundled and gzipped, both take 1 kB less than one of the files does by itself.
//
// - One sequence of symbols stands for both. A symbol is the bytes, in hex, that both have there, or where they differ
//   `one>other`: `8502>e401` for a fused multiply-add and an add.
// - What follows an opcode for a local is set apart, as the number of different ones since it was last used: code that
//   differs only in its locals becomes the same text, which alone saves a sixth. So is the offset of a vector's load or
//   store, as it is, which saves another hundredth.
// - The commonest symbols are one character of the text, the others two, of which the first is an escape.
// - Functions' names, which profilers show, are text as it is: 0.6 kB less than among the symbols.

/** Of the two binaries, the one whose bytes stand first (or alone) in a symbol, or the one whose stand last. */
export type Side = 0 | -1;

export interface Embedding {
  /** The symbols by their number, the commonest first, between commas. */
  symbols: string;
  /** The numbers of the symbols, those set apart left out. */
  text: string;
  /** Those set apart: how far each is from the front, to which it then moves. */
  locals: string;
  /** The offsets set apart, by their numbers. */
  offsets: string;
  /** The name section that both end with: its parts between ";", each a number and the names by index, between spaces. */
  names: string;
}

/** `local.get`, `local.set` and `local.tee`: a symbol set apart follows. */
export const LOCAL = /^2[012]$/;
/** A load or store of 8 or 16 bytes with its alignment: an offset set apart follows. */
export const ACCESS = /^fd..0[34]$/;

/** The characters are those from "(" to "~" without the backslash: no string literal need escape them. */
export const FIRST = 40;
export const BACKSLASH = 92;
export const CHARACTERS = 86;
/** The first of them are escapes: each adds as many two-character numbers as there are characters. */
export const ESCAPES = 4;

/** The numbers that a text is made of. */
function numbers(text: string): number[] {
  const found: number[] = [];
  let level = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text.charCodeAt(at);
    const code = character - (character > BACKSLASH ? FIRST + 1 : FIRST);
    if (!level && code < ESCAPES) level = code + 1;
    else {
      found.push(level * CHARACTERS + code - ESCAPES);
      level = 0;
    }
  }
  return found;
}

/** A number as WebAssembly has it (LEB128). */
const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);
const sized = (bytes: number[]): number[] => [...leb(bytes.length), ...bytes];
const ascii = (text: string): number[] => Array.from(text, (character) => character.charCodeAt(0));

/** The bytes of a name section. */
export function nameSection(names: string): number[] {
  const parts = names.split(";").flatMap((part) => {
    const [id, ...list] = part.split(" ");
    const entries = list.flatMap((name, i) => [...leb(i), ...sized(ascii(name))]);
    return [Number(id), ...sized([...leb(list.length), ...entries])];
  });
  return [0, ...sized([...sized(ascii("name")), ...parts])];
}

/** The bytes of one of the two binaries. */
export function decode(
  { symbols, text, locals, offsets, names }: Embedding,
  side: Side,
): Uint8Array<ArrayBuffer> {
  const table = symbols.split(",").map((symbol) => ({
    bytes: (symbol.split(">").at(side)!.match(/../g) ?? []).map((hex) => Number.parseInt(hex, 16)),
    local: LOCAL.test(symbol),
    access: ACCESS.test(symbol),
  }));
  const recent = [...table];
  const distances = numbers(locals);
  const places = numbers(offsets);
  const binary: number[] = [];
  for (const number of numbers(text)) {
    const { bytes, local, access } = table[number]!;
    binary.push(...bytes);
    if (local && distances.length) {
      recent.unshift(...recent.splice(distances.shift()!, 1));
      binary.push(...recent[0]!.bytes);
    }
    if (access && places.length) binary.push(...table[places.shift()!]!.bytes);
  }
  return Uint8Array.from(names ? binary.concat(nameSection(names)) : binary);
}
