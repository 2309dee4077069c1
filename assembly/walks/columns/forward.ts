/** The forward pass down columns: an example's pivots, sums, statistics and coefficients, and y. */
import { affineOf, rstdOf } from "../../coefficients/affine";
import { BLOCK, clearOf, Frame, isFar } from "./frame";
import { ACTIVATION, Pass } from "../../pass";
import { EXACTLY, REDUCE, RMS } from "../../steps";
import { clear } from "../../simd/lanes";
import { addMoments, addMomentsApart, foldCopies, repeat, spread } from "./sums";
import { applyAffine } from "./apply";
import { finishMoments, mergeColumns, pivots } from "./statistics";
import { clipped, firstSegment } from "./segments";

/**
 * Up to so many rows, means are taken in float64 from the start, as most would need a second look in backward, see `sharpenDots`
 * (calls of 16 x 64: 1.22 us forward and 1.27 backward, 1.06 and 1.50 by strips; 32 x 64: 1.65 and 1.35, 1.23 and 1.70).
 */
// @ts-ignore: decorator
@inline const EXACT: usize = 16;

/** Whether the means of so many rows are left rounded. */
// @ts-ignore: decorator
@inline export function areRounded(rows: usize): bool {
  return rows > EXACT;
}

/** The block of an example, where `at` is room for it: its place depends on where x and y lie. */
export function forwardBlock(p: Pass, f: Frame, at: usize): usize {
  return clearOf(at, f.plane, p.x, p.y);
}

/** Sets the pivots of an example, and its sums to zero. */
export function startForward(p: Pass, f: Frame, e: usize, block: usize): void {
  const first = p.segments ? load<usize>(p.segments) : 0;
  const span = p.segments ? load<usize>(p.segments, 4) - first : p.rows;
  const to = block + BLOCK.RECORD * f.plane;
  const x = p.x + e * f.exampleBytes + first * f.realStride;
  if (p.steps & RMS) clear(to, f.plane);
  else {
    pivots(x, span, f.realStride, f.real, to);
    if (f.copies > 1) repeat(to, f.real, f.copies - 1, to + f.realStride);
  }
  clear(block + BLOCK.SUMS * f.plane, f.slotBytes);
}

/** Adds the moments of an example's tile `i` to `slot`; `held` is room for two planes. */
export function sumForward(p: Pass, f: Frame, e: usize, i: usize, block: usize, held: usize, slot: usize): void {
  const pivot = block + BLOCK.RECORD * f.plane;
  const stride = f.stride;
  const x = p.x + e * f.exampleBytes;
  const fast = areRounded(p.rows) && !(p.steps & EXACTLY);
  const far = isFar(f.exampleBytes, false);
  clear(held, f.plane << 1);
  let row = i * f.tileRows;
  const last = i + 1 == f.tiles;
  if (f.quarter && fast) {
    const rows = min(f.quarter - row, f.tileRows);
    addMomentsApart(x + row * stride, rows, f.quarter * stride, stride, f.columns, pivot, held, f.plane, slot);
    row = f.quarter << 2;
    if (last) addMoments(fast, false, x + row * stride, f.rows - row, stride, f.columns, pivot, held, f.plane, slot);
  } else if (f.quarter) {
    const rows = min(f.quarter - row, f.tileRows);
    for (let b: usize = 0; b < 4; b++) {
      addMoments(false, false, x + (row + b * f.quarter) * stride, rows, stride, f.columns, pivot, held, f.plane, slot);
    }
    row = f.quarter << 2;
    if (last) addMoments(false, false, x + row * stride, f.rows - row, stride, f.columns, pivot, held, f.plane, slot);
  } else {
    const end = min(row + f.tileRows, f.rows);
    if (!p.segments) addMoments(fast, far, x + row * stride, end - row, stride, f.columns, pivot, held, f.plane, slot);
    for (let s = firstSegment(p, row); s < p.segmentCount; s++) {
      const from = clipped(p, s, 0, row, end);
      if (from >= end) break;
      const to = clipped(p, s, 4, row, end);
      addMoments(fast, far, x + from * stride, to - from, stride, f.columns, pivot, held, f.plane, slot);
    }
  }
  if (last && f.rest) {
    addMoments(fast, false, x + f.rows * stride, f.rest, f.realStride, f.real, pivot, held, f.plane, slot);
  }
}

/** Mean, variance and rstd of an example, from its sums (REDUCE), or its rstd alone. */
export function finishForward(p: Pass, f: Frame, e: usize, block: usize): void {
  const groups: usize = p.groups;
  const mean = p.mean + ((e * groups) << 3);
  const variance = p.variance + ((e * groups) << 3);
  const plane = f.plane;
  if (p.steps & REDUCE) {
    const sums = block + BLOCK.SUMS * plane;
    if (f.copies > 1) foldCopies(sums, f.real, f.copies);
    // Elsewhere what is written behind the last group would be another example's.
    const m = f.staged ? block + BLOCK.MEAN * plane : mean;
    const v = f.staged ? block + BLOCK.VARIANCE * plane : variance;
    finishMoments(
      p, f, (p.steps & RMS) != 0, p.x + e * f.exampleBytes, p.count / f64(p.width), block + BLOCK.RECORD * plane, sums, m, v,
      block + BLOCK.HEAD * plane,
    );
    if (p.width > 1) mergeColumns(groups, p.width, m, v, mean, variance);
    else if (f.staged) {
      memory.copy(mean, m, groups << 3);
      memory.copy(variance, v, groups << 3);
    }
  }
  rstdOf(variance, p.rstd + ((e * groups) << 3), groups, p.eps);
}

/** Fills an example's AFFINE planes at `record`, and at `flags` which strips need lanes. */
export function affineCoefficients(p: Pass, f: Frame, e: usize, block: usize, record: usize, flags: usize): void {
  const groups: usize = p.groups;
  const plane = f.plane;
  let m = p.mean + ((e * groups) << 3);
  let r = p.rstd + ((e * groups) << 3);
  let gamma = p.gamma;
  let beta = p.beta;
  if (f.staged) {
    spread(m, groups, p.width, f.copies, block + BLOCK.MEAN * plane);
    spread(r, groups, p.width, f.copies, block + BLOCK.RSTD * plane);
    m = block + BLOCK.MEAN * plane;
    r = block + BLOCK.RSTD * plane;
  }
  if (f.copies > 1) {
    if (gamma) repeat(gamma, f.real, f.copies, (gamma = block + BLOCK.GAMMA * plane));
    if (beta) repeat(beta, f.real, f.copies, (beta = block + BLOCK.BETA * plane));
  }
  affineOf(record, plane, m, r, gamma, beta, f.columns, flags);
}

/** Writes y of an example: rows [from, to) of those that lie side by side, and the rest where `rest`. */
export function writeForward(p: Pass, f: Frame, e: usize, block: usize, from: usize, to: usize, rest: bool): void {
  const relu = p.activation == ACTIVATION.RELU;
  const example = e * f.exampleBytes;
  const bits = relu && p.bits ? p.bits + e * f.exampleBits : 0;
  const far = isFar(f.exampleBytes, false);
  if (rest && f.rest) {
    const at = example + f.rows * f.stride;
    applyAffine(
      relu, false, p.x + at, p.y + at, f.rest, f.realStride, f.real, block, f.plane, p.residual ? p.residual + at : 0,
      bits ? bits + f.rows * f.bitStride : 0, f.restBits,
    );
  }
  if (to > from) {
    const at = example + from * f.stride;
    applyAffine(
      relu, far, p.x + at, p.y + at, to - from, f.stride, f.columns, block, f.plane, p.residual ? p.residual + at : 0,
      bits ? bits + from * f.bitStride : 0, f.bitStride,
    );
  }
}
