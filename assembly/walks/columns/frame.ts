/**
 * How a pass down columns is cut: by its shape alone, so that neither who runs a tile nor when changes a bit.
 *
 *   wide: copies = 1                     narrow: k rows side by side make a row of whole strips
 *   ┌──────────────────────────┐         ┌───────────────────────────────┐
 *   │ row 0                    │         │ row 0 │ row 1 │ …   │ row k-1 │  rows / k
 *   │ row 1                    │         │ row k │  …                    │
 *   └──────────────────────────┘         └───────┴───────────────────────┘  + rows % k, by lanes
 *
 * Small examples are whole tiles, some at a time. A large one falls into blocks of rows; far ones into four blocks each, a quarter
 * of all rows apart, since four sequences of addresses are what the prefetch follows while they are summed (262144 x 64, dot
 * products: 4.9 ms; blocks of neighbouring rows: 5.8 ms).
 */
import { FAR } from "../../far";
import { STRIP, SUMS } from "../../kernel/columns/layout";
import { ACTIVATION, Pass } from "../../pass";

/** Narrower rows are laid side by side. */
// @ts-ignore: decorator
@inline const NARROW: usize = 64;

/** Values of a tile, where rows are short enough; a pass of half as many more is one tile. */
// @ts-ignore: decorator
@inline const TILE: usize = 65536;
/** Rows of a tile at least, near and far: fewer would be felt in the merging of their sums (8192 x 4096: 80 kB a tile). */
// @ts-ignore: decorator
@inline const LEAST: usize = 64;
// @ts-ignore: decorator
@inline const LEAST_FAR: usize = 128;

/**
 * Far rows up to so many bytes are summed a quarter apart. The sums of longer rows leave the first-level cache (8192 x 4096, moments:
 * 11.5 ms a quarter apart, 8.1 ms in order).
 */
// @ts-ignore: decorator
@inline const SHORT: usize = 4096;

/** Bytes of a minibatch that comes from memory: with dy and dx it is four times as much. */
// @ts-ignore: decorator
@inline export function isFar(bytes: usize, backward: bool): bool {
  return bytes >= (backward ? FAR / 4 : FAR / 3);
}

/** How ReLU is decided backward. */
export namespace EPILOGUE {
  // @ts-ignore: decorator
  @inline export const PLAIN: u32 = 0;
  /** Again, from x. */
  // @ts-ignore: decorator
  @inline export const RELU: u32 = 1;
  /** By bits that forward kept. */
  // @ts-ignore: decorator
  @inline export const RELU_BITS: u32 = 2;
}

/** A backward no longer knows the residual: it goes by bits, where there are any. */
export function gradientEpilogueOf(p: Pass): u32 {
  if (p.activation != ACTIVATION.RELU) return EPILOGUE.PLAIN;
  return p.bits ? EPILOGUE.RELU_BITS : EPILOGUE.RELU;
}

/** The cut of a pass: `plan` writes it into the record, all tiles read it. */
@unmanaged
export class Frame {
  /** Columns of the minibatch. */
  real: usize;
  /** Rows that lie side by side, and what they make: columns, rows, rows that are left. */
  copies: usize;
  columns: usize;
  rows: usize;
  rest: usize;
  /** Bytes of a plane: a float32 for each column. */
  plane: usize;
  /** Bytes of an example. */
  exampleBytes: usize;
  /** Tiles of an example (1: whole examples are tiles), rows of a tile, rows of a quarter (0: a tile is one block). */
  tiles: usize;
  tileRows: usize;
  quarter: usize;
  /** Whole examples of a tile. */
  examples: usize;
  /** Whether groups' values are spread over columns of their own. */
  staged: bool;

  /** Bytes of a row of the minibatch. */
  // @ts-ignore: decorator
  @inline get realStride(): usize {
    return this.real << 2;
  }
  /** Bytes of a row of those that lie side by side. */
  // @ts-ignore: decorator
  @inline get stride(): usize {
    return this.columns << 2;
  }
  // @ts-ignore: decorator
  @inline get strips(): usize {
    return this.columns / STRIP.COLUMNS;
  }
  /** Bytes of bits of a row, of one that is left, of an example. */
  // @ts-ignore: decorator
  @inline get bitStride(): usize {
    return (this.columns + 3) >> 2;
  }
  // @ts-ignore: decorator
  @inline get restBits(): usize {
    return (this.real + 3) >> 2;
  }
  // @ts-ignore: decorator
  @inline get exampleBits(): usize {
    return this.rows * this.bitStride + this.rest * this.restBits;
  }
  /** Bytes of a tile's sums. */
  // @ts-ignore: decorator
  @inline get slotBytes(): usize {
    return this.plane * 5;
  }
  /** Bytes of an example's block. */
  // @ts-ignore: decorator
  @inline get blockBytes(): usize {
    return this.plane * BLOCK.HEAD + BLOCK.HEAD_BYTES + BLOCK.MOVE;
  }
}

/** An example's block: planes. Float64 takes two, a strip's sums five. */
export namespace BLOCK {
  // @ts-ignore: decorator
  @inline export const SUMS: usize = 0;
  /** AFFINE planes forward, GRADIENT planes backward: pivots first. */
  // @ts-ignore: decorator
  @inline export const RECORD: usize = 5;
  /** Backward, the forward's AFFINE planes, where ReLU is decided again. */
  // @ts-ignore: decorator
  @inline export const AFFINE: usize = 12;
  /** A byte for each strip: whether it needs lanes. */
  // @ts-ignore: decorator
  @inline export const CAREFUL: usize = 18;
  // @ts-ignore: decorator
  @inline export const GAMMA: usize = 19;
  // @ts-ignore: decorator
  @inline export const BETA: usize = 20;
  // @ts-ignore: decorator
  @inline export const MEAN: usize = 21;
  // @ts-ignore: decorator
  @inline export const VARIANCE: usize = 23;
  // @ts-ignore: decorator
  @inline export const RSTD: usize = 25;
  // @ts-ignore: decorator
  @inline export const SUM1: usize = 27;
  // @ts-ignore: decorator
  @inline export const SUM2: usize = 29;
  /** dgamma and dbeta that no one asked for. */
  // @ts-ignore: decorator
  @inline export const DGAMMA: usize = 31;
  // @ts-ignore: decorator
  @inline export const DBETA: usize = 33;
  /** Room for one vector's second look. */
  // @ts-ignore: decorator
  @inline export const HEAD: usize = 35;
  // @ts-ignore: decorator
  @inline export const HEAD_BYTES: usize = 256;
  /** How far a block may be moved on, see `clearOf`. */
  // @ts-ignore: decorator
  @inline export const MOVE: usize = 2688;
}

// @ts-ignore: decorator
@inline export function frameOf(p: Pass): Frame {
  return changetype<Frame>(changetype<usize>(p) + offsetof<Pass>("frame"));
}

/**
 * Values of a plane: whole strips, and one more, so that planes of a power of two do not share their place in the first-level
 * cache (1568 x 2048, evaluation: 0.78 ms, 0.65), and what is written behind the last column meets nothing.
 */
// @ts-ignore: decorator
@inline export function padded(columns: usize): usize {
  return (columns + (2 * STRIP.COLUMNS - 1)) & ~(STRIP.COLUMNS - 1);
}

/**
 * Where a block begins: so that its records lie at `at`, or up to 2688 bytes on for long rows, whose coefficients take up to twice
 * as long to read where they lie less than 832 bytes behind x or y within a page, or 512 before (1568 x 2048, evaluation: 0.57 ms,
 * 1.14; 2048 x 1024, dx: 0.53, 1.10). Rows of 64 columns do not ask.
 */
export function clearOf(block: usize, plane: usize, x: usize, y: usize): usize {
  let at = block + BLOCK.RECORD * plane;
  for (let tries = plane >> 9; tries > 0; tries--) {
    if (((at - x + 512) & 4095) >= 1344 && ((at - y + 512) & 4095) >= 1344) break;
    at += 448;
    if (at - block - BLOCK.RECORD * plane > BLOCK.MOVE - 448) break;
  }
  return at - BLOCK.RECORD * plane;
}

function cut(p: Pass, f: Frame): void {
  const real = usize(p.groups) * p.width;
  let k: usize = 1;
  // Segments give rows a meaning of their own.
  if (!p.segments && real < NARROW && (real & (STRIP.COLUMNS - 1)) != 0) {
    k = STRIP.COLUMNS >> ctz(real);
    if (usize(p.rows) < 2 * k) k = 1;
  }
  f.copies = k;
  f.real = real;
  f.columns = real * k;
  f.rows = k == 1 ? usize(p.rows) : usize(p.rows) / k;
  f.rest = usize(p.rows) - f.rows * k;
  f.plane = padded(f.columns) << 2;
  f.exampleBytes = usize(p.rows) * f.realStride;
  f.staged = p.outer > 1 || p.width > 1 || k > 1;
  const columns = f.columns;
  const values = f.rows * columns;
  f.quarter = 0;
  f.examples = 1;
  f.tiles = 1;
  f.tileRows = f.rows;
  if (values <= TILE + (TILE >> 1) || f.rows < 2 * LEAST) {
    if (p.outer > 1) f.examples = min(max(TILE / max(values, 1), 1), p.outer);
  } else {
    let blocks = f.rows;
    const far = isFar(f.exampleBytes, true);
    if (far && !p.segments && f.strips != 0 && f.stride <= SHORT) {
      // One less than a quarter, as powers of two would share their place in the caches (a tenth).
      blocks = f.quarter = (f.rows >> 2) - 1;
      f.tileRows = max(TILE / 2 / columns, 16) & ~15;
    } else f.tileRows = max(TILE / columns, far ? LEAST_FAR : LEAST) & ~15;
    f.tiles = (blocks + f.tileRows - 1) / f.tileRows;
  }
}

/** Writes into a pass how it falls into tiles, by its shape alone, and how much room it needs. */
export function planColumns(p: Pass): void {
  const f = frameOf(p);
  cut(p, f);
  const split = f.tiles > 1;
  const tiles = split ? usize(p.outer) * f.tiles : (usize(p.outer) + f.examples - 1) / f.examples;
  p.forwardTiles = u32(tiles);
  p.forwardApplyTiles = split ? u32(tiles) : 0;
  p.backwardTiles = p.forwardTiles;
  p.backwardApplyTiles = p.forwardApplyTiles;
  p.tileRows = u32(f.tileRows * f.copies);
  p.tileGroups = u32(f.examples);
  p.tileApart = u32(f.quarter * f.stride);
  p.scratchBytes = split ? usize(p.outer) * f.blockBytes : 0;
  p.partialBytes = f.slotBytes * tiles;
  p.workspaceBytes = 2 * f.plane + (split ? 0 : f.blockBytes);
}
