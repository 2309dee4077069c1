/**
 * Normalization of each row of [outer, length], with a gamma and a beta for each position: layer norm and, about 0 instead of
 * the mean, RMS norm. A tile is a block of rows, and holds its statistics whole: the phases FORWARD and BACKWARD do all.
 *
 *   ├──────── row: sums, then written while it is in the first-level cache ────────┤
 *      │  │  │  │  │   backward, a position's own sums over GROUP rows
 *      ▼  ▼  ▼  ▼  ▼   stay in float32, then go to the tile's dgamma and dbeta, float64
 *
 * What a thread needs for a tile lies in its workspace:
 *
 *     0 ┌─────────────────────┐
 *       │ the row             │  kernel/row.ts
 *   192 │ two float64 sums    │
 *   256 │ GROUP rows' records │  mu, rstd, shift, whether they are in range
 *   512 ├─────────────────────┤
 *       │ sums for dgamma     │  float32, a value a position
 *       │ sums for dbeta      │
 *       │ a row of gradients  │  where no one else has room for them
 *       └─────────────────────┘
 */
import { Again, Kept, Open } from "../epilogues/backward";
import { Added, Plain } from "../epilogues/forward";
import { ROW, Row } from "../kernel/row";
import { addPositions, dots, flush, gradient } from "../kernel/rows-backward";
import { normalize, squaresOf, sumsOf } from "../kernel/rows-forward";
import { ACTIVATION, PHASE, Pass } from "../pass";
import {
  anyLarge, dotsStand, gradientInRange, inRange, leastDot, leastVariance, rowDots, rowGradient, rowMoments, rowNormalize, rowThroughRelu, stands,
} from "../range";
import { clear } from "../simd/lanes";
import { APPLY, EXACTLY, FROZEN, REDUCE, RMS } from "../steps";

/** Rows whose parameters' sums stay in float32: a sum passes 15 roundings. */
// @ts-ignore: decorator
@inline const GROUP: usize = 16;
/** Values of a tile, at least; and the tiles that a pass falls into at most, while they are no larger than twice that. */
// @ts-ignore: decorator
@inline const TILE: usize = 65536;
// @ts-ignore: decorator
@inline const TILES: usize = 32;
/** A tile has at least this many rows, since each costs a set of sums to merge. */
// @ts-ignore: decorator
@inline const ROWS: usize = 8;
/** Bytes of the rows whose statistics are taken together, as one's wait for divisions and a root is another's time to sum. */
// @ts-ignore: decorator
@inline const STATISTICS: usize = 8000;

/**
 * Bytes of rows that are short: all dot products of a group are taken before its gradients, so that one row's latencies are
 * another's time. 16 x 16, backward, Node 20: 0.56 us; row by row 0.56 to 1.4.
 */
// @ts-ignore: decorator
@inline const SHORT: usize = 128;

/** Byte offsets in the workspace. */
namespace WORK {
  // @ts-ignore: decorator
  @inline export const SUMS: usize = ROW.BYTES;
  // @ts-ignore: decorator
  @inline export const RECORDS: usize = 256;
  // @ts-ignore: decorator
  @inline export const PARAMETERS: usize = 512;
}

/** Bytes of a float32 row in whole vectors. */
// @ts-ignore: decorator
@inline function room(length: usize): usize {
  return (length * 4 + 15) & ~15;
}

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
export function beginRows(pass: Pass): void {
  const n = pass.length;
  store<u32>(pass.scratch, u32((pass.gamma != 0 && anyLarge(pass.gamma, n)) || (pass.beta != 0 && anyLarge(pass.beta, n))));
}

/** A row that has all that is the same for a pass's rows. */
function prepare(pass: Pass, work: usize): Row {
  const row = changetype<Row>(work);
  v128.store(work, f32x4.splat(1), ROW.ONES);
  v128.store(work, f32x4.splat(1), ROW.ONES + 16);
  v128.store(work, f32x4.splat(0), ROW.ZEROS);
  v128.store(work, f32x4.splat(0), ROW.ZEROS + 16);
  row.gamma = pass.gamma ? pass.gamma : work + ROW.ONES;
  row.beta = pass.beta ? pass.beta : work + ROW.ZEROS;
  row.gammaStep = pass.gamma ? ~0 : 0;
  row.betaStep = pass.beta ? ~0 : 0;
  row.bytes = pass.length << 2;
  return row;
}

/** What float32 needs of the row's statistics. */
// @ts-ignore: decorator
@inline function setStatistics(row: Row, mean: f64, rstd: f64): void {
  row.mu = f32(mean);
  row.rstd = f32(rstd);
  row.shift = f32((f64(row.mu) - mean) * rstd);
}

/** The mean of the first and the last four values: any pivot is correct, a near one exact at once. */
// @ts-ignore: decorator
@inline function pivotOf(x: usize, bytes: usize): f32 {
  const eighth = f32x4.splat(0.125);
  const v = f32x4.add(f32x4.mul(v128.load(x), eighth), f32x4.mul(v128.load(x + bytes - 16), eighth));
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/** Mean and variance of a block of rows. */
function statistics(pass: Pass, x: usize, rows: usize, first: usize, sums: usize): void {
  const rms = (pass.steps & RMS) != 0;
  const length = pass.length;
  const bytes = length << 2;
  const count = f64(length);
  const least = leastVariance(pass.eps);
  const fast = length >= 4 && !(pass.steps & EXACTLY);
  let mean = pass.mean + (first << 3);
  let variance = pass.variance + (first << 3);
  for (; rows > 0; rows--) {
    let fine: bool = false;
    if (fast) {
      if (rms) {
        const v = squaresOf(x, bytes) / count;
        fine = stands(v, v, least);
        store<f64>(mean, 0);
        store<f64>(variance, v);
      } else {
        const pivot = pivotOf(x, bytes);
        sumsOf(x, bytes, pivot, sums);
        // By a division: a product with 1 / count would not be exact where all values are the same.
        const m = load<f64>(sums) / count;
        const q = load<f64>(sums, 8) / count;
        const d = m - f64(pivot);
        const v = q - d * d;
        fine = stands(q, v, least);
        store<f64>(mean, m);
        store<f64>(variance, v);
      }
    }
    if (!fine) rowMoments(x, length, rms, mean, variance);
    x += bytes;
    mean += 8;
    variance += 8;
  }
}

/** `rstd = 1 / sqrt(variance + eps)`, two rows at a time. */
function rstdOf(variance: usize, rstd: usize, rows: usize, eps: f64): void {
  const one = f64x2.splat(1);
  const e = f64x2.splat(eps);
  for (; rows > 1; rows -= 2) {
    v128.store(rstd, f64x2.div(one, f64x2.sqrt(f64x2.add(v128.load(variance), e))));
    variance += 16;
    rstd += 16;
  }
  if (rows) store<f64>(rstd, 1 / sqrt(load<f64>(variance) + eps));
}

/** A tile of the forward pass. */
export function forwardRows(pass: Pass, index: u32, work: usize): void {
  const steps = pass.steps;
  const row = prepare(pass, work);
  const bytes = row.bytes;
  const bitBytes = (bytes + 15) >> 4;
  const relu = pass.activation == ACTIVATION.RELU;
  const keeps = relu && pass.residual != 0 && pass.bits != 0;
  const fast = bytes >= 16 && !load<u32>(pass.scratch);
  const batch = max<usize>(1, min<usize>(GROUP, STATISTICS / bytes));
  const stop = min<usize>(pass.outer, usize(index + 1) * pass.tileRows);
  row.floor = relu ? 0 : -Infinity;
  for (let first = usize(index) * pass.tileRows; first < stop; ) {
    const rows = min(stop - first, batch);
    if (steps & REDUCE) statistics(pass, pass.x + first * bytes, rows, first, work + WORK.SUMS);
    rstdOf(pass.variance + (first << 3), pass.rstd + (first << 3), rows, pass.eps);
    const end = first + rows;
    for (; first < end; first++) {
      if (!(steps & APPLY)) continue;
      const mean = load<f64>(pass.mean + (first << 3));
      const rstd = load<f64>(pass.rstd + (first << 3));
      const at = first * bytes;
      row.x = pass.x + at;
      row.y = pass.y + at;
      row.residual = pass.residual ? pass.residual + at : 0;
      row.bits = keeps ? pass.bits + first * bitBytes : 0;
      setStatistics(row, mean, rstd);
      if (!fast || !inRange(mean, rstd)) rowNormalize(row, mean, rstd, relu);
      else if (pass.residual) normalize<Added>(row);
      else normalize<Plain>(row);
    }
  }
}

/** The row's operands in backward. */
// @ts-ignore: decorator
@inline function moveTo(pass: Pass, row: Row, i: usize, masked: bool, spare: usize): void {
  const at = i * row.bytes;
  row.x = pass.x + at;
  row.dy = pass.dy + at;
  row.dx = pass.dx + at;
  row.bits = pass.bits ? pass.bits + i * ((row.bytes + 15) >> 4) : 0;
  if (!masked) row.g = row.dy;
  else if (pass.dresidual) row.g = pass.dresidual + at;
  else row.g = spare ? spare : row.dx;
}

/** dx of a row from its two sums; `inverse` is 1 / length. */
function gradientOf(pass: Pass, row: Row, i: usize, ordinary: bool, inverse: f64): void {
  const mean = load<f64>(pass.mean + (i << 3));
  const rstd = load<f64>(pass.rstd + (i << 3));
  let mean1: f64 = 0;
  let mean2: f64 = 0;
  if (!(pass.steps & FROZEN)) {
    if (!(pass.steps & RMS)) mean1 = load<f64>(pass.sum1 + (i << 3)) * inverse;
    mean2 = load<f64>(pass.sum2 + (i << 3)) * inverse;
  }
  const q = -mean2 * rstd * rstd;
  if (ordinary && gradientInRange(mean1, mean2, q)) {
    row.mu = f32(mean);
    row.p = f32(rstd);
    row.q = f32(q);
    row.r = f32(-mean1 * rstd - q * (mean - f64(row.mu)));
    gradient(row);
  } else rowGradient(row, mean, rstd, mean1, mean2);
}

/** Adds what `flush` left of a group of rows, in float64. */
function addRest(pass: Pass, row: Row, first: usize, rows: usize, work: usize, dgamma: usize, dbeta: usize): void {
  for (let at: usize = 0; at < row.bytes; at += 16) {
    if (!v128.any_true(v128.or(v128.load(row.dgamma + at), v128.load(row.dbeta + at)))) continue;
    v128.store(row.dgamma + at, f32x4.splat(0));
    v128.store(row.dbeta + at, f32x4.splat(0));
    for (let i: usize = 0; i < rows; i++) {
      const record = work + WORK.RECORDS + (i << 4);
      if (!load<u32>(record, 12)) continue;
      moveTo(pass, row, first + i, false, 0);
      row.mu = load<f32>(record);
      row.rstd = load<f32>(record, 4);
      row.shift = load<f32>(record, 8);
      addPositions(pass.activation == ACTIVATION.RELU, row, at, dgamma, dbeta);
    }
  }
}

/**
 * A tile of the backward pass, whose dgamma and dbeta it sets at `partial`. In place, a group's dx is written after its
 * parameters' sums were judged, as that may take dy again.
 */
export function backwardRows(pass: Pass, index: u32, work: usize, partial: usize): void {
  const steps = pass.steps;
  const row = prepare(pass, work);
  const bytes = row.bytes;
  const size = room(pass.length);
  const relu = pass.activation == ACTIVATION.RELU;
  const kept = relu && pass.bits != 0;
  const fast = bytes >= 16 && !load<u32>(pass.scratch);
  const late = pass.dx == pass.dy || bytes <= SHORT;
  const inverse = 1 / f64(pass.length);
  const least = leastDot(pass.length);
  const spare: usize = steps & APPLY ? 0 : work + WORK.PARAMETERS + 2 * size;
  const stop = min<usize>(pass.outer, usize(index + 1) * pass.tileRows);
  const dgamma = partial;
  const dbeta = partial + 2 * size;
  row.dgamma = work + WORK.PARAMETERS;
  row.dbeta = row.dgamma + size;
  row.residual = 0;
    clear(row.dgamma, 2 * size);
  if (steps & REDUCE) clear(partial, 4 * size);
  for (let first = usize(index) * pass.tileRows; first < stop; first += GROUP) {
    const rows = min(stop - first, GROUP);
    for (let i: usize = 0; i < rows; i++) {
      const at = (first + i) << 3;
      const mean = load<f64>(pass.mean + at);
      const rstd = load<f64>(pass.rstd + at);
      const record = work + WORK.RECORDS + (i << 4);
      const ordinary = fast && inRange(mean, rstd);
      moveTo(pass, row, first + i, relu, spare);
      setStatistics(row, mean, rstd);
      store<f32>(record, row.mu);
      store<f32>(record, row.rstd, 4);
      store<f32>(record, row.shift, 8);
      store<u32>(record, u32(ordinary), 12);
      if (ordinary) {
        if (kept) dots<Kept>(row);
        else if (relu) dots<Again>(row);
        else if (steps & REDUCE) dots<Open>(row);
        if (steps & REDUCE && !dotsStand(row.sum1, row.sum2, least)) rowDots(row, row.g, mean, rstd, 0, 0);
      } else {
        if (relu) rowThroughRelu(row, mean, rstd, kept);
        if (steps & REDUCE) rowDots(row, row.g, mean, rstd, dgamma, dbeta);
      }
      if (steps & REDUCE) {
        store<f64>(pass.sum1 + at, row.sum1);
        store<f64>(pass.sum2 + at, row.sum2);
      }
      if (steps & APPLY && !late) gradientOf(pass, row, first + i, ordinary, inverse);
    }
    if (steps & REDUCE && flush(row.dgamma, row.dbeta, size, dgamma, dbeta)) addRest(pass, row, first, rows, work, dgamma, dbeta);
    if (steps & APPLY && late) {
      for (let i: usize = 0; i < rows; i++) {
        moveTo(pass, row, first + i, relu, spare);
        gradientOf(pass, row, first + i, load<u32>(work + WORK.RECORDS + (i << 4), 12) != 0, inverse);
      }
    }
  }
}

/** Where a tile's dgamma and dbeta lie. */
// @ts-ignore: decorator
@inline export function partialOf(pass: Pass, index: u32): usize {
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
export function mergeRows(pass: Pass, index: u32, partial: usize): void {
  merge(pass.dgamma, partial, pass.length, index == 0);
  merge(pass.dbeta, partial + 2 * room(pass.length), pass.length, index == 0);
}

/** After a phase's tiles. */
export function finishRows(pass: Pass, phase: u32): void {
  if (phase != PHASE.BACKWARD || !(pass.steps & REDUCE)) return;
  for (let i: u32 = 0; i < pass.backwardTiles; i++) mergeRows(pass, i, partialOf(pass, i));
}

/** The forward pass, whole. */
export function forwardAllRows(pass: Pass): void {
  beginRows(pass);
  for (let i: u32 = 0; i < pass.forwardTiles; i++) forwardRows(pass, i, pass.workspace);
}

/** The backward pass, whole; all tiles' sums take the first tile's room in turn. */
export function backwardAllRows(pass: Pass): void {
  beginRows(pass);
  for (let i: u32 = 0; i < pass.backwardTiles; i++) {
    backwardRows(pass, i, pass.workspace, pass.partials);
    if (pass.steps & REDUCE) mergeRows(pass, i, pass.partials);
  }
}
