/**
 * Normalization of [outer, rows, groups, width, length] with a statistic for each group (over rows, width and length)
 * and gamma and beta for each of groups * width channels. Batch norm channels-first is outer = 1, width = 1; instance
 * norm has an outer for each example; group norm a width of channels / groups.
 *
 *   outer 0   row 0  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤     a group's runs (width * length values each) are summed in
 *             row 1  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤     turn, then its channels (length values each) are written
 *
 * `segments` is 0, or pairs [from, to) of positions row * length + i, none across a row, that take part.
 */
import { affineOf, dotXhat, dotsOf, gradientOf, gradientScale, LESS } from "./coefficients";
import { isFar, readAlong } from "./far";
import { APPLY, FROZEN, REDUCE } from "./steps";
import { affineRun, dotsRun, gradientRun } from "./kernel/runs";
import { groupMoments } from "./moments";

/** Bytes between a record's coefficients: four channels have theirs side by side. */
// @ts-ignore: decorator
@inline const PLANE: usize = 16;
/** Scratch: a record and whether it is careful, two sums, and the statistics of a group four times over. */
// @ts-ignore: decorator
@inline const CAREFUL: usize = 7 * PLANE;
// @ts-ignore: decorator
@inline const SUMS: usize = 128;
// @ts-ignore: decorator
@inline const MEAN: usize = 160;
// @ts-ignore: decorator
@inline const RSTD: usize = 192;
// @ts-ignore: decorator
@inline const SUM1: usize = 224;
// @ts-ignore: decorator
@inline const SUM2: usize = 256;

/** Four copies, so that a group's channels take the vector path. */
function fourfold(at: usize, value: f64): void {
  const v = f64x2.splat(value);
  v128.store(at, v);
  v128.store(at, v, 16);
}

/** A byte of bits, for a piece that begins within one. */
// @ts-ignore: decorator
@inline const BIT: usize = 288;

/** The dot products of a piece that begins `skip` values into a run whose bits are `bits` (or 0). */
function dotsPiece(
  careful: bool, x: usize, dy: usize, length: usize, work: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize, skip: usize,
): void {
  if (bits) {
    bits += skip >> 2;
    const lead = min(length, (4 - (skip & 3)) & 3);
    if (lead) {
      store<u8>(work + BIT, load<u8>(bits) >> u8(skip & 3));
      dotsRun(true, x, dy, lead, work, dyScale, xScale, sums, work + BIT);
      x += lead << 2;
      dy += lead << 2;
      length -= lead;
      bits++;
    }
  }
  dotsRun(careful, x, dy, length, work, dyScale, xScale, sums, bits);
}

/** One forward pass; the arguments are those of `columnsForward`. */
export function runsForward(
  steps: u32, x: usize, y: usize, outer: usize, rows: usize, groups: usize, width: usize, length: usize,
  segments: usize, segmentCount: usize, count: f64, mean: usize, variance: usize, rstd: usize, eps: f64, gamma: usize,
  beta: usize, residual: usize, bits: usize, work: usize,
): void {
  const run = width * length;
  const stride = groups * run;
  const channelBits = (length + 3) >> 2;
  // Given statistics are applied to a large minibatch row by row, in the order of addresses (32 x 1024 x 14 x 14: 3.9 ms, 1.4).
  // Runs must outweigh their coefficients, some 60 ns.
  let kept = false;
  if (!(steps & REDUCE) && outer == 1 && length >= 32 && rows * stride >= 1 << 20) {
    outer = rows;
    rows = 1;
    kept = true;
  }
  for (; outer > 0; outer--) {
    for (let g: usize = 0; g < groups; g++) {
      const at = g * run;
      if (steps & REDUCE) {
        groupMoments(
          x + (at << 2), rows, stride, run, segments, segmentCount, count, eps, false, work + SUMS, mean + (g << 3),
          variance + (g << 3),
        );
      }
      const r = 1 / Math.sqrt(load<f64>(variance + (g << 3)) + eps);
      store<f64>(rstd + (g << 3), r);
      if (!(steps & APPLY)) continue;
      fourfold(work + MEAN, load<f64>(mean + (g << 3)));
      fourfold(work + RSTD, r);
      for (let c: usize = 0; c < width; c++) {
        const channel = (g * width + c) << 2;
        if (!(c & 3)) {
          affineOf(
            work, PLANE, work + MEAN, work + RSTD, gamma ? gamma + channel : 0, beta ? beta + channel : 0, 4, work + CAREFUL,
          );
        }
        const careful = load<u8>(work + CAREFUL) != 0;
        for (let row = rows; row > 0; row--) {
          const from = ((row - 1) * stride + at + c * length) << 2;
          affineRun(
            careful, x + from, y + from, length, work + ((c & 3) << 2), residual ? residual + from : 0,
            bits ? bits + (((row - 1) * groups + g) * width + c) * channelBits : 0,
          );
        }
      }
    }
    const bytes = (rows * stride) << 2;
    x += bytes;
    y += bytes;
    if (!kept) {
      mean += groups << 3;
      variance += groups << 3;
      rstd += groups << 3;
    }
    if (residual) residual += bytes;
    if (bits) bits += rows * groups * width * channelBits;
  }
}

/** One backward pass; the arguments are those of `columnsBackward`. */
export function runsBackward(
  steps: u32, x: usize, dy: usize, dx: usize, outer: usize, rows: usize, groups: usize, width: usize, length: usize,
  segments: usize, segmentCount: usize, count: f64, mean: usize, rstd: usize, gamma: usize, sum1: usize, sum2: usize,
  dgamma: usize, dbeta: usize, dresidual: usize, bits: usize, work: usize,
): void {
  const frozen = (steps & FROZEN) != 0;
  const stride = groups * width * length;
  const channelBits = (length + 3) >> 2;
  const rowBits = groups * width * channelBits;
  const far = isFar(rows, stride, length);
  const sums = work + SUMS;
  for (; outer > 0; outer--) {
    for (let g: usize = 0; g < groups; g++) {
      const m = load<f64>(mean + (g << 3));
      const r = load<f64>(rstd + (g << 3));
      fourfold(work + MEAN, m);
      fourfold(work + RSTD, r);
      dotsOf(work, PLANE, work + MEAN, work + RSTD, 4, work + CAREFUL);
      let careful = load<u8>(work + CAREFUL) != 0;
      if (steps & REDUCE) {
        let s1: f64 = 0;
        let s2: f64 = 0;
        for (let c: usize = 0; c < width; c++) {
          const channel = g * width + c;
          const at = (channel * length) << 2;
          const bit = bits ? bits + channel * channelBits : 0;
          let dyScale: f64 = 1;
          let sumDy: f64 = 0;
          let sumDyD: f64 = 0;
          // Once, and again with dy scaled if the sums left the range.
          do {
            v128.store(sums, f32x4.splat(0));
            const slow = careful || dyScale != 1;
            const xScale: f32 = dyScale < 1 ? LESS : 1;
            if (segments) {
              for (let i: usize = 0; i < segmentCount; i++) {
                const first = load<usize>(segments + (i << 3));
                const row = first / length;
                const skip = first - row * length;
                const from = at + ((row * stride + skip) << 2);
                dotsPiece(
                  slow, x + from, dy + from, load<usize>(segments + (i << 3), 4) - first, work, f32(dyScale), xScale, sums,
                  bit ? bit + row * rowBits : 0, skip,
                );
              }
            } else {
              for (let row: usize = 0; row < rows; row++) {
                const from = at + ((row * stride) << 2);
                if (far) {
                  readAlong(x + from, length << 2);
                  readAlong(dy + from, length << 2);
                }
                dotsRun(slow, x + from, dy + from, length, work, f32(dyScale), xScale, sums, bit ? bit + row * rowBits : 0);
              }
            }
            const s = load<f64>(sums) / dyScale;
            const t = load<f64>(sums, 8) / dyScale / f64(xScale);
            // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
            if (dyScale > 1 && !(abs(s) + abs(t) < Infinity)) break;
            sumDy = s;
            sumDyD = t;
            if (dyScale != 1) break;
            dyScale = gradientScale(s, t, count);
          } while (dyScale != 1);
          const dot = dotXhat(work, PLANE, 0, m, r, sumDy, sumDyD);
          store<f64>(dbeta + (channel << 3), load<f64>(dbeta + (channel << 3)) + sumDy);
          store<f64>(dgamma + (channel << 3), load<f64>(dgamma + (channel << 3)) + dot);
          const weight = gamma ? f64(load<f32>(gamma + (channel << 2))) : 1;
          s1 += weight * sumDy;
          s2 += weight * dot;
        }
        store<f64>(sum1 + (g << 3), s1);
        store<f64>(sum2 + (g << 3), s2);
      }
      if (!(steps & APPLY)) continue;
      fourfold(work + SUM1, load<f64>(sum1 + (g << 3)));
      fourfold(work + SUM2, load<f64>(sum2 + (g << 3)));
      for (let c: usize = 0; c < width; c++) {
        const channel = g * width + c;
        if (!(c & 3)) {
          dotsOf(work, PLANE, work + MEAN, work + RSTD, 4, work + CAREFUL);
          gradientOf(
            work, PLANE, work + MEAN, work + RSTD, gamma ? gamma + (channel << 2) : 0, work + SUM1, work + SUM2, count, frozen,
            4, work + CAREFUL,
          );
          careful = load<u8>(work + CAREFUL) != 0;
        }
        for (let row = rows; row > 0; row--) {
          const from = ((row - 1) * stride + channel * length) << 2;
          gradientRun(
            careful, frozen, x + from, dy + from, dx + from, length, work + ((c & 3) << 2),
            dresidual ? dresidual + from : 0, bits ? bits + (row - 1) * rowBits + channel * channelBits : 0,
          );
        }
      }
    }
    const bytes = (rows * stride) << 2;
    x += bytes;
    dy += bytes;
    dx += bytes;
    mean += groups << 3;
    rstd += groups << 3;
    sum1 += groups << 3;
    sum2 += groups << 3;
    if (dresidual) dresidual += bytes;
    if (bits) bits += rows * rowBits;
  }
}
