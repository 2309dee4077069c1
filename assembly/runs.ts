/**
 * Normalization of [outer, rows, groups, width, length] with a statistic for each group (over rows, width and length)
 * and gamma and beta for each of groups * width channels. Batch norm channels-first is outer = 1, width = 1; instance
 * norm has an outer for each example; group norm a width of channels / groups.
 *
 *   outer 0   row 0  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤     every run (width * length values) is added to its group's sums, row
 *             row 1  ├─ group 0 ─┼─ group 1 ─┼─ … ─┤     by row; then its channels (length values each) are written
 *
 * `segments` is 0, or pairs [from, to) of positions row * length + i, none across a row, that take part.
 */
import { finishDots, groupDots } from "./columns/backward";
import { padded, spread, sumOf } from "./columns/layout";
import { affineOf, dotsOf, gradientOf, gradientScale, LESS, rstdOf } from "./coefficients";
import { clear } from "./simd/lanes";
import { APPLY, FROZEN, REDUCE } from "./steps";
import { affineRun, dotsRun, gradientRun } from "./kernel/runs";
import { groupMoments } from "./moments";

/**
 * How many adjacent groups are taken together: all of them where a group's runs lie apart, so that memory is read in the order of
 * addresses (32 x 1024 x 14 x 14, channel by channel: 6.9 ms forward, 2.6 so; backward 6.7, 3.5); else what stays in the
 * first-level cache for the second pass. Of long runs in few rows that no cache holds, what stays in the third-level cache: it
 * still comes in long stretches (32 x 64 x 112 x 112: 12.0 ms forward and 17.2 backward by all groups, 11.3 and 15.6 so; but 32 x
 * 2048 x 14 x 14, forward: 6.0, 6.7; 128 x 64 x 56 x 56: 10.8 and 15.5, 12.7 and 21).
 */
function batchOf(rows: usize, groups: usize, run: usize): usize {
  const values = rows * run;
  const most: usize = rows == 1 ? BATCH : run >= 512 && rows <= 48 && values * groups > 4 * PANEL ? PANEL : -1;
  return max(1, min(groups, most / values));
}

/** Values that are taken together: of one row, and of many. */
// @ts-ignore: decorator
@inline const BATCH: usize = 2048;
// @ts-ignore: decorator
@inline const PANEL: usize = 2 << 20;

/** The scratch: a byte of bits, then arrays with room for `room` channels, up to 84 bytes for each. */
// @ts-ignore: decorator
@inline const RECORDS: usize = 16;

/** One forward pass; the arguments are those of `columnsForward`. */
export function runsForward(
  steps: u32, x: usize, y: usize, outer: usize, rows: usize, groups: usize, width: usize, length: usize,
  segments: usize, segmentCount: usize, count: f64, mean: usize, variance: usize, rstd: usize, eps: f64, gamma: usize,
  beta: usize, residual: usize, bits: usize, work: usize,
): void {
  const run = width * length;
  const stride = groups * run;
  const channelBits = (length + 3) >> 2;
  const rowBits = groups * width * channelBits;
  // Given statistics are applied in the order of addresses.
  const most: usize = steps & REDUCE ? batchOf(rows, groups, run) : groups;
  const room = padded(most * width);
  const plane = room << 2;
  const records = work + RECORDS;
  const wide = room << 3;
  const careful = records + 6 * plane;
  const channelMean = careful + plane;
  const channelRstd = channelMean + wide;
  const sums = channelRstd + wide;
  for (; outer > 0; outer--) {
    for (let g: usize = 0; g < groups; g += most) {
      const batch = min(groups - g, most);
      const channels = batch * width;
      const at = (g * run) << 2;
      const channel = (g * width) << 2;
      const m = mean + (g << 3);
      const v = variance + (g << 3);
      const r = rstd + (g << 3);
      if (steps & REDUCE) {
        groupMoments(x + at, batch, rows, stride, run, segments, segmentCount, count, eps, false, records, sums, m, v);
      }
      rstdOf(v, r, batch, eps);
      if (!(steps & APPLY)) continue;
      spread(m, batch, width, 1, channelMean);
      spread(r, batch, width, 1, channelRstd);
      affineOf(
        records, plane, channelMean, channelRstd, gamma ? gamma + channel : 0, beta ? beta + channel : 0, channels, careful,
      );
      for (let row = rows; row > 0; row--) {
        let from = at + (((row - 1) * stride) << 2);
        let bit = bits ? bits + (row - 1) * rowBits + g * width * channelBits : 0;
        for (let c: usize = 0; c < channels; c++) {
          const slow = load<u8>(careful + (c >> 4)) != 0;
          affineRun(slow, x + from, y + from, length, records + (c << 2), plane, residual ? residual + from : 0, bit);
          from += length << 2;
          if (bit) bit += channelBits;
        }
      }
    }
    const bytes = (rows * stride) << 2;
    x += bytes;
    y += bytes;
    mean += groups << 3;
    variance += groups << 3;
    rstd += groups << 3;
    if (residual) residual += bytes;
    if (bits) bits += rows * rowBits;
  }
}

/** The dot products of a piece that begins `skip` values into a run whose bits are `bits` (or 0). */
function dotsPiece(
  careful: bool, x: usize, dy: usize, length: usize, record: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize, skip: usize, work: usize,
): void {
  if (bits) {
    bits += skip >> 2;
    const lead = min(length, (4 - (skip & 3)) & 3);
    if (lead) {
      // A byte of bits of its own, as the piece begins within one.
      store<u8>(work, load<u8>(bits) >> u8(skip & 3));
      dotsRun(true, x, dy, lead, record, plane, dyScale, xScale, sums, work);
      x += lead << 2;
      dy += lead << 2;
      length -= lead;
      bits++;
    }
  }
  dotsRun(careful, x, dy, length, record, plane, dyScale, xScale, sums, bits);
}

/** Adds up a channel's sums from zero, over its rows or the segments of them; dy times `dyScale`. */
function sumChannel(
  careful: bool, x: usize, dy: usize, rows: usize, stride: usize, length: usize, segments: usize, segmentCount: usize,
  record: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize, bits: usize, rowBits: usize, work: usize,
): void {
  store<f64>(sums, 0);
  store<f64>(sums, 0, 128);
  for (let row: usize = 0; row < rows && !segments; row++) {
    const from = (row * stride) << 2;
    dotsRun(careful, x + from, dy + from, length, record, plane, dyScale, xScale, sums, bits ? bits + row * rowBits : 0);
  }
  for (let i: usize = 0; i < segmentCount; i++) {
    const first = load<usize>(segments + (i << 3));
    const row = first / length;
    const skip = first - row * length;
    const from = (row * stride + skip) << 2;
    dotsPiece(
      careful, x + from, dy + from, load<usize>(segments + (i << 3), 4) - first, record, plane, dyScale, xScale, sums,
      bits ? bits + row * rowBits : 0, skip, work,
    );
  }
}

/** Leaves sums that may stand: those of segments are yet to be taken, others are taken again, dy scaled, if they left the range. */
function settleChannel(
  careful: bool, x: usize, dy: usize, rows: usize, stride: usize, length: usize, segments: usize, segmentCount: usize,
  count: f64, record: usize, plane: usize, sums: usize, bits: usize, rowBits: usize, work: usize,
): void {
  if (segments) {
    sumChannel(careful, x, dy, rows, stride, length, segments, segmentCount, record, plane, 1, 1, sums, bits, rowBits, work);
  }
  const s = load<f64>(sums);
  const t = load<f64>(sums, 128);
  const dyScale = gradientScale(s, t, count);
  if (dyScale == 1) return;
  const xScale: f32 = dyScale < 1 ? LESS : 1;
  sumChannel(
    true, x, dy, rows, stride, length, segments, segmentCount, record, plane, f32(dyScale), xScale, sums, bits, rowBits, work,
  );
  const again = load<f64>(sums) / dyScale;
  const dot = load<f64>(sums, 128) / dyScale / f64(xScale);
  // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
  const lost = dyScale > 1 && !(abs(again) + abs(dot) < Infinity);
  store<f64>(sums, lost ? s : again);
  store<f64>(sums, lost ? t : dot, 128);
}

/** One backward pass; the arguments are those of `columnsBackward`. */
export function runsBackward(
  steps: u32, x: usize, dy: usize, dx: usize, outer: usize, rows: usize, groups: usize, width: usize, length: usize,
  segments: usize, segmentCount: usize, count: f64, mean: usize, rstd: usize, gamma: usize, sum1: usize, sum2: usize,
  dgamma: usize, dbeta: usize, dresidual: usize, bits: usize, work: usize,
): void {
  const frozen = (steps & FROZEN) != 0;
  const run = width * length;
  const stride = groups * run;
  const channelBits = (length + 3) >> 2;
  const rowBits = groups * width * channelBits;
  const most = batchOf(rows, groups, 2 * run);
  const room = padded(most * width);
  const plane = room << 2;
  const records = work + RECORDS;
  const wide = room << 3;
  const careful = records + 7 * plane;
  const channelMean = careful + plane;
  const channelRstd = channelMean + wide;
  const channelSum1 = channelRstd + wide;
  const channelSum2 = channelSum1 + wide;
  const sums = channelSum2 + wide;
  const bytes = length << 2;
  if (steps & REDUCE) clear(dgamma, (dbeta - dgamma) << 1);
  for (; outer > 0; outer--) {
    for (let g: usize = 0; g < groups; g += most) {
      const batch = min(groups - g, most);
      const channels = batch * width;
      const channel = g * width;
      const at = (g * run) << 2;
      const bit = bits ? bits + channel * channelBits : 0;
      const weights = gamma ? gamma + (channel << 2) : 0;
      spread(mean + (g << 3), batch, width, 1, channelMean);
      spread(rstd + (g << 3), batch, width, 1, channelRstd);
      dotsOf(records, plane, channelMean, channelRstd, channels, careful);
      if (steps & REDUCE) {
        clear(sums, room * 20);
        // Row by row, so that adjacent channels are read along.
        for (let row: usize = 0; row < rows && !segments; row++) {
          let from = at + ((row * stride) << 2);
          let passed = bit ? bit + row * rowBits : 0;
          for (let c: usize = 0; c < channels; c++) {
            dotsRun(
              load<u8>(careful + (c >> 4)) != 0, x + from, dy + from, length, records + (c << 2), plane, 1, 1, sumOf(sums, c), passed,
            );
            from += bytes;
            if (passed) passed += channelBits;
          }
        }
        for (let c: usize = 0; c < channels; c++) {
          settleChannel(
            load<u8>(careful + (c >> 4)) != 0, x + at + c * bytes, dy + at + c * bytes, rows, stride, length, segments, segmentCount,
            count, records + (c << 2), plane, sumOf(sums, c), bit ? bit + c * channelBits : 0, rowBits, work,
          );
        }
        const parameter = channel << 3;
        finishDots(channels, records, plane, sums, channelMean, channelRstd, dgamma + parameter, dbeta + parameter);
        groupDots(channels, width, sums, weights, sum1 + (g << 3), sum2 + (g << 3));
      }
      if (!(steps & APPLY)) continue;
      spread(sum1 + (g << 3), batch, width, 1, channelSum1);
      spread(sum2 + (g << 3), batch, width, 1, channelSum2);
      gradientOf(
        records, plane, channelMean, channelRstd, weights, channelSum1, channelSum2, count, frozen, channels, careful,
      );
      for (let row = rows; row > 0; row--) {
        let from = at + (((row - 1) * stride) << 2);
        let passed = bit ? bit + (row - 1) * rowBits : 0;
        for (let c: usize = 0; c < channels; c++) {
          gradientRun(
            load<u8>(careful + (c >> 4)) != 0, frozen, x + from, dy + from, dx + from, length, records + (c << 2), plane,
            dresidual ? dresidual + from : 0, passed,
          );
          from += bytes;
          if (passed) passed += channelBits;
        }
      }
    }
    const size = (rows * stride) << 2;
    x += size;
    dy += size;
    dx += size;
    mean += groups << 3;
    rstd += groups << 3;
    sum1 += groups << 3;
    sum2 += groups << 3;
    if (dresidual) dresidual += size;
    if (bits) bits += rows * rowBits;
  }
}
