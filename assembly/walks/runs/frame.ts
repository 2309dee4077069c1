/**
 * How a pass along runs is cut. [outer, rows, groups, width, length] has a statistic for each group (over rows, width and length)
 * and gamma and beta for each of groups * width channels. Groups know nothing of each other: a tile is some of them, of one
 * example, or some whole examples, and does all that the pass does.
 *
 *   example 0   row 0  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤     a group's runs (width * length values) lie a row apart
 *               row 1  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤
 */
import { Pass } from "../../pass";
import { padded } from "../columns/frame";

/** Values of a tile, where groups are small enough. */
// @ts-ignore: decorator
@inline const TILE: usize = 65536;

/** The cut of a pass: `plan` writes it into the record, all tiles read it. */
@unmanaged
export class Frame {
  /** Values of a group's run, of a row, of an example. */
  run: usize;
  stride: usize;
  exampleValues: usize;
  /** Bytes of bits of a channel, of a row, of an example. */
  channelBits: usize;
  rowBits: usize;
  exampleBits: usize;
  /** Groups of a tile, whole examples of a tile, tiles of an example (1 where a tile has whole examples). */
  groups: usize;
  examples: usize;
  tiles: usize;
  /** Bytes of a plane, a float32 for each channel of a batch; of a tile's dgamma, and as many of its dbeta. */
  plane: usize;
  slotHalf: usize;
}

// @ts-ignore: decorator
@inline export function frameOf(p: Pass): Frame {
  return changetype<Frame>(changetype<usize>(p) + offsetof<Pass>("frame"));
}

/** A batch's block, in a worker's workspace: planes. Float64 takes two, a strip's sums five. */
export namespace BLOCK {
  /** AFFINE planes forward, GRADIENT planes backward. */
  // @ts-ignore: decorator
  @inline export const RECORD: usize = 0;
  /** Backward, the forward's AFFINE planes, where ReLU is decided again. */
  // @ts-ignore: decorator
  @inline export const AFFINE: usize = 7;
  /** A byte for every sixteen channels: whether any needs scales. */
  // @ts-ignore: decorator
  @inline export const SCALED: usize = 13;
  // @ts-ignore: decorator
  @inline export const MEAN: usize = 14;
  // @ts-ignore: decorator
  @inline export const RSTD: usize = 16;
  // @ts-ignore: decorator
  @inline export const SUM1: usize = 18;
  // @ts-ignore: decorator
  @inline export const SUM2: usize = 20;
  // @ts-ignore: decorator
  @inline export const SUMS: usize = 22;
  /** dgamma and dbeta that no one asked for. */
  // @ts-ignore: decorator
  @inline export const DGAMMA: usize = 27;
  // @ts-ignore: decorator
  @inline export const DBETA: usize = 29;
  // @ts-ignore: decorator
  @inline export const PLANES: usize = 31;
  /** Bytes before the planes: one byte of bits. */
  // @ts-ignore: decorator
  @inline export const HEAD: usize = 16;
}

/** Values that are taken together: of one row, and of many. */
// @ts-ignore: decorator
@inline const BATCH: usize = 2048;
// @ts-ignore: decorator
@inline const PANEL: usize = 2 << 20;

/**
 * How many adjacent groups are taken together: all of them where a group's runs lie apart, so that memory is read in the order of
 * addresses (32 x 1024 x 14 x 14, channel by channel: 6.9 ms forward, 2.6 so; backward 6.7, 3.5); else what stays in the
 * first-level cache for the second pass. Of long runs in few rows that no cache holds, what stays in the third-level cache: it
 * still comes in long stretches (32 x 64 x 112 x 112: 12.0 ms forward and 17.2 backward by all groups, 11.3 and 15.6 so; but 32 x
 * 2048 x 14 x 14, forward: 6.0, 6.7; 128 x 64 x 56 x 56: 10.8 and 15.5, 12.7 and 21). Backward has twice the values.
 */
export function batchOf(p: Pass, f: Frame, groups: usize, backward: bool): usize {
  const rows: usize = p.rows;
  const run = backward ? f.run << 1 : f.run;
  const values = rows * run;
  const most: usize = rows == 1 ? BATCH : run >= 512 && rows <= 48 && values * usize(p.groups) > 4 * PANEL ? PANEL : -1;
  return max(1, min(groups, most / values));
}

/** Writes into a pass how it falls into tiles, and how much room it needs. */
export function planRuns(p: Pass): void {
  const f = frameOf(p);
  const groups: usize = p.groups;
  const outer: usize = p.outer;
  f.run = usize(p.width) * p.length;
  f.stride = groups * f.run;
  f.exampleValues = usize(p.rows) * f.stride;
  f.channelBits = (usize(p.length) + 3) >> 2;
  f.rowBits = groups * p.width * f.channelBits;
  f.exampleBits = f.rowBits * p.rows;
  f.groups = groups;
  f.examples = 1;
  if (f.exampleValues <= TILE + (TILE >> 1)) f.examples = max(min(TILE / max(f.exampleValues, 1), outer), 1);
  else f.groups = max(min(TILE / (usize(p.rows) * f.run), groups), 1);
  f.tiles = (groups + f.groups - 1) / max(f.groups, 1);
  const tiles = f.examples > 1 ? (outer + f.examples - 1) / f.examples : outer * f.tiles;
  f.plane = padded(batchOf(p, f, groups, false) * p.width) << 2;
  f.slotHalf = outer > 1 ? (f.groups * p.width) << 3 : 0;
  p.forwardTiles = u32(tiles);
  p.forwardApplyTiles = 0;
  p.backwardTiles = u32(tiles);
  p.backwardApplyTiles = 0;
  p.tileRows = u32(f.examples);
  p.tileGroups = u32(f.groups);
  p.tileApart = 0;
  p.scratchBytes = 0;
  p.partialBytes = 2 * f.slotHalf * tiles;
  p.workspaceBytes = BLOCK.HEAD + BLOCK.PLANES * f.plane;
}

/** Whether any of a channel's coefficients makes it need scales, where one of its sixteen does. */
// @ts-ignore: decorator
@inline export function needsScales(flags: usize, c: usize, record: usize, plane: usize, from: usize, to: usize): bool {
  return load<u8>(flags + (c >> 4)) != 0 && anyScale(record, plane, from, to);
}

/** Whether any of planes [from, to) of a record is neither 1 nor, as a low half of the mean is, 0. */
function anyScale(record: usize, plane: usize, from: usize, to: usize): bool {
  for (let i = from; i < to; i++) {
    const value = load<f32>(record + i * plane);
    if (value != 1 && value != 0) return true;
  }
  return false;
}
