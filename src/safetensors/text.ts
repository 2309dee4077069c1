// UTF-8 by hand: TextDecoder and TextEncoder are missing where audio worklets and Jest's jsdom run.

const CHUNK = 8192;

/** Text of UTF-16 code units. */
function fromUnits(units: Uint16Array | Uint8Array): string {
  let text = "";
  for (let at = 0; at < units.length; at += CHUNK) {
    text += String.fromCharCode.apply(null, units.subarray(at, at + CHUNK) as unknown as number[]);
  }
  return text;
}

/** ASCII to text. */
export const decodeAscii = (bytes: Uint8Array): string => fromUnits(bytes);

/** UTF-8 to text; null where it is not well-formed (Unicode 15, table 3-7). */
export function decodeUtf8(bytes: Uint8Array): string | null {
  const units = new Uint16Array(bytes.length);
  let length = 0;
  for (let at = 0; at < bytes.length; ) {
    const lead = bytes[at++]!;
    if (lead < 0x80) {
      units[length++] = lead;
      continue;
    }
    const more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4) return null;
    let point = lead & (0x3f >> more);
    for (let k = 0; k < more; k++) {
      const next = bytes[at++];
      if (next === undefined || next >> 6 !== 2) return null;
      point = (point << 6) | (next & 0x3f);
    }
    // Longer than need be, half of a surrogate pair, or beyond Unicode.
    if (point < [0, 0x80, 0x800, 0x10000][more]! || point > 0x10ffff || point >> 11 === 0x1b) return null;
    if (point > 0xffff) {
      units[length++] = 0xd7c0 + (point >> 10);
      point = 0xdc00 + (point & 0x3ff);
    }
    units[length++] = point;
  }
  return fromUnits(units.subarray(0, length));
}

/** Well-formed text to UTF-8. */
export function encodeUtf8(text: string): Uint8Array {
  const bytes = new Uint8Array(3 * text.length);
  let length = 0;
  for (let at = 0; at < text.length; at++) {
    const point = text.codePointAt(at)!;
    if (point < 0x80) {
      bytes[length++] = point;
      continue;
    }
    const more = point > 0xffff ? 3 : point > 0x7ff ? 2 : 1;
    bytes[length++] = [0, 0xc0, 0xe0, 0xf0][more]! | (point >> (6 * more));
    for (let k = more - 1; k >= 0; k--) bytes[length++] = 0x80 | ((point >> (6 * k)) & 0x3f);
    if (more === 3) at++; // a pair of code units
  }
  return bytes.subarray(0, length);
}
