/**
 * Normalization down the columns of [outer, rows, groups * width]: a statistic for each of `groups` groups of `width`
 * adjacent columns, gamma and beta for each column. Batch norm is outer = 1, width = 1; instance norm channels-last
 * has an outer for each example; group norm channels-last a width of channels / groups.
 *
 * A small example goes through its pass in one tile, whose block lies in the worker's workspace. A large one takes two phases:
 * tiles' sums go to slots of their own, are merged in the order of tiles, and its block lies in the scratch, for all tiles to read.
 * Arrays with a value for each group or column have room for the next multiple of 16 values; what lies there is free to change
 * where there is one example.
 */
import { Pass, PHASE } from "../pass";
import { clear, clearDoubles } from "../simd/lanes";
import { APPLY, REDUCE } from "../steps";
import {
  backwardBlock, finishBackward, gradientCoefficients, startBackward, sumBackward, writeBackward,
} from "./columns/backward";
import {
  affineCoefficients, finishForward, forwardBlock, startForward, sumForward, writeForward,
} from "./columns/forward";
import { BLOCK, Frame, frameOf } from "./columns/frame";
import { addSlot } from "./columns/sums";

/** Where example `e` of a split pass has its block. */
// @ts-ignore: decorator
@inline function blockOf(p: Pass, f: Frame, e: usize): usize {
  return p.scratch + e * f.blockBytes;
}

// @ts-ignore: decorator
@inline function isBackward(phase: u32): bool {
  return phase >= PHASE.BACKWARD;
}

function start(p: Pass, f: Frame, backward: bool, e: usize, at: usize): void {
  if (backward) startBackward(p, f, e, backwardBlock(p, f, at));
  else if (p.steps & REDUCE) startForward(p, f, e, forwardBlock(p, f, at));
}

/** Statistics or sums of an example from its block's sums. */
function settle(p: Pass, f: Frame, backward: bool, e: usize, at: usize, dgamma: usize, dbeta: usize): void {
  if (!backward) finishForward(p, f, e, forwardBlock(p, f, at));
  else if (p.steps & REDUCE) finishBackward(p, f, e, backwardBlock(p, f, at), dgamma, dbeta);
}

function coefficients(p: Pass, f: Frame, backward: bool, e: usize, at: usize): void {
  if (backward) gradientCoefficients(p, f, e, backwardBlock(p, f, at));
  else {
    const block = forwardBlock(p, f, at);
    affineCoefficients(p, f, e, block, block + BLOCK.RECORD * f.plane, block + BLOCK.CAREFUL * f.plane);
  }
}

function write(p: Pass, f: Frame, backward: bool, e: usize, at: usize, from: usize, to: usize, rest: bool): void {
  if (backward) writeBackward(p, f, e, backwardBlock(p, f, at), from, to, rest);
  else writeForward(p, f, e, forwardBlock(p, f, at), from, to, rest);
}

/** A tile of whole examples: all that the pass does. */
function wholeTile(p: Pass, f: Frame, backward: bool, i: usize, workspace: usize, dgamma: usize, dbeta: usize): void {
  const end = min((i + 1) * f.examples, usize(p.outer));
  const at = workspace + (f.plane << 1);
  for (let e = i * f.examples; e < end; e++) {
    start(p, f, backward, e, at);
    if (p.steps & REDUCE) {
      if (backward) {
        const block = backwardBlock(p, f, at);
        sumBackward(p, f, e, 0, block, block + BLOCK.SUMS * f.plane);
      } else {
        const block = forwardBlock(p, f, at);
        sumForward(p, f, e, 0, block, workspace, block + BLOCK.SUMS * f.plane);
      }
    }
    settle(p, f, backward, e, at, dgamma, dbeta);
    if (!(p.steps & APPLY)) continue;
    coefficients(p, f, backward, e, at);
    write(p, f, backward, e, at, 0, f.rows, true);
  }
}

/** The sums of tile `i` of example `e` of a split pass, in a slot of their own. */
function sumTile(p: Pass, f: Frame, backward: bool, e: usize, i: usize, at: usize, workspace: usize, slot: usize): void {
  clear(slot, f.slotBytes);
  if (backward) sumBackward(p, f, e, i, backwardBlock(p, f, at), slot);
  else sumForward(p, f, e, i, forwardBlock(p, f, at), workspace, slot);
}

function merge(p: Pass, f: Frame, backward: bool, at: usize, slot: usize): void {
  const block = backward ? backwardBlock(p, f, at) : forwardBlock(p, f, at);
  addSlot(block + BLOCK.SUMS * f.plane, slot, f.columns);
}

/** Sets dgamma and dbeta to zero. */
function clearGradients(p: Pass, f: Frame): void {
  if (p.dgamma) clearDoubles(p.dgamma, f.real);
  if (p.dbeta) clearDoubles(p.dbeta, f.real);
}

/** Adds a tile's dgamma and dbeta to the pass's. */
function addGradients(p: Pass, f: Frame, slot: usize): void {
  for (let c: usize = 0; c < f.real; c++) {
    const at = c << 3;
    if (p.dgamma) store<f64>(p.dgamma + at, load<f64>(p.dgamma + at) + load<f64>(slot + at));
    if (p.dbeta) store<f64>(p.dbeta + at, load<f64>(p.dbeta + at) + load<f64>(slot + at + (f.plane << 1)));
  }
}

/** The whole of a pass in one direction, on one thread: the bits of its tiles in any order. */
export function columnsPass(p: Pass, backward: bool): void {
  const f = frameOf(p);
  const reduce = (p.steps & REDUCE) != 0;
  if (backward && reduce) clearGradients(p, f);
  const slot = p.partials;
  if (f.tiles == 1) {
    const tiles = (usize(p.outer) + f.examples - 1) / f.examples;
    if (tiles == 1) {
      wholeTile(p, f, backward, 0, p.workspace, p.dgamma, p.dbeta);
      return;
    }
    for (let i: usize = 0; i < tiles; i++) {
      if (backward) clear(slot, f.plane << 2);
      wholeTile(p, f, backward, i, p.workspace, slot, slot + (f.plane << 1));
      if (backward && reduce) addGradients(p, f, slot);
    }
    return;
  }
  const at = p.scratch;
  for (let e: usize = 0; e < p.outer; e++) {
    start(p, f, backward, e, at);
    for (let i: usize = 0; reduce && i < f.tiles; i++) {
      sumTile(p, f, backward, e, i, at, p.workspace, slot);
      merge(p, f, backward, at, slot);
    }
    settle(p, f, backward, e, at, p.dgamma, p.dbeta);
    if (!(p.steps & APPLY)) continue;
    coefficients(p, f, backward, e, at);
    write(p, f, backward, e, at, 0, f.rows, true);
  }
}

/** Whether a split pass's steps ask for a phase: the others' tiles do nothing. */
function isAsked(p: Pass, phase: u32): bool {
  return (p.steps & (phase == PHASE.FORWARD || phase == PHASE.BACKWARD ? REDUCE : APPLY)) != 0;
}

/** Before a phase's tiles: what all of them share. */
export function columnsBegin(p: Pass, phase: u32): void {
  const f = frameOf(p);
  const backward = isBackward(phase);
  const reduce = (p.steps & REDUCE) != 0;
  if (phase == PHASE.BACKWARD && reduce) clearGradients(p, f);
  if (f.tiles == 1 || !isAsked(p, phase)) return;
  for (let e: usize = 0; e < p.outer; e++) {
    const at = blockOf(p, f, e);
    if (phase == PHASE.FORWARD || phase == PHASE.BACKWARD) start(p, f, backward, e, at);
    else {
      if (!reduce) {
        start(p, f, backward, e, at);
        settle(p, f, backward, e, at, 0, 0);
      }
      coefficients(p, f, backward, e, at);
    }
  }
}

/** One tile of a phase, by any thread. */
export function columnsTile(p: Pass, phase: u32, index: u32, worker: u32): void {
  const f = frameOf(p);
  const backward = isBackward(phase);
  const workspace = p.workspace + usize(worker) * p.workspaceStride;
  const slot = p.partials + usize(index) * f.slotBytes;
  if (f.tiles == 1) {
    const one = usize(p.outer) <= f.examples;
    if (backward && !one) clear(slot, f.plane << 2);
    wholeTile(p, f, backward, index, workspace, one ? p.dgamma : slot, one ? p.dbeta : slot + (f.plane << 1));
    return;
  }
  if (!isAsked(p, phase)) return;
  const e = usize(index) / f.tiles;
  const i = usize(index) % f.tiles;
  const at = blockOf(p, f, e);
  if (phase == PHASE.FORWARD || phase == PHASE.BACKWARD) {
    sumTile(p, f, backward, e, i, at, workspace, slot);
    return;
  }
  const last = i + 1 == f.tiles;
  const from = i * f.tileRows;
  if (!f.quarter) {
    write(p, f, backward, e, at, from, min(from + f.tileRows, f.rows), last);
    return;
  }
  const to = min(from + f.tileRows, f.quarter);
  for (let b: usize = 0; b < 4; b++) write(p, f, backward, e, at, from + b * f.quarter, to + b * f.quarter, false);
  if (last) write(p, f, backward, e, at, f.quarter << 2, f.rows, true);
}

/** After a phase's tiles: their sums, added up in the order of tiles. */
export function columnsFinish(p: Pass, phase: u32): void {
  const f = frameOf(p);
  const backward = isBackward(phase);
  if ((phase != PHASE.FORWARD && phase != PHASE.BACKWARD) || !(p.steps & REDUCE)) return;
  let slot = p.partials;
  if (f.tiles == 1) {
    if (!backward || usize(p.outer) <= f.examples) return;
    for (let e: usize = 0; e < p.outer; e += f.examples) {
      addGradients(p, f, slot);
      slot += f.slotBytes;
    }
    return;
  }
  for (let e: usize = 0; e < p.outer; e++) {
    const at = blockOf(p, f, e);
    for (let i: usize = 0; i < f.tiles; i++) {
      merge(p, f, backward, at, slot);
      slot += f.slotBytes;
    }
    settle(p, f, backward, e, at, p.dgamma, p.dbeta);
  }
}
