/**
 * Normalization of [outer, rows, groups, width, length]: batch norm channels-first is outer = 1, width = 1; instance norm has an
 * outer for each example; group norm a width of channels / groups. runs/frame.ts has how it is cut. `segments` is 0, or pairs
 * [from, to) of positions row * length + i, none across a row, that take part.
 */
import { Pass } from "../pass";
import { clearDoubles } from "../simd/lanes";
import { REDUCE } from "../steps";
import { backwardGroups } from "./runs/backward";
import { forwardGroups } from "./runs/forward";
import { Frame, frameOf } from "./runs/frame";

/** Adds dgamma and dbeta of channels from `first` on. */
function addGradients(p: Pass, f: Frame, first: usize, channels: usize, slot: usize): void {
  for (let c: usize = 0; c < channels; c++) {
    const from = slot + (c << 3);
    const to = (first + c) << 3;
    if (p.dgamma) store<f64>(p.dgamma + to, load<f64>(p.dgamma + to) + load<f64>(from));
    if (p.dbeta) store<f64>(p.dbeta + to, load<f64>(p.dbeta + to) + load<f64>(from + f.slotHalf));
  }
}

function clearGradients(p: Pass): void {
  const n = usize(p.groups) * p.width;
  if (p.dgamma) clearDoubles(p.dgamma, n);
  if (p.dbeta) clearDoubles(p.dbeta, n);
}

/** Groups [from, to) of examples of tile `i`. Where there are more examples, dgamma and dbeta go to the tile's slot. */
function runTile(p: Pass, f: Frame, backward: bool, i: usize, workspace: usize, slot: usize): void {
  let e = f.examples > 1 ? i * f.examples : i / f.tiles;
  const end = min(e + f.examples, usize(p.outer));
  const from: usize = f.examples > 1 ? 0 : (i % f.tiles) * f.groups;
  const to = min(from + f.groups, usize(p.groups));
  if (!backward) {
    for (; e < end; e++) forwardGroups(p, f, e, from, to, workspace);
    return;
  }
  const own = p.outer > 1;
  if (own) clearDoubles(slot, f.slotHalf >> 2);
  const at = (from * p.width) << 3;
  if (!own && p.steps & REDUCE) {
    // By the tile itself, so that it may be run again.
    if (p.dgamma) clearDoubles(p.dgamma + at, (to - from) * p.width);
    if (p.dbeta) clearDoubles(p.dbeta + at, (to - from) * p.width);
  }
  const dgamma = own ? slot : p.dgamma ? p.dgamma + at : 0;
  const dbeta = own ? slot + f.slotHalf : p.dbeta ? p.dbeta + at : 0;
  for (; e < end; e++) backwardGroups(p, f, e, from, to, workspace, dgamma, dbeta);
}

/** Adds a tile's dgamma and dbeta, where it has its own. */
function mergeTile(p: Pass, f: Frame, i: usize, slot: usize): void {
  if (p.outer <= 1 || !(p.steps & REDUCE)) return;
  const from: usize = f.examples > 1 ? 0 : (i % f.tiles) * f.groups;
  addGradients(p, f, from * p.width, min(f.groups, usize(p.groups) - from) * p.width, slot);
}

/** The whole of a pass in one direction, on one thread: the bits of its tiles in any order. */
export function runsPass(p: Pass, backward: bool): void {
  const f = frameOf(p);
  if (backward && p.steps & REDUCE) clearGradients(p);
  if (p.outer == 1) {
    // Groups do not know of each other: all are taken in the order that memory likes.
    if (backward) backwardGroups(p, f, 0, 0, p.groups, p.workspace, p.dgamma, p.dbeta);
    else forwardGroups(p, f, 0, 0, p.groups, p.workspace);
    return;
  }
  for (let i: usize = 0; i < p.forwardTiles; i++) {
    runTile(p, f, backward, i, p.workspace, p.partials);
    if (backward) mergeTile(p, f, i, p.partials);
  }
}

/** Before a phase's tiles. */
export function runsBegin(p: Pass, backward: bool): void {
  if (backward && p.steps & REDUCE && p.outer > 1) clearGradients(p);
}

/** One tile, by any thread. */
export function runsTile(p: Pass, backward: bool, index: u32, worker: u32): void {
  const f = frameOf(p);
  runTile(
    p, f, backward, index, p.workspace + usize(worker) * p.workspaceStride, p.partials + usize(index) * 2 * f.slotHalf,
  );
}

/** After a phase's tiles: their sums, added up in the order of tiles. */
export function runsFinish(p: Pass, backward: bool): void {
  const f = frameOf(p);
  for (let i: usize = 0; backward && i < p.backwardTiles; i++) mergeTile(p, f, i, p.partials + i * 2 * f.slotHalf);
}
