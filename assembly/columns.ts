/**
 * Normalization down the columns of [outer, rows, groups * width]: a statistic for each of `groups` groups of `width`
 * adjacent columns, gamma and beta for each column. Batch norm is outer = 1, width = 1; instance norm channels-last
 * has an outer for each example; group norm channels-last a width of channels / groups.
 *
 *   one outer, k = 1 (wide)                     one outer, narrow: k rows side by side make a row of whole strips
 *   ┌─────────┬─────────┬───┐                   ┌───────────────────────────────┐
 *   │ panel 0 │ panel 1 │ … │  rows             │ row 0 │ row 1 │ …   │ row k-1 │  rows / k
 *   │ fits L2 │         │   │                   │ row k │  …                    │
 *   └─────────┴─────────┴───┘                   └───────┴───────────────────────┘  + rows % k, by lanes
 *
 * Arrays with a value for each group or column have room for the next multiple of 16 values; what lies there is free
 * to change. `segments` is 0, or pairs of row numbers [from, to) that alone take part in the statistics.
 */
import { AFFINE, affineOf, dotsOf, dotXhat, GRADIENT, gradientOf, gradientScale, LESS, rstdOf } from "./coefficients";
import {affineLanes, affineStrips, dotsLanes, dotsStrips, gradientLanes,
  gradientStrips, momentsLanes, momentsStrips,
  STRIP, STRIP_BYTES, SUMS_BYTES, TILE, 
} from "./kernel/columns";
import { EPS_RULES, TINY, isNear, scaleOfMoments } from "./moments";
import { loadLanes } from "./simd/lanes";
import { APPLY, FROZEN, REDUCE } from "./steps";

/** A panel's bytes, chosen to stay in a second-level cache of 1 MB beside what is written. */
// @ts-ignore: decorator
@inline const PANEL_BYTES: usize = 512 << 10;
// @ts-ignore: decorator
@inline const PANEL_LEAST: usize = 128;

/** Narrower rows are laid side by side. */
// @ts-ignore: decorator
@inline const NARROW: usize = 64;

// @ts-ignore: decorator
@inline function padded(columns: usize): usize {
  return (columns + (STRIP - 1)) & ~(STRIP - 1);
}

/** How many rows lie side by side; one where `unlike` (segments, bits) gives rows a meaning of their own. */
function sideBySide(rows: usize, columns: usize, unlike: usize): usize {
  if (unlike != 0 || columns >= NARROW || (columns & (STRIP - 1)) == 0) return 1;
  let k: usize = 16;
  for (let odd = columns; (odd & 1) == 0; odd >>= 1) k >>= 1;
  return rows >= 2 * k ? k : 1;
}

/** Bytes of scratch that a pass over `columns` columns needs. */
export function columnsWork(columns: usize): usize {
  return HEAD + padded(columns >= NARROW ? columns : NARROW * 16) * 112;
}

/** The scratch: a head for one vector's second look, then arrays with room for `columns` columns. */
// @ts-ignore: decorator
@inline const HEAD: usize = 256;
// @ts-ignore: decorator
@inline function pivotsAt(work: usize): usize {
  return work + HEAD;
}
// @ts-ignore: decorator
@inline function sumsAt(work: usize, columns: usize): usize {
  return work + HEAD + (columns << 2);
}
// @ts-ignore: decorator
@inline function recordsAt(work: usize, columns: usize): usize {
  return work + HEAD + columns * 20;
}
// @ts-ignore: decorator
@inline function carefulAt(work: usize, columns: usize): usize {
  return work + HEAD + columns * 48;
}
// @ts-ignore: decorator
@inline function stagedAt(work: usize, columns: usize, array: usize): usize {
  return work + HEAD + columns * (52 + (array << 3));
}

/** Where column `c` has its first sum; the second lies 128 bytes on. */
// @ts-ignore: decorator
@inline function sumOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS_BYTES + ((c & 15) << 3);
}

function panelColumns(rows: usize, columns: usize): usize {
  const fit = (PANEL_BYTES / (max(rows, 1) << 2)) & ~(STRIP - 1);
  return min(columns, max(fit, PANEL_LEAST));
}

/** A pivot for each column: the mean of eight rows spread over all. Any value is correct; a near one is exact at once. */
function pivots(x: usize, rows: usize, stride: usize, columns: usize, to: usize): void {
  const eighth = f32x4.splat(0.125);
  const zero = f32x4.splat(0);
  for (let c: usize = 0; c < columns; c += 4) {
    let total = zero;
    for (let i: u64 = 0; i < 8; i++) {
      const row = x + usize((i * rows) >> 3) * stride;
      total = f32x4.add(total, f32x4.mul(loadLanes(row, columns - c, zero), eighth));
    }
    v128.store(to, total);
    x += 16;
    to += 16;
  }
}

/** Adds the moments of `rows` rows of `columns` columns to the sums. */
function addMoments(x: usize, rows: usize, stride: usize, columns: usize, pivot: usize, sums: usize): void {
  const strips = columns / STRIP;
  if (strips) {
    let at = x;
    for (let left = rows; left > 0; ) {
      const tile = min(left, TILE);
      momentsStrips(at, tile, stride, strips, pivot, sums);
      at += tile * stride;
      left -= tile;
    }
  }
  for (let c = strips * STRIP; c < columns; c += 4) {
    momentsLanes(
      x + (c << 2), rows, stride, columns - c, v128.load(pivot + (c << 2)), f32x4.splat(1), sumOf(sums, c),
    );
  }
}

/** The same over the segments, if there are any. */
function addAllMoments(
  x: usize, rows: usize, stride: usize, columns: usize, segments: usize, segmentCount: usize, pivot: usize, sums: usize,
): void {
  if (!segments) addMoments(x, rows, stride, columns, pivot, sums);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    addMoments(x + from * stride, load<usize>(segments, 4) - from, stride, columns, pivot, sums);
    segments += 8;
  }
}

/** Adds the sums of the k copies of each column. */
function foldCopies(sums: usize, columns: usize, k: usize): void {
  for (let c: usize = 0; c < columns; c++) {
    const to = sumOf(sums, c);
    let first: f64 = 0;
    let second: f64 = 0;
    for (let i: usize = 0; i < k; i++) {
      const from = sumOf(sums, c + i * columns);
      first += load<f64>(from);
      second += load<f64>(from, 128);
    }
    store<f64>(to, first);
    store<f64>(to, second, 128);
  }
}

/**
 * Mean and variance of four columns from their sums. Where a pivot lay more than 1.4 sigma off (its squares then
 * cost digits) or squares left the range, those columns alone are summed once more about the mean, scaled.
 */
function finishMoments(
  x: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, count: f64, eps: f64,
  pivot: usize, sums: usize, mean: usize, variance: usize, head: usize,
): void {
  const n = f64x2.splat(count);
  let settled = true;
  for (let half: usize = 0; half < 2; half++) {
    const at = half << 4;
    const m = f64x2.div(v128.load(sums + at), n);
    const q = f64x2.div(v128.load(sums + at, 128), n);
    const s = f64x2.sub(m, f64x2.promote_low_f32x4(v128.load64_zero(pivot + (half << 3))));
    const v = f64x2.max(f64x2.sub(q, f64x2.mul(s, s)), f64x2.splat(0));
    v128.store(mean + at, m);
    v128.store(variance + at, v);
    const near = v128.and(f64x2.le(q, f64x2.mul(v, f64x2.splat(3))), f64x2.lt(q, f64x2.splat(Infinity)));
    const sized = f64x2.gt(f64x2.add(v, f64x2.splat(eps >= EPS_RULES ? 1 : 0)), f64x2.splat(TINY));
    if (!i64x2.all_true(v128.and(near, sized))) settled = false;
  }
  if (settled) return;
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
    memory.fill(head + 64, 0, 160);
    const about = v128.load(head);
    const scales = v128.load(head, 16);
    if (!segments) momentsLanes(x, rows, stride, lanes, about, scales, head + 64);
    for (let i: usize = 0; i < segmentCount; i++) {
      const from = load<usize>(segments + (i << 3));
      const to = load<usize>(segments + (i << 3), 4);
      momentsLanes(x + from * stride, to - from, stride, lanes, about, scales, head + 64);
    }
    for (let lane: usize = 0; lane < 4; lane++) {
      if (!(open & (1 << u32(lane)))) continue;
      const scale = f64(load<f32>(head + (lane << 2), 16));
      const m = load<f64>(head + 64 + (lane << 3)) / count;
      const q = load<f64>(head + 64 + (lane << 3), 128) / count;
      const s = m - f64(load<f32>(head + (lane << 2)));
      const v = max<f64>(q - s * s, 0);
      store<f64>(mean + (lane << 3), m / scale);
      store<f64>(variance + (lane << 3), v / scale / scale);
      store<f32>(head + (lane << 2), f32(m));
      if (isNear(q, v) || !(abs(m) < Infinity)) open &= ~(1 << u32(lane));
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

/** `k` copies, side by side, of a value for each group, repeated for each of its `width` columns. */
function spread(from: usize, groups: usize, width: usize, k: usize, to: usize): void {
  for (; k > 0; k--) {
    for (let g: usize = 0; g < groups; g++) {
      const value = load<f64>(from + (g << 3));
      for (let c: usize = 0; c < width; c++) {
        store<f64>(to, value);
        to += 8;
      }
    }
  }
}

/** `k` copies, side by side, of `columns` float32. */
function repeat(from: usize, columns: usize, k: usize, to: usize): void {
  for (; k > 0; k--) {
    memory.copy(to, from, columns << 2);
    to += columns << 2;
  }
}

/** Applies a panel's AFFINE records to `rows` rows, from the last tile back: its rows are the likeliest to be cached. */
function applyAffine(
  x: usize, y: usize, rows: usize, stride: usize, columns: usize, records: usize, careful: usize, anyCareful: bool,
  residual: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  for (let row = rows; row > 0; ) {
    const tile = ((row - 1) & (TILE - 1)) + 1;
    row -= tile;
    const skip = row * stride;
    const add = residual ? residual + skip : 0;
    const bit = bits ? bits + row * bitStride : 0;
    if (!anyCareful) affineStrips(x + skip, y + skip, tile, stride, strips, records, add, bit, bitStride);
    else {
      for (let i: usize = 0; i < strips; i++) {
        const at = skip + i * STRIP_BYTES;
        const record = records + i * (4 * AFFINE.BYTES);
        const stripAdd = add ? add + i * STRIP_BYTES : 0;
        const stripBit = bit ? bit + (i << 2) : 0;
        if (!load<u32>(careful + (i << 2))) affineStrips(x + at, y + at, tile, stride, 1, record, stripAdd, stripBit, bitStride);
        else for (let v: usize = 0; v < 4; v++) {
          affineLanes(
            x + at + (v << 4), y + at + (v << 4), tile, stride, 4, record + v * AFFINE.BYTES,
            stripAdd ? stripAdd + (v << 4) : 0, stripBit ? stripBit + v : 0, bitStride,
          );
        }
      }
    }
    for (let c = strips * STRIP; c < columns; c += 4) {
      affineLanes(
        x + skip + (c << 2), y + skip + (c << 2), tile, stride, columns - c, records + (c >> 2) * AFFINE.BYTES,
        add ? add + (c << 2) : 0, bit ? bit + (c >> 2) : 0, bitStride,
      );
    }
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
  const panel = width == 1 && k == 1 ? panelColumns(rows, columns) : columns;
  const staged = width > 1 || k > 1;
  const stride: usize = columns << 2;
  const bitStride = (columns + 3) >> 2;
  const realStride: usize = real << 2;
  const pivot = pivotsAt(work);
  const sums = sumsAt(work, room);
  const records = recordsAt(work, room);
  const careful = carefulAt(work, room);
  const columnMean = stagedAt(work, room, 0);
  const columnVariance = stagedAt(work, room, 1);
  const columnRstd = stagedAt(work, room, 2);
  const columnGamma = stagedAt(work, room, 3);
  const columnBeta = columnGamma + (room << 2);
  if (k > 1 && gamma) repeat(gamma, real, k, columnGamma);
  if (k > 1 && beta) repeat(beta, real, k, columnBeta);
  for (; outer > 0; outer--) {
    for (let c: usize = 0; c < columns; c += panel) {
      const n = min(panel, columns - c);
      const skip: usize = c << 2;
      let m = mean + (c << 3);
      let v = variance + (c << 3);
      let r = rstd + (c << 3);
      if (steps & REDUCE) {
        const first = segments ? load<usize>(segments) : 0;
        const span = segments ? load<usize>(segments, 4) - first : rows;
        pivots(x + skip + first * realStride, span, realStride, k > 1 ? real : n, pivot);
        if (k > 1) repeat(pivot, real, k - 1, pivot + realStride);
        memory.fill(sums, 0, padded(n) << 4);
        addAllMoments(x + skip, full, stride, n, segments, segmentCount, pivot, sums);
        if (rest) addMoments(x + full * stride, rest, realStride, real, pivot, sums);
        if (k > 1) foldCopies(sums, real, k);
        if (width > 1) {
          m = columnMean;
          v = columnVariance;
        }
        const own = k > 1 ? real : n;
        for (let i: usize = 0; i < own; i += 4) {
          finishMoments(
            x + skip + (i << 2), rows, realStride, own - i, segments, segmentCount, width > 1 ? count / width : count,
            eps, pivot + (i << 2), sumOf(sums, i), m + (i << 3), v + (i << 3), work,
          );
        }
        if (width > 1) mergeColumns(groups, width, columnMean, columnVariance, mean, variance);
      }
      if (staged) {
        rstdOf(variance, rstd, groups, eps);
        spread(mean, groups, width, k, columnMean);
        spread(rstd, groups, width, k, columnRstd);
        m = columnMean;
        r = columnRstd;
      } else rstdOf(v, r, n, eps);
      if (steps & APPLY) {
        let anyCareful = false;
        for (let i: usize = 0; i < n; i += STRIP) {
          let flag = false;
          for (let j = i; j < min(i + STRIP, n); j += 4) {
            const g = gamma ? (k > 1 ? columnGamma : gamma + skip) + (j << 2) : 0;
            const b = beta ? (k > 1 ? columnBeta : beta + skip) + (j << 2) : 0;
            if (affineOf(records + (j >> 2) * AFFINE.BYTES, m + (j << 3), r + (j << 3), g, b)) flag = true;
          }
          store<u32>(careful + (i >> 2), flag);
          if (flag) anyCareful = true;
        }
        if (rest) {
          applyAffine(
            x + full * stride, y + full * stride, rest, realStride, real, records, careful, true,
            residual ? residual + full * stride : 0, 0, 0,
          );
        }
        applyAffine(
          x + skip, y + skip, full, stride, n, records, careful, anyCareful,
          residual ? residual + skip : 0, bits ? bits + (c >> 2) : 0, bitStride,
        );
      }
    }
    const bytes: usize = rows * realStride;
    x += bytes;
    y += bytes;
    mean += groups << 3;
    variance += groups << 3;
    rstd += groups << 3;
    if (residual) residual += bytes;
    if (bits) bits += rows * bitStride;
  }
}

/** Adds the dot products of `rows` rows of `columns` columns to the sums. */
function addDots(
  x: usize, dy: usize, rows: usize, stride: usize, columns: usize, records: usize, careful: usize, anyCareful: bool,
  sums: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  const plain: usize = anyCareful ? 0 : strips;
  if (plain) {
    for (let row: usize = 0; row < rows; row += TILE) {
      const skip = row * stride;
      dotsStrips(
        x + skip, dy + skip, min(rows - row, TILE), stride, plain, records, sums, bits ? bits + row * bitStride : 0,
        bitStride,
      );
    }
  }
  for (let c = plain * STRIP; c < columns; c += 4) {
    const record = records + (c >> 2) * GRADIENT.BYTES;
    dotsLanes(
      x + (c << 2), dy + (c << 2), rows, stride, columns - c, v128.load(record, GRADIENT.MU),
      v128.load(record, GRADIENT.SCALE), f32x4.splat(1), sumOf(sums, c), bits ? bits + (c >> 2) : 0, bitStride,
    );
  }
}

/** Where sums of gradients left the range, those columns alone are summed once more, dy scaled. */
function refineDots(
  x: usize, dy: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, record: usize,
  sums: usize, bits: usize, bitStride: usize, head: usize,
): void {
  let open: u32 = 0;
  for (let lane: usize = 0; lane < min<usize>(lanes, 4); lane++) {
    const by = gradientScale(load<f64>(sums + (lane << 3)), load<f64>(sums + (lane << 3), 128), f64(rows));
    store<f32>(head + (lane << 2), f32(by));
    if (by != 1) open |= 1 << u32(lane);
  }
  if (!open) return;
  memory.fill(head + 64, 0, 160);
  // Where the sums were too large, x may be: it is brought down as well.
  const dyScale = v128.load(head);
  const xScale = v128.bitselect(f32x4.splat(LESS), f32x4.splat(1), f32x4.lt(dyScale, f32x4.splat(1)));
  const mu = f32x4.mul(v128.load(record, GRADIENT.MU), xScale);
  const scale = f32x4.mul(v128.load(record, GRADIENT.SCALE), xScale);
  if (!segments) dotsLanes(x, dy, rows, stride, lanes, mu, scale, dyScale, head + 64, bits, bitStride);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    dotsLanes(
      x + from * stride, dy + from * stride, load<usize>(segments, 4) - from, stride, lanes, mu, scale, dyScale,
      head + 64, bits ? bits + from * bitStride : 0, bitStride,
    );
    segments += 8;
  }
  for (let lane: usize = 0; lane < 4; lane++) {
    if (!(open & (1 << u32(lane)))) continue;
    const back = f64(load<f32>(head + (lane << 2)));
    store<f64>(sums + (lane << 3), load<f64>(head + 64 + (lane << 3)) / back);
    store<f64>(sums + (lane << 3), load<f64>(head + 64 + (lane << 3), 128) / back / (back < 1 ? f64(LESS) : 1), 128);
  }
}

/** Adds a column's sums to dbeta and dgamma, and weighted by gamma to its group's. */
function finishDots(
  columns: usize, width: usize, records: usize, sums: usize, mean: usize, rstd: usize, gamma: usize,
  sum1: usize, sum2: usize, dgamma: usize, dbeta: usize,
): void {
  for (let c: usize = 0; c < columns; c++) {
    const at = sumOf(sums, c);
    const record = records + (c >> 2) * GRADIENT.BYTES;
    const dy = load<f64>(at);
    const dyXhat = dotXhat(record, c & 3, load<f64>(mean + (c << 3)), load<f64>(rstd + (c << 3)), dy, load<f64>(at, 128));
    store<f64>(dbeta + (c << 3), load<f64>(dbeta + (c << 3)) + dy);
    store<f64>(dgamma + (c << 3), load<f64>(dgamma + (c << 3)) + dyXhat);
    const weight = gamma ? f64(load<f32>(gamma + (c << 2))) : 1;
    const group: usize = (c / width) << 3;
    store<f64>(sum1 + group, load<f64>(sum1 + group) + weight * dy);
    store<f64>(sum2 + group, load<f64>(sum2 + group) + weight * dyXhat);
  }
}

/** Applies a panel's GRADIENT records, from the last tile back. */
function applyGradient(
  frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, columns: usize, records: usize, careful: usize,
  anyCareful: bool, dresidual: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  for (let row = rows; row > 0; ) {
    const tile = ((row - 1) & (TILE - 1)) + 1;
    row -= tile;
    const skip = row * stride;
    const through = dresidual ? dresidual + skip : 0;
    const bit = bits ? bits + row * bitStride : 0;
    if (!anyCareful) {
      gradientStrips(frozen, x + skip, dy + skip, dx + skip, tile, stride, strips, records, through, bit, bitStride);
    } else {
      for (let i: usize = 0; i < strips; i++) {
        const at = skip + i * STRIP_BYTES;
        const record = records + i * (4 * GRADIENT.BYTES);
        const stripThrough = through ? through + i * STRIP_BYTES : 0;
        const stripBit = bit ? bit + (i << 2) : 0;
        if (!load<u32>(careful + (i << 2))) {
          gradientStrips(
            frozen, x + at, dy + at, dx + at, tile, stride, 1, record, stripThrough, stripBit, bitStride,
          );
        } else for (let v: usize = 0; v < 4; v++) {
          gradientLanes(
            frozen, x + at + (v << 4), dy + at + (v << 4), dx + at + (v << 4), tile, stride, 4,
            record + v * GRADIENT.BYTES, stripThrough ? stripThrough + (v << 4) : 0, stripBit ? stripBit + v : 0, bitStride,
          );
        }
      }
    }
    for (let c = strips * STRIP; c < columns; c += 4) {
      gradientLanes(
        frozen, x + skip + (c << 2), dy + skip + (c << 2), dx + skip + (c << 2), tile, stride, columns - c,
        records + (c >> 2) * GRADIENT.BYTES, through ? through + (c << 2) : 0, bit ? bit + (c >> 2) : 0, bitStride,
      );
    }
  }
}

/**
 * One backward pass. REDUCE adds `sum(dy)` to dbeta and `sum(dy * xhat)` to dgamma (float64, a value a column), and
 * sets `sum1`, `sum2` (float64, outer * groups) to those sums weighted by gamma; APPLY writes dx from them, with
 * FROZEN statistics `gamma * rstd * dy`. `bits` are the forward's; `dresidual` takes dy as ReLU let it through, or 0.
 */
export function columnsBackward(
  steps: usize, x: usize, dy: usize, dx: usize, outer: usize, rows: usize, groups: usize, width: usize, segments: usize,
  segmentCount: usize, count: f64, mean: usize, rstd: usize, gamma: usize, sum1: usize, sum2: usize, dgamma: usize,
  dbeta: usize, dresidual: usize, bits: usize, work: usize,
): void {
  const frozen = (steps & FROZEN) != 0;
  const real = groups * width;
  const k = sideBySide(rows, real, segments | bits);
  const columns = real * k;
  const room = padded(columns);
  const full = rows / k;
  const rest = rows - full * k;
  const panel = width == 1 && k == 1 ? panelColumns(2 * rows, columns) : columns;
  const staged = width > 1 || k > 1;
  const stride: usize = columns << 2;
  const bitStride = (columns + 3) >> 2;
  const realStride: usize = real << 2;
  const sums = sumsAt(work, room);
  const records = recordsAt(work, room);
  const careful = carefulAt(work, room);
  const columnMean = stagedAt(work, room, 0);
  const columnRstd = stagedAt(work, room, 1);
  const columnSum1 = stagedAt(work, room, 2);
  const columnSum2 = stagedAt(work, room, 3);
  const columnGamma = stagedAt(work, room, 4);
  if (k > 1 && gamma) repeat(gamma, real, k, columnGamma);
  for (; outer > 0; outer--) {
    if (steps & REDUCE) {
      memory.fill(sum1, 0, groups << 3);
      memory.fill(sum2, 0, groups << 3);
    }
    for (let c: usize = 0; c < columns; c += panel) {
      const n = min(panel, columns - c);
      const own = k > 1 ? real : n;
      const skip: usize = c << 2;
      let m = mean + (c << 3);
      let r = rstd + (c << 3);
      if (staged) {
        spread(mean, groups, width, k, columnMean);
        spread(rstd, groups, width, k, columnRstd);
        m = columnMean;
        r = columnRstd;
      }
      let anyCareful = false;
      for (let i: usize = 0; i < n; i += 4) {
        if (dotsOf(records + (i >> 2) * GRADIENT.BYTES, m + (i << 3), r + (i << 3))) anyCareful = true;
      }
      if (steps & REDUCE) {
        memory.fill(sums, 0, padded(n) << 4);
        const from = x + skip;
        const above = dy + skip;
        const bit = bits ? bits + (c >> 2) : 0;
        if (!segments) addDots(from, above, full, stride, n, records, careful, anyCareful, sums, bit, bitStride);
        for (let i: usize = 0; i < segmentCount; i++) {
          const first = load<usize>(segments + (i << 3));
          const length = load<usize>(segments + (i << 3), 4) - first;
          addDots(
            from + first * stride, above + first * stride, length, stride, n, records, careful, anyCareful, sums,
            bit ? bit + first * bitStride : 0, bitStride,
          );
        }
        if (rest) {
          addDots(
            x + full * stride, dy + full * stride, rest, realStride, real, records, careful, anyCareful, sums,
            0, 0,
          );
        }
        if (k > 1) foldCopies(sums, real, k);
        for (let i: usize = 0; i < own; i += 4) {
          refineDots(
            x + skip + (i << 2), dy + skip + (i << 2), rows, realStride, own - i, segments, segmentCount,
            records + (i >> 2) * GRADIENT.BYTES, sumOf(sums, i), bit ? bit + (i >> 2) : 0, bitStride, work,
          );
        }
        finishDots(
          own, width, records, sums, m, r, gamma ? gamma + skip : 0, width > 1 ? sum1 : sum1 + (c << 3),
          width > 1 ? sum2 : sum2 + (c << 3), dgamma + (c << 3), dbeta + (c << 3),
        );
      }
      if (steps & APPLY) {
        let s1 = sum1 + (c << 3);
        let s2 = sum2 + (c << 3);
        if (staged) {
          spread(sum1, groups, width, k, columnSum1);
          spread(sum2, groups, width, k, columnSum2);
          s1 = columnSum1;
          s2 = columnSum2;
        }
        anyCareful = false;
        for (let i: usize = 0; i < n; i += STRIP) {
          let flag = false;
          for (let j = i; j < min(i + STRIP, n); j += 4) {
            const at = j << 3;
            const g = gamma ? (k > 1 ? columnGamma : gamma + skip) + (j << 2) : 0;
            if (gradientOf(records + (j >> 2) * GRADIENT.BYTES, m + at, r + at, g, s1 + at, s2 + at, count, frozen)) flag = true;
          }
          store<u32>(careful + (i >> 2), flag);
          if (flag) anyCareful = true;
        }
        if (rest) {
          const at = full * stride;
          applyGradient(
            frozen, x + at, dy + at, dx + at, rest, realStride, real, records, careful, true,
            0, 0, 0,
          );
        }
        applyGradient(
          frozen, x + skip, dy + skip, dx + skip, full, stride, n, records, careful, anyCareful,
          dresidual ? dresidual + skip : 0, bits ? bits + (c >> 2) : 0, bitStride,
        );
      }
    }
    const bytes: usize = rows * realStride;
    x += bytes;
    dy += bytes;
    dx += bytes;
    mean += groups << 3;
    rstd += groups << 3;
    sum1 += groups << 3;
    sum2 += groups << 3;
    if (dresidual) dresidual += bytes;
    if (bits) bits += rows * bitStride;
  }
}
