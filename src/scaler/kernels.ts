// The scaler's own small WebAssembly module, over a memory of its own, and what lies in that memory:
//
//     base    [ columns: one float64 array after another, as a call lays them out ][ tile ]
//
// It is compiled by the first call that needs it.
import { binary } from "./binary.js";

type Sums = (x: number, rows: number, width: number, pivots: number, sums: number, squares: number) => void;
type CountedSums = (
  x: number,
  rows: number,
  width: number,
  pivots: number,
  sums: number,
  squares: number,
  counts: number,
) => void;

/** What assembly/scaler/index.ts exports. */
export interface Exports {
  base(): number;
  sums32: Sums;
  sums64: Sums;
  countedSums32: CountedSums;
  countedSums64: CountedSums;
  standardize32: Sums;
  restore32: Sums;
  standardize64(x: number, rows: number, width: number, means: number, scales: number): void;
  restore64(x: number, rows: number, width: number, means: number, scales: number): void;
}

const PAGE = 65536;
/** A tile's bytes, by those of a value: the first-level cache holds it beside the columns. Measured: bench/scaler.md. */
const TILE_BYTES: Record<number, number> = { 4: 32768, 8: 16384 };
/** Rows of a tile at least, so that a wide matrix's sums are not stored and loaded again for every row. */
const TILE_ROWS = 8;
/** Bytes of a tile at most where a row is wider than that. */
const WIDE_TILE_BYTES = 2 ** 20;

class Kernels {
  readonly exports: Exports;
  readonly #memory = new WebAssembly.Memory({ initial: 1 });
  readonly #base: number;
  f32!: Float32Array;
  u32!: Uint32Array;
  f64!: Float64Array;

  constructor() {
    const code = binary();
    const module = code instanceof WebAssembly.Module ? code : new WebAssembly.Module(code);
    const instance = new WebAssembly.Instance(module, { env: { memory: this.#memory } });
    this.exports = instance.exports as unknown as Exports;
    // Whole cache lines.
    this.#base = Math.ceil(this.exports.base() / 64) * 64;
    this.#view();
  }

  #view(): void {
    const { buffer } = this.#memory;
    this.f32 = new Float32Array(buffer);
    this.u32 = new Uint32Array(buffer);
    this.f64 = new Float64Array(buffer);
  }

  /**
   * Makes room for `arrays` float64 arrays of `width` values and, behind them, a tile of as many bytes.
   *
   * @throws RangeError if the memory cannot hold them
   */
  reserve(who: string, arrays: number, width: number, tileBytes: number): { columns: number; tile: number } {
    const columns = this.#base;
    const tile = columns + arrays * width * 8;
    const missing = tile + tileBytes - this.#memory.buffer.byteLength;
    if (missing > 0) {
      try {
        this.#memory.grow(Math.ceil(missing / PAGE));
      } catch (cause) {
        throw new RangeError(`${who}: expected memory for ${tile + tileBytes} bytes, got none`, { cause });
      }
      this.#view();
    }
    return { columns, tile };
  }
}

let loaded: Kernels | undefined;

/** The kernels, compiled once. */
export const kernels = (): Kernels => (loaded ??= new Kernels());

/** Columns that a kernel takes at a time, at most: widths are multiples of it. */
export const LANES = 16;

/** How a matrix of `rows` by `features` is walked: several rows are laid side by side to fill whole panels. */
export interface Walk {
  /** Rows that are taken as one. */
  folded: number;
  /** Columns of the matrix that the kernels see: `folded * features`, a multiple of 16; less if that is all there is. */
  width: number;
  /** Rows, of the caller's, in a tile: a multiple of `folded`. */
  tileRows: number;
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** The walk over a matrix of values of 4 or 8 bytes; what is left below a whole folded row is a row of fewer columns. */
export function walkOf(rows: number, features: number, bytes: number): Walk {
  const folded = LANES / gcd(features, LANES);
  const whole = folded * features;
  const width = Math.min(whole, Math.ceil((rows * features) / LANES) * LANES);
  const fit = Math.max(
    1,
    Math.floor(TILE_BYTES[bytes]! / (whole * bytes)),
    Math.min(TILE_ROWS, Math.floor(WIDE_TILE_BYTES / (whole * bytes))),
  );
  return { folded, width, tileRows: fit * folded };
}
