/** Where a binary's sections begin: behind its magic number and version. */
const SECTIONS = 8;
const IMPORTS = 2;
/** Kinds of imports. */
const FUNCTION = 0;
const MEMORY = 2;
/** Limits of a memory that is shared, which has to have a maximum. */
const SHARED = 3;
/** 65,536 pages in LEB128: whatever the memory's own maximum is. */
const MOST_PAGES = [0x80, 0x80, 0x04];

/** The number at `at` in LEB128, and where it ends. */
function number(bytes: Uint8Array, at: number): { value: number; end: number } {
  let value = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++]!;
    value += (byte & 127) * 2 ** shift;
    if (byte < 128) return { value, end: at };
  }
}

/** A number in LEB128. */
function encoded(value: number): number[] {
  const bytes: number[] = [];
  for (; value > 127; value = Math.floor(value / 128)) bytes.push((value & 127) | 128);
  return [...bytes, value];
}

/** Where the section of imports has its size, its content and its end. @throws Error if there is none */
function importsOf(bytes: Uint8Array): { size: number; from: number; to: number } {
  for (let at = SECTIONS; at < bytes.length; ) {
    const { value, end } = number(bytes, at + 1);
    if (bytes[at] === IMPORTS) return { size: at + 1, from: end, to: end + value };
    at = end + value;
  }
  throw new Error("expected a binary that imports its memory, got none");
}

/** Where the imported memory's limits begin, in a section at `from`. */
function limitsOf(bytes: Uint8Array, from: number): number {
  let { value: left, end: at } = number(bytes, from);
  for (; left > 0; left--) {
    // The names of the module and of what is imported.
    for (let i = 0; i < 2; i++) {
      const { value, end } = number(bytes, at);
      at = end + value;
    }
    const kind = bytes[at++];
    if (kind === MEMORY) return at;
    if (kind !== FUNCTION) break;
    at = number(bytes, at).end;
  }
  throw new Error("expected a binary that imports functions and its memory, got something else");
}

/**
 * A binary for a memory that is shared, made of one for a memory that is not: only the import's limits say which, and a third
 * and fourth binary would be as large again. The code is the same, as kernels know nothing of other threads.
 */
export function sharing(code: BufferSource): Uint8Array {
  const bytes = ArrayBuffer.isView(code)
    ? new Uint8Array(code.buffer, code.byteOffset, code.byteLength)
    : new Uint8Array(code);
  const { size, from, to } = importsOf(bytes);
  const limits = limitsOf(bytes, from);
  const least = number(bytes, limits + 1).end;
  // A maximum may have been there.
  const rest = bytes[limits]! & 1 ? number(bytes, least).end : least;
  const section = [
    ...bytes.subarray(from, limits),
    SHARED,
    ...bytes.subarray(limits + 1, least),
    ...MOST_PAGES,
    ...bytes.subarray(rest, to),
  ];
  const head = [...bytes.subarray(0, size), ...encoded(section.length), ...section];
  const all = new Uint8Array(head.length + bytes.length - to);
  all.set(head);
  all.set(bytes.subarray(to), head.length);
  return all;
}
