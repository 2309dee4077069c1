/**
 * Normalization of each row of [outer, length], with a gamma and a beta for each position: layer norm and, about 0 instead of
 * the mean, RMS norm. A tile is a block of rows, and holds its statistics whole: the phases FORWARD and BACKWARD do all.
 *
 *   ├──────── row: sums, then written while it is in the first-level cache ────────┤
 *      │  │  │  │  │   backward, a position's own sums over GROUP rows
 *      ▼  ▼  ▼  ▼  ▼   stay in float32, then go to the tile's dgamma and dbeta, float64
 */
import { PHASE, Pass } from "../pass";
import { anyLarge } from "../range";
import { REDUCE } from "../steps";
import { backwardRows } from "./rows/backward";
import { forwardRows } from "./rows/forward";
import { GROUP, room, WORK } from "./rows/frame";

/** Values of a tile, at least; and the tiles that a pass falls into at most, while they are no larger than twice that. */
// @ts-ignore: decorator
@inline const TILE: usize = 65536;
// @ts-ignore: decorator
@inline const TILES: usize = 32;
/** A tile has at least this many rows, since each costs a set of sums to merge. */
// @ts-ignore: decorator
@inline const ROWS: usize = 8;

/** See `plan`. */
export function planRows(pass: Pass): void {
  const length: usize = max<usize>(1, pass.length);
  const rows: usize = pass.outer;
  const values = min<usize>(2 * TILE, max<usize>(TILE, (rows * length) / TILES));
  const wanted = max<usize>(ROWS, values / length);
  const tileRows = wanted > GROUP ? wanted & ~(GROUP - 1) : wanted;
  const tiles = max<u32>(1, u32((rows + tileRows - 1) / tileRows));
  pass.tileRows = u32(tileRows);
  pass.tileGroups = 1;
  pass.tileApart = 0;
  pass.forwardTiles = tiles;
  pass.forwardApplyTiles = 0;
  pass.backwardTiles = tiles;
  pass.backwardApplyTiles = 0;
  pass.scratchBytes = 64;
  pass.partialBytes = usize(tiles) * 4 * room(length);
  pass.workspaceBytes = (WORK.PARAMETERS + 3 * room(length) + 63) & ~63;
}

/** Notes in the scratch whether gamma or beta is so large that rows take the careful way. */
export function rowsBegin(pass: Pass): void {
  const n = pass.length;
  store<u32>(pass.scratch, u32((pass.gamma != 0 && anyLarge(pass.gamma, n)) || (pass.beta != 0 && anyLarge(pass.beta, n))));
}

/** Where a tile's dgamma and dbeta lie. */
// @ts-ignore: decorator
@inline function partialOf(pass: Pass, index: u32): usize {
  return pass.partials + usize(index) * 4 * room(pass.length);
}

/** `to = sums`, or `to += sums`, of `n` float64. */
function merge(to: usize, sums: usize, n: usize, set: bool): void {
  const end = to + (n << 3);
  const rest = n & 1;
  if (set) {
    memory.copy(to, sums, n << 3);
    return;
  }
  for (const whole = end - (rest << 3); to < whole; to += 16) {
    v128.store(to, f64x2.add(v128.load(to), v128.load(sums)));
    sums += 16;
  }
  if (rest) store<f64>(to, load<f64>(to) + load<f64>(sums));
}

/** Adds a tile's dgamma and dbeta to the pass's; tile 0's are where they begin. */
function mergeRows(pass: Pass, index: u32, partial: usize): void {
  merge(pass.dgamma, partial, pass.length, index == 0);
  merge(pass.dbeta, partial + 2 * room(pass.length), pass.length, index == 0);
}

/** One tile of a phase, in `worker`'s part of the workspace. */
export function rowsTile(pass: Pass, phase: u32, index: u32, worker: u32): void {
  const work = pass.workspace + usize(worker) * pass.workspaceStride;
  if (phase == PHASE.FORWARD) forwardRows(pass, index, work);
  else backwardRows(pass, index, work, partialOf(pass, index));
}

/** After a phase's tiles. */
export function rowsFinish(pass: Pass, phase: u32): void {
  if (phase != PHASE.BACKWARD || !(pass.steps & REDUCE)) return;
  for (let i: u32 = 0; i < pass.backwardTiles; i++) mergeRows(pass, i, partialOf(pass, i));
}

/** The whole of a pass in one direction, on one thread; all tiles' sums take the first tile's room in turn. */
export function rowsPass(pass: Pass, backward: bool): void {
  rowsBegin(pass);
  for (let i: u32 = 0; i < pass.forwardTiles; i++) {
    if (!backward) forwardRows(pass, i, pass.workspace);
    else {
      backwardRows(pass, i, pass.workspace, pass.partials);
      if (pass.steps & REDUCE) mergeRows(pass, i, pass.partials);
    }
  }
}
