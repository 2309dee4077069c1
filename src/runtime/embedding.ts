// How the two binaries travel inside the JavaScript: as one text that a bundle's own compression (gzip, Brotli)
// still understands. Base64 would hide the bytes' alignment from it: 16.2 kB a binary gzipped, and the second does
// not profit from the first. Here both are 12.1 kB together, decoder included, where the two files are 11.8 kB each.
//
// Each character of the text, or two where the first is an escape, is a symbol. A symbol is the bytes, in hex, that
// both binaries have at that place, or, where they differ, `one>other`:
//
//   text "ab!c"   symbols "…,20,fde601,…,8502>e401,…"

/** Of the two binaries, the one whose bytes stand first (or alone) in a symbol, or the one whose stand last. */
export type Side = "first" | "last";

export interface Embedding {
  text: string;
  symbols: string;
}

export const FIRST_CODE = 32;
/** Codes of one character: the printable ones. Each escape opens that many again. */
export const CODES = 95;
/** The lowest codes are the escapes. */
export const ESCAPES = 4;

/** The bytes of one of the two binaries. */
export function decode({ text, symbols }: Embedding, side: Side): Uint8Array<ArrayBuffer> {
  const hex = symbols.split(",").map((symbol) => symbol.split(">").at(side === "first" ? 0 : -1)!);
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i++) {
    let code = text.charCodeAt(i) - FIRST_CODE;
    if (code < ESCAPES) code = (code + 1) * CODES + text.charCodeAt(++i) - FIRST_CODE;
    for (let at = 0; at < hex[code]!.length; at += 2)
      bytes.push(Number.parseInt(hex[code]!.slice(at, at + 2), 16));
  }
  return Uint8Array.from(bytes);
}
