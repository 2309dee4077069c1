/** The backward pass down columns: an example's coefficients, sums and gradients, and dx. */
import { dotsOf, gradientOf } from "../../coefficients/gradient";
import { Pass } from "../../pass";
import { clear } from "../../simd/lanes";
import { FROZEN, OWN, REDUCE, RMS } from "../../steps";
import { SUMS, sumOf } from "../../kernel/columns/layout";
import { GRADIENT } from "../../coefficients/gradient";
import { applyGradient } from "./apply";
import { affineCoefficients, areRounded } from "./forward";
import { BLOCK, clearOf, EPILOGUE, gradientEpilogueOf, Frame, isFar } from "./frame";
import { settleDots } from "./settle";
import { clipped, firstSegment } from "./segments";
import { addDots, addDotsApart, alike, eitherFlag, foldCopies, repeat, spread } from "./sums";

export function backwardBlock(p: Pass, f: Frame, at: usize): usize {
  return clearOf(at, f.plane, p.x, p.dy);
}

/** Where column statistics of an example lie: spread over columns, or as they are. */
// @ts-ignore: decorator
@inline function columnsOf(p: Pass, f: Frame, e: usize, from: usize, block: usize, plane: usize): usize {
  return f.staged ? block + plane * f.plane : from + ((e * p.groups) << 3);
}

/** Fills what the dot products need, and sets the sums to zero. */
export function startBackward(p: Pass, f: Frame, e: usize, block: usize): void {
  const groups: usize = p.groups;
  const plane = f.plane;
  const careful = block + BLOCK.CAREFUL * plane;
  const again = gradientEpilogueOf(p) == EPILOGUE.RELU;
  if (again) affineCoefficients(p, f, e, block, block + BLOCK.AFFINE * plane, careful + (plane >> 1));
  else if (f.staged) {
    spread(p.mean + ((e * groups) << 3), groups, p.width, f.copies, block + BLOCK.MEAN * plane);
    spread(p.rstd + ((e * groups) << 3), groups, p.width, f.copies, block + BLOCK.RSTD * plane);
  }
  dotsOf(
    block + BLOCK.RECORD * plane, plane, columnsOf(p, f, e, p.mean, block, BLOCK.MEAN), columnsOf(p, f, e, p.rstd, block, BLOCK.RSTD),
    f.columns, careful,
  );
  if (again) eitherFlag(careful, plane, f.columns);
  clear(block + BLOCK.SUMS * plane, f.slotBytes);
}

/** Adds the dot products of an example's tile `i` to `slot`. */
export function sumBackward(p: Pass, f: Frame, e: usize, i: usize, block: usize, slot: usize): void {
  const epilogue = gradientEpilogueOf(p);
  const plane = f.plane;
  const stride = f.stride;
  const careful = block + BLOCK.CAREFUL * plane;
  const x = p.x + e * f.exampleBytes;
  const dy = p.dy + e * f.exampleBytes;
  const bits = p.bits ? p.bits + e * f.exampleBits : 0;
  const fast = f.strips != 0 && !load<u8>(careful) && alike(careful, 0, f.strips) == f.strips;
  const far = isFar(f.exampleBytes, true);
  let row = i * f.tileRows;
  const last = i + 1 == f.tiles;
  if (f.quarter) {
    const rows = min(f.quarter - row, f.tileRows);
    if (fast) {
      const skip = row * stride;
      addDotsApart(
        epilogue, x + skip, dy + skip, rows, f.quarter * stride, stride, f.columns, block, plane, slot,
        bits ? bits + row * f.bitStride : 0, f.quarter * f.bitStride, f.bitStride,
      );
    } else {
      for (let b: usize = 0; b < 4; b++) {
        const from = row + b * f.quarter;
        addDots(
          false, false, epilogue, x + from * stride, dy + from * stride, rows, stride, f.columns, block, plane, slot,
          bits ? bits + from * f.bitStride : 0, f.bitStride,
        );
      }
    }
    row = f.quarter << 2;
    if (last) {
      addDots(
        fast, false, epilogue, x + row * stride, dy + row * stride, f.rows - row, stride, f.columns, block, plane, slot,
        bits ? bits + row * f.bitStride : 0, f.bitStride,
      );
    }
  } else {
    const end = min(row + f.tileRows, f.rows);
    if (!p.segments) {
      addDots(
        fast, far, epilogue, x + row * stride, dy + row * stride, end - row, stride, f.columns, block, plane, slot,
        bits ? bits + row * f.bitStride : 0, f.bitStride,
      );
    }
    for (let s = firstSegment(p, row); s < p.segmentCount; s++) {
      const from = clipped(p, s, 0, row, end);
      if (from >= end) break;
      addDots(
        fast, far, epilogue, x + from * stride, dy + from * stride, clipped(p, s, 4, row, end) - from, stride, f.columns, block, plane,
        slot, bits ? bits + from * f.bitStride : 0, f.bitStride,
      );
    }
  }
  if (last && f.rest) {
    const at = f.rows * stride;
    addDots(
      fast, false, epilogue, x + at, dy + at, f.rest, f.realStride, f.real, block, plane, slot,
      bits ? bits + f.rows * f.bitStride : 0, f.restBits,
    );
  }
}

/** An example's `sum1` and `sum2` from its sums; its dgamma and dbeta are added to those given. */
export function finishBackward(p: Pass, f: Frame, e: usize, block: usize, dgamma: usize, dbeta: usize): void {
  const plane = f.plane;
  const record = block + BLOCK.RECORD * plane;
  const sums = block + BLOCK.SUMS * plane;
  const m = columnsOf(p, f, e, p.mean, block, BLOCK.MEAN);
  const r = columnsOf(p, f, e, p.rstd, block, BLOCK.RSTD);
  if (f.copies > 1) foldCopies(sums, f.real, f.copies);
  // Few rows' means need no second look (16 x 16, backward: 0.73 us, 0.47).
  settleDots(p, f, e, areRounded(p.rows) && (p.steps & OWN) != 0 && !(p.steps & RMS), block, m, r);
  finishDots(f.real, record, plane, sums, m, r, dgamma ? dgamma : block + BLOCK.DGAMMA * plane, dbeta ? dbeta : block + BLOCK.DBETA * plane);
  const at = (e * p.groups) << 3;
  groupDots(f.real, p.width, sums, p.gamma, p.sum1 + at, p.sum2 + at);
}

/** Fills the coefficients of dx. */
export function gradientCoefficients(p: Pass, f: Frame, e: usize, block: usize): void {
  const groups: usize = p.groups;
  const plane = f.plane;
  const careful = block + BLOCK.CAREFUL * plane;
  let gamma = p.gamma;
  if (f.copies > 1 && gamma) repeat(gamma, f.real, f.copies, (gamma = block + BLOCK.GAMMA * plane));
  const frozen = (p.steps & FROZEN) != 0;
  if (f.staged && !frozen) {
    spread(p.sum1 + ((e * groups) << 3), groups, p.width, f.copies, block + BLOCK.SUM1 * plane);
    spread(p.sum2 + ((e * groups) << 3), groups, p.width, f.copies, block + BLOCK.SUM2 * plane);
  }
  gradientOf(
    block + BLOCK.RECORD * plane, plane, columnsOf(p, f, e, p.mean, block, BLOCK.MEAN), columnsOf(p, f, e, p.rstd, block, BLOCK.RSTD),
    gamma, columnsOf(p, f, e, p.sum1, block, BLOCK.SUM1), columnsOf(p, f, e, p.sum2, block, BLOCK.SUM2), p.count, frozen,
    (p.steps & RMS) != 0, f.columns, careful,
  );
  if (gradientEpilogueOf(p) == EPILOGUE.RELU) eitherFlag(careful, plane, f.columns);
}

/** Writes dx of an example: rows [from, to) of those that lie side by side, and the rest where `rest`. */
export function writeBackward(p: Pass, f: Frame, e: usize, block: usize, from: usize, to: usize, rest: bool): void {
  const epilogue = gradientEpilogueOf(p);
  const frozen = (p.steps & FROZEN) != 0;
  const example = e * f.exampleBytes;
  const bits = p.bits ? p.bits + e * f.exampleBits : 0;
  if (rest && f.rest) {
    const at = example + f.rows * f.stride;
    applyGradient(
      epilogue, frozen, false, p.x + at, p.dy + at, p.dx + at, f.rest, f.realStride, f.real, block, f.plane,
      p.dresidual ? p.dresidual + at : 0, bits ? bits + f.rows * f.bitStride : 0, f.restBits,
    );
  }
  if (to > from) {
    const at = example + from * f.stride;
    applyGradient(
      epilogue, frozen, isFar(f.exampleBytes, true), p.x + at, p.dy + at, p.dx + at, to - from, f.stride, f.columns, block, f.plane,
      p.dresidual ? p.dresidual + at : 0, bits ? bits + from * f.bitStride : 0, f.bitStride,
    );
  }
}

/** Adds columns' sums to dbeta and dgamma, and leaves `sum(dy * xhat)` in place of `sum(dy * (x - mu))`. */
export function finishDots(
  columns: usize, record: usize, plane: usize, sums: usize, mean: usize, rstd: usize, dgamma: usize, dbeta: usize,
): void {
  for (let c: usize = 0; c < columns; c += 2) {
    const at = sumOf(sums, c);
    const s = v128.load(at);
    const scale = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.SCALE * plane));
    const mu = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.MU * plane));
    const muLow = f64x2.sub(f64x2.mul(v128.load(mean), scale), mu);
    const t = f64x2.mul(f64x2.sub(v128.load(at, SUMS.SECOND), f64x2.mul(muLow, s)), f64x2.div(v128.load(rstd), scale));
    v128.store(at, t, SUMS.SECOND);
    const b = f64x2.add(v128.load(dbeta), s);
    const g = f64x2.add(v128.load(dgamma), t);
    v128.store64_lane(dbeta, b, 0);
    v128.store64_lane(dgamma, g, 0);
    if (c + 1 < columns) {
      v128.store64_lane(dbeta, b, 1, 8);
      v128.store64_lane(dgamma, g, 1, 8);
    }
    record += 8;
    mean += 16;
    rstd += 16;
    dgamma += 16;
    dbeta += 16;
  }
}

/** The columns' sums, weighted by gamma, of each group. */
export function groupDots(columns: usize, width: usize, sums: usize, gamma: usize, sum1: usize, sum2: usize): void {
  for (let c: usize = 0; c < columns; ) {
    let s: f64 = 0;
    let t: f64 = 0;
    for (const end = c + width; c < end; c++) {
      const weight = gamma ? f64(load<f32>(gamma + (c << 2))) : 1;
      const at = sumOf(sums, c);
      s += weight * load<f64>(at);
      t += weight * load<f64>(at, SUMS.SECOND);
    }
    store<f64>(sum1, s);
    store<f64>(sum2, t);
    sum1 += 8;
    sum2 += 8;
  }
}
