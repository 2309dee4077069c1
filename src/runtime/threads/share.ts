/** The same binary for a shared memory: it differs in the limits of the memory that it imports. */

/** Pages that 32 bits address; a module takes any memory whose maximum is no larger than its own. */
const MOST_PAGES = 65_536;
const IMPORTS = 2;
/** Kinds of imports that stand before a memory or behind it. */
const FUNCTION = 0;
const TABLE = 1;
const MEMORY = 2;
/** Flags of limits: with a maximum, shared. */
const SHARED = 3;

/** A number as WebAssembly has it (LEB128). */
const leb = (n: number): number[] => (n < 128 ? [n] : [(n & 127) | 128, ...leb(n >>> 7)]);

class Reader {
  constructor(
    readonly bytes: Uint8Array,
    public at: number,
  ) {}

  number(): number {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.bytes[this.at++]!;
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
  }

  /** Passes over a name. */
  name(): void {
    const length = this.number();
    this.at += length;
  }

  /** Passes over limits. */
  limits(): void {
    const flags = this.number();
    this.number();
    if (flags & 1) this.number();
  }
}

/** Where the limits of the imported memory lie, from the first import on; undefined if none is imported. */
function limitsIn(reader: Reader): { from: number; to: number; initial: number } | undefined {
  for (let left = reader.number(); left > 0; left--) {
    reader.name();
    reader.name();
    const kind = reader.number();
    if (kind === MEMORY) {
      const from = reader.at;
      reader.limits();
      const { at: to } = reader;
      reader.at = from;
      reader.number();
      return { from, to, initial: reader.number() };
    }
    if (kind === FUNCTION) reader.number();
    else if (kind === TABLE) {
      reader.at++;
      reader.limits();
    } else reader.at += 2;
  }
  return undefined;
}

/** The bytes of a binary that imports a memory, over a shared one. @throws RangeError if it imports none */
export function forShared(code: BufferSource): Uint8Array<ArrayBuffer> {
  const bytes = ArrayBuffer.isView(code)
    ? new Uint8Array(code.buffer, code.byteOffset, code.byteLength)
    : new Uint8Array(code);
  const reader = new Reader(bytes, 8);
  while (reader.at < bytes.length) {
    const section = reader.at;
    const id = bytes[reader.at++]!;
    const size = reader.number();
    const body = reader.at;
    const limits = id === IMPORTS ? limitsIn(reader) : undefined;
    if (limits) {
      const { from, to, initial } = limits;
      const changed = [SHARED, ...leb(initial), ...leb(MOST_PAGES)];
      return Uint8Array.from([
        ...bytes.subarray(0, section + 1),
        ...leb(size + changed.length - (to - from)),
        ...bytes.subarray(body, from),
        ...changed,
        ...bytes.subarray(to),
      ]);
    }
    reader.at = body + size;
  }
  throw new RangeError("wasm-norm: expected a binary that imports a memory");
}
