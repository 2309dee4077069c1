/** The forward pass down columns; layout.ts has how they are walked. */
import { affineOf, rstdOf } from "../coefficients";
import { momentsLanes } from "../kernel/columns";
import { DOWN, EPS_RULES, TINY, isNear, scaleOfMoments } from "../moments";
import { clear, loadTail } from "../simd/lanes";
import { APPLY, EXACTLY, REDUCE } from "../steps";
import {
  addRows, applyPlanes, clearOf, foldCopies, HEAD, padded, repeat, sideBySide, spread, sumOf,
} from "./layout";

/**
 * Up to so many values behind a channel's gradients, means are taken in float64 from the start, as most would need a second look
 * in backward: see `sharpenDots` (calls of 16 x 64: 1.22 us forward and 1.27 backward, 1.06 and 1.50 by strips; 32 x 64: 1.65 and
 * 1.35, 1.23 and 1.70).
 */
// @ts-ignore: decorator
@inline const EXACT: usize = 16;

/** Whether the means of so many values are left rounded. Inlined, as a call's text takes 17 bytes more. */
// @ts-ignore: decorator
@inline export function areRounded(values: usize): bool {
  return values > EXACT;
}

/** A pivot for each column: the mean of up to eight rows, evenly apart. Any value is correct; a near one is exact at once. */
function pivots(x: usize, rows: usize, stride: usize, columns: usize, to: usize): void {
  const some = min<usize>(rows, 8);
  const step = (rows / some) * stride;
  const share = f32x4.splat(1 / f32(some));
  for (let c: usize = 0; c < columns; c += 4) {
    let total = f32x4.splat(0);
    let row = x;
    for (let left = some; left > 0; left--) {
      total = f32x4.add(total, f32x4.mul(loadTail(row, columns - c), share));
      row += step;
    }
    v128.store(to, total);
    x += 16;
    to += 16;
  }
}

/** Adds the moments of one vector of columns, of `x * scale - pivot`. */
export function addLanes(
  x: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, pivot: v128, scale: v128, sums: usize,
): void {
  if (!segments) momentsLanes(x, rows, stride, lanes, pivot, scale, sums);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    momentsLanes(x + from * stride, load<usize>(segments, 4) - from, stride, lanes, pivot, scale, sums);
    segments += 8;
  }
}

/** Mean and variance of columns from their sums. */
function finishMoments(
  x: usize, rows: usize, stride: usize, columns: usize, segments: usize, segmentCount: usize, count: f64, eps: f64,
  pivot: usize, sums: usize, mean: usize, variance: usize, head: usize,
): void {
  const inverse = f64x2.splat(1 / count);
  const least = f64x2.splat(eps >= EPS_RULES ? TINY - 1 : TINY);
  for (let c: usize = 0; c < columns; c += 4) {
    const at = sumOf(sums, c);
    let settled = true;
    for (let half: usize = 0; half < 2; half++) {
      const from = at + (half << 4);
      const to = (c << 3) + (half << 4);
      const s = f64x2.mul(v128.load(from), inverse);
      const q = f64x2.mul(v128.load(from, 128), inverse);
      const v = f64x2.pmax(f64x2.sub(q, f64x2.mul(s, s)), f64x2.splat(0));
      const p = v128.load64_zero(pivot + (c << 2) + (half << 3));
      v128.store(mean + to, f64x2.add(f64x2.promote_low_f32x4(p), s));
      v128.store(variance + to, v);
      const near = v128.and(f64x2.le(q, f64x2.mul(v, f64x2.splat(3))), f64x2.lt(q, f64x2.splat(Infinity)));
      if (!i64x2.all_true(v128.and(near, f64x2.gt(v, least)))) settled = false;
    }
    if (settled) continue;
    refineMoments(
      x + (c << 2), rows, stride, columns - c, segments, segmentCount, count, eps, pivot + (c << 2), at, mean + (c << 3),
      variance + (c << 3), head,
    );
  }
}

/**
 * Those of four columns once more about the mean, scaled, where a pivot lay more than 1.4 sigma off (its squares then
 * cost digits) or squares left the range.
 */
function refineMoments(
  x: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, count: f64, eps: f64,
  pivot: usize, sums: usize, mean: usize, variance: usize, head: usize,
): void {
  // The head: pivots (16 bytes), scales (16), then sums 64 bytes on (32, and 32 more 128 bytes further).
  let open: u32 = 0;
  for (let lane: usize = 0; lane < min<usize>(lanes, 4); lane++) {
    const v = load<f64>(variance + (lane << 3));
    const m = load<f64>(mean + (lane << 3));
    const q = load<f64>(sums + (lane << 3), 128) / count;
    const scale = scaleOfMoments(q, v, load<f32>(pivot + (lane << 2)), eps);
    if (scale == 1 && isNear(q, v)) continue;
    store<f32>(head + (lane << 2), abs(m) < Infinity ? f32(m * scale) : 0);
    store<f32>(head + (lane << 2), f32(scale), 16);
    open |= 1 << u32(lane);
  }
  for (let attempt = 0; open != 0 && attempt < 3; attempt++) {
    clear(head + 64, 160);
    const about = v128.load(head);
    const scales = v128.load(head, 16);
    addLanes(x, rows, stride, lanes, segments, segmentCount, about, scales, head + 64);
    for (let lane: usize = 0; lane < 4; lane++) {
      if (!(open & (1 << u32(lane)))) continue;
      const scale = f64(load<f32>(head + (lane << 2), 16));
      const s = load<f64>(head + 64 + (lane << 3)) / count;
      const q = load<f64>(head + 64 + (lane << 3), 128) / count;
      const v = max<f64>(q - s * s, 0);
      const m = f64(load<f32>(head + (lane << 2))) + s;
      store<f64>(mean + (lane << 3), m / scale);
      store<f64>(variance + (lane << 3), v / scale / scale);
      store<f32>(head + (lane << 2), f32(m));
      if (!(q < Infinity) && scale == 1) {
        // About the mean an outlier's square may leave the range that it kept to about the pivot.
        store<f32>(head + (lane << 2), abs(m) < Infinity ? f32(m * DOWN) : 0);
        store<f32>(head + (lane << 2), f32(DOWN), 16);
      } else if (isNear(q, v) || !(abs(m) < Infinity)) open &= ~(1 << u32(lane));
    }
  }
}

/** Mean and variance of groups of `width` columns from those of their columns (Chan, Golub & LeVeque 1979). */
function mergeColumns(groups: usize, width: usize, columnMean: usize, columnVariance: usize, mean: usize, variance: usize): void {
  for (let g: usize = 0; g < groups; g++) {
    let m: f64 = 0;
    let v: f64 = 0;
    const first = load<f64>(columnMean);
    for (let c: usize = 0; c < width; c++) m += load<f64>(columnMean + (c << 3)) - first;
    m = first + m / width;
    for (let c: usize = 0; c < width; c++) {
      const d = load<f64>(columnMean + (c << 3)) - m;
      v += load<f64>(columnVariance + (c << 3)) + d * d;
    }
    store<f64>(mean + (g << 3), m);
    store<f64>(variance + (g << 3), v / width);
    columnMean += width << 3;
    columnVariance += width << 3;
  }
}

/**
 * One forward pass. `steps` says whether the statistics are computed (REDUCE) or given, and whether y is wanted
 * (APPLY). `mean`, `variance` and `rstd` are float64, outer * groups; gamma and beta float32 or 0 for none;
 * `residual` (shaped like x) or 0; `bits` or 0 for no ReLU: room for a bit of each value, four to a byte.
 */
export function columnsForward(
  steps: usize, x: usize, y: usize, outer: usize, rows: usize, groups: usize, width: usize, segments: usize, segmentCount: usize,
  count: f64, mean: usize, variance: usize, rstd: usize, eps: f64, gamma: usize, beta: usize, residual: usize,
  bits: usize, work: usize,
): void {
  const real = groups * width;
  const k = sideBySide(rows, real, segments | bits);
  const columns = real * k;
  const room = padded(columns);
  const full = rows / k;
  const rest = rows - full * k;
  // The lanes' means are taken in float64 from the start.
  const fast = areRounded(outer * rows) && !(steps & EXACTLY);
  const plane = room << 2;
  const staged = width > 1 || k > 1;
  const stride: usize = columns << 2;
  const bitStride = (columns + 3) >> 2;
  const realStride: usize = real << 2;
  const wide = room << 3;
  const records = clearOf(work + HEAD + 5 * plane, plane, x, y);
  const sums = records - 5 * plane;
  const careful = records + 7 * plane;
  const columnGamma = careful + plane;
  const columnBeta = columnGamma + plane;
  const columnMean = columnGamma + wide;
  const columnVariance = columnMean + wide;
  const columnRstd = columnVariance + wide;
  const own = k > 1 ? real : columns;
  let channelGamma = gamma;
  let channelBeta = beta;
  if (k > 1) {
    if (gamma) repeat(gamma, real, k, (channelGamma = columnGamma));
    if (beta) repeat(beta, real, k, (channelBeta = columnBeta));
  }
  for (; outer > 0; outer--) {
    if (steps & REDUCE) {
      const first = segments ? load<usize>(segments) : 0;
      const span = segments ? load<usize>(segments, 4) - first : rows;
      // The sums, and behind them pivots and what is held for a few rows.
      clear(sums, room << 5);
      pivots(x + first * realStride, span, realStride, real, records);
      if (k > 1) repeat(records, real, k - 1, records + realStride);
      addRows(fast, x, 0, full, stride, columns, segments, segmentCount, records, plane, sums, 0, 0);
      if (rest) addRows(fast, x + full * stride, 0, rest, realStride, real, 0, 0, records, plane, sums, 0, 0);
      if (k > 1) foldCopies(sums, real, k);
      const m = width > 1 ? columnMean : mean;
      const v = width > 1 ? columnVariance : variance;
      finishMoments(
        x, rows, realStride, own, segments, segmentCount, count / f64(width), eps, records, sums, m, v, work,
      );
      if (width > 1) mergeColumns(groups, width, columnMean, columnVariance, mean, variance);
    }
    rstdOf(variance, rstd, groups, eps);
    if (steps & APPLY) {
      let m = mean;
      let r = rstd;
      if (staged) {
        spread(mean, groups, width, k, (m = columnMean));
        spread(rstd, groups, width, k, (r = columnRstd));
      }
      affineOf(records, plane, m, r, channelGamma, channelBeta, columns, careful);
      if (rest) {
        const at = full * stride;
        applyPlanes(
          false, x + at, 0, y + at, rest, realStride, real, records, plane, careful, residual ? residual + at : 0, 0, 0,
        );
      }
      applyPlanes(false, x, 0, y, full, stride, columns, records, plane, careful, residual, bits, bitStride);
    }
    const bytes = rows * realStride;
    x += bytes;
    y += bytes;
    mean += groups << 3;
    variance += groups << 3;
    rstd += groups << 3;
    if (residual) residual += bytes;
    if (bits) bits += rows * bitStride;
  }
}
