/**
 * Normalization down the columns of [outer, rows, groups * width]: a statistic for each of `groups` groups of `width`
 * adjacent columns, gamma and beta for each column. Batch norm is outer = 1, width = 1; instance norm channels-last
 * has an outer for each example; group norm channels-last a width of channels / groups.
 *
 *   wide: k = 1                          narrow: k rows side by side make a row of whole strips
 *   ┌──────────────────────────┐         ┌───────────────────────────────┐
 *   │ row 0                    │         │ row 0 │ row 1 │ …   │ row k-1 │  rows / k
 *   │ row 1                    │         │ row k │  …                    │
 *   └──────────────────────────┘         └───────┴───────────────────────┘  + rows % k, by lanes
 *
 * Arrays with a value for each group or column have room for the next multiple of 16 values; what lies there is free
 * to change. `segments` is 0, or pairs of row numbers [from, to) that alone take part in the statistics.
 */
import { AFFINE, affineOf, dotsOf, FAINT_DOT, GRADIENT, gradientOf, gradientScale, LESS, rstdOf } from "./coefficients";
import { FAR, readAlong } from "./far";
import {
  affineLanes, affineStrips, dotsLanes, dotsStrips, gradientLanes, gradientStrips, momentsLanes, momentsStrips, SIZES,
  STRIP, STRIP_BYTES, SUMS_BYTES, TILE,
} from "./kernel/columns";
import { DOWN, EPS_RULES, TINY, isNear, scaleOfMoments } from "./moments";
import { loadLanes } from "./simd/lanes";
import { APPLY, EXACTLY, FROZEN, OWN, REDUCE } from "./steps";

/** Up to so many values behind a channel's gradients, means are taken in float64 from the start; see `sharpenDots`. */
// @ts-ignore: decorator
@inline const EXACT: usize = 32;

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
  return work + HEAD + columns * 24;
}
// @ts-ignore: decorator
@inline function carefulAt(work: usize, columns: usize): usize {
  return work + HEAD + columns * 52;
}
// @ts-ignore: decorator
@inline function stagedAt(work: usize, columns: usize, array: usize): usize {
  return work + HEAD + columns * (56 + (array << 3));
}

/** Where column `c` has its first sum; the second lies 128 bytes on. */
// @ts-ignore: decorator
@inline function sumOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS_BYTES + ((c & 15) << 3);
}

/** A pivot for each column: the mean of eight rows spread over all. Any value is correct; a near one is exact at once. */
function pivots(x: usize, rows: usize, stride: usize, columns: usize, to: usize): void {
  const eighth = f32x4.splat(0.125);
  const zero = f32x4.splat(0);
  for (let c: usize = 0; c < columns; c += 4) {
    let total = zero;
    for (let i: u64 = 0; i < 8; i++) {
      const row = x + usize((i * rows) >> 3) * stride;
      total = f32x4.add(total, f32x4.mul(loadLanes(row, columns - c), eighth));
    }
    v128.store(to, total);
    x += 16;
    to += 16;
  }
}

/** Bytes of the rows of a tile, as far as it stays in the second-level cache with its dy. */
// @ts-ignore: decorator
@inline const TILE_BYTES: usize = 128 << 10;

/** Rows of a tile of sums: as many as float32 bears. */
function tileOf(stride: usize): usize {
  return stride * TILE > TILE_BYTES ? TILE / 2 : TILE;
}

/** Bytes that a chunk of rows of a second pass has at least. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 2 << 20;

/**
 * Rows, a power of two, that a second pass takes in order: from the last such chunk back, as what was read last is the
 * likeliest to be cached; single rows in reverse would leave the prefetch idle (32768 x 256: 8 times slower), and chunks of
 * 256 kB cost it a tenth (4096 x 1024, affine pass: 0.96 ms, 0.88).
 */
function chunkOf(stride: usize): usize {
  let chunk: usize = 16;
  while (chunk * stride < CHUNK) chunk <<= 1;
  return chunk;
}

/**
 * Rows that are written side by side, coefficients loaded once: eight, or four where rows share their place in the
 * first-level cache. Far arrays are taken in the order of their addresses, whose prefetch is worth more than the loads
 * of coefficients saved (32768 x 256: 2.1 ms for one row at a time, 8.3 for four, 7.3 for eight that were read along
 * before; 4096 x 1024: 1.1, 1.5; 32768 x 64: 0.43 for two, 0.65 for one, 0.54 for eight), as long as a row's coefficients
 * and values fit the first-level cache: up to `longest` bytes of a row.
 */
function sideOf(rows: usize, stride: usize, longest: usize): usize {
  if (stride > longest) return 4;
  if (rows * stride >= FAR) return stride > 512 ? 1 : 512 / stride;
  return (stride & 4095) == 0 ? 4 : 8;
}

/** Adds the moments of `rows` rows of `columns` columns to the sums; `exact` takes their means in float64 throughout. */
function addMoments(
  exact: bool, x: usize, rows: usize, stride: usize, columns: usize, pivot: usize, sums: usize,
): void {
  const strips: usize = exact ? 0 : columns / STRIP;
  const tile = tileOf(stride);
  const far = rows * stride >= FAR;
  while (rows > 0) {
    const n = min(rows, tile);
    const grouped = n & ~3;
    if (far) readAlong(x, n * stride);
    if (strips) momentsStrips(x, grouped >> 2, stride, strips, pivot, sums);
    for (let c: usize = grouped == n ? strips * STRIP : 0; c < columns; c += 4) {
      const done = c < strips * STRIP ? grouped : 0;
      momentsLanes(
        x + done * stride + (c << 2), n - done, stride, columns - c, v128.load(pivot + (c << 2)), f32x4.splat(1),
        sumOf(sums, c),
      );
    }
    x += n * stride;
    rows -= n;
  }
}

/** The same over the segments, if there are any. */
function addAllMoments(
  exact: bool, x: usize, rows: usize, stride: usize, columns: usize, segments: usize, segmentCount: usize, pivot: usize, sums: usize,
): void {
  if (!segments) addMoments(exact, x, rows, stride, columns, pivot, sums);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    addMoments(exact, x + from * stride, load<usize>(segments, 4) - from, stride, columns, pivot, sums);
    segments += 8;
  }
}

/** The same for one vector of columns, of `x * scale - pivot`. */
function addLanes(
  x: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, pivot: v128, scale: v128, sums: usize,
): void {
  if (!segments) momentsLanes(x, rows, stride, lanes, pivot, scale, sums);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    momentsLanes(x + from * stride, load<usize>(segments, 4) - from, stride, lanes, pivot, scale, sums);
    segments += 8;
  }
}

/** Where column `c` has its dot products' size. */
function sizeOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS_BYTES + SIZES + ((c & 15) << 2);
}

/** Adds the sums of the k copies of each column. */
function foldCopies(sums: usize, columns: usize, k: usize): void {
  for (let c: usize = 0; c < columns; c++) {
    const to = sumOf(sums, c);
    let first: f64 = 0;
    let second: f64 = 0;
    let size: f32 = 0;
    for (let i: usize = 0; i < k; i++) {
      const from = sumOf(sums, c + i * columns);
      first += load<f64>(from);
      second += load<f64>(from, 128);
      size += load<f32>(sizeOf(sums, c + i * columns));
    }
    store<f64>(to, first);
    store<f64>(to, second, 128);
    store<f32>(sizeOf(sums, c), size);
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
    const s = f64x2.div(v128.load(sums + at), n);
    const q = f64x2.div(v128.load(sums + at, 128), n);
    const v = f64x2.max(f64x2.sub(q, f64x2.mul(s, s)), f64x2.splat(0));
    v128.store(mean + at, f64x2.add(f64x2.promote_low_f32x4(v128.load64_zero(pivot + (half << 3))), s));
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

/** Notes whether the strip of column `c` is careful: whether any vector of it is. */
function mark(careful: usize, c: usize, flag: bool): void {
  const at = careful + c / STRIP;
  store<u8>(at, c & (STRIP - 1) ? load<u8>(at) | u8(flag) : u8(flag));
}

/** How many strips from `strip` on share its carefulness. */
function alike(careful: usize, strip: usize, strips: usize): usize {
  const flag = load<u8>(careful + strip);
  let end = strip + 1;
  while (end < strips && load<u8>(careful + end) == flag) end++;
  return end - strip;
}

/** Applies AFFINE planes to `rows` rows, from the last chunk back. */
function applyAffine(
  x: usize, y: usize, rows: usize, stride: usize, columns: usize, records: usize, plane: usize, careful: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  // Asked for each row, it would take a tenth of the time.
  const start = alike(careful, 0, strips);
  const side = sideOf(rows, stride, 8192);
  const chunk = chunkOf(stride);
  for (let end = rows; end > 0; end = (end - 1) & ~(chunk - 1)) {
    for (let row = (end - 1) & ~(chunk - 1); row < end; row += side) {
      const group = min(end - row, side);
      const skip = row * stride;
      let c: usize = 0;
      while (c < columns) {
        const at = skip + (c << 2);
        const add = residual ? residual + at : 0;
        const bit = bits ? bits + row * bitStride + (c >> 2) : 0;
        if (c < strips * STRIP && !load<u8>(careful + c / STRIP)) {
          const n = c == 0 ? start : alike(careful, c / STRIP, strips);
          affineStrips(x + at, y + at, group, stride, n, records + (c << 2), plane, add, bit, bitStride);
          c += n * STRIP;
        } else {
          affineLanes(x + at, y + at, group, stride, columns - c, records + (c << 2), plane, add, bit, bitStride);
          c += 4;
        }
      }
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
  const exact = outer * rows <= EXACT || (steps & EXACTLY) != 0;
  const plane = room << 2;
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
      pivots(x + first * realStride, span, realStride, real, pivot);
      if (k > 1) repeat(pivot, real, k - 1, pivot + realStride);
      memory.fill(sums, 0, room * 20);
      addAllMoments(exact, x, full, stride, columns, segments, segmentCount, pivot, sums);
      if (rest) addMoments(exact, x + full * stride, rest, realStride, real, pivot, sums);
      if (k > 1) foldCopies(sums, real, k);
      const m = width > 1 ? columnMean : mean;
      const v = width > 1 ? columnVariance : variance;
      for (let c: usize = 0; c < own; c += 4) {
        finishMoments(
          x + (c << 2), rows, realStride, own - c, segments, segmentCount, count / f64(width), eps, pivot + (c << 2),
          sumOf(sums, c), m + (c << 3), v + (c << 3), work,
        );
      }
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
      for (let c: usize = 0; c < columns; c += 4) {
        const g = gamma ? channelGamma + (c << 2) : 0;
        const b = beta ? channelBeta + (c << 2) : 0;
        mark(careful, c, affineOf(records + (c << 2), plane, m + (c << 3), r + (c << 3), g, b));
      }
      if (rest) {
        const at = full * stride;
        applyAffine(
          x + at, y + at, rest, realStride, real, records, plane, careful, residual ? residual + at : 0, 0, 0,
        );
      }
      applyAffine(x, y, full, stride, columns, records, plane, careful, residual, bits, bitStride);
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

/** Adds the dot products of `rows` rows of `columns` columns to the sums. */
function addDots(
  x: usize, dy: usize, rows: usize, stride: usize, columns: usize, records: usize, plane: usize, careful: usize,
  sums: usize, bits: usize, bitStride: usize,
): void {
  // Strips that bits mask are left to the lanes: an instance for them cost 1.3 kB.
  const strips: usize = bits ? 0 : columns / STRIP;
  const calm = alike(careful, 0, strips) == strips && !load<u8>(careful);
  const tile = tileOf(stride);
  const far = rows * stride >= FAR;
  while (rows > 0) {
    const n = min(rows, tile);
    const grouped = n & ~3;
    if (far) {
      readAlong(x, n * stride);
      readAlong(dy, n * stride);
    }
    if (calm) dotsStrips(x, dy, grouped >> 2, stride, strips, records, sums);
    for (let c: usize = calm && grouped == n ? strips * STRIP : 0; c < columns; c += 4) {
      const done = calm && c < strips * STRIP ? grouped : 0;
      const skip = done * stride + (c << 2);
      const record = records + (c << 2);
      dotsLanes(
        x + skip, dy + skip, n - done, stride, columns - c, v128.load(record + GRADIENT.MU * plane),
        v128.load(record + GRADIENT.SCALE * plane), f32x4.splat(1), sumOf(sums, c), sizeOf(sums, c),
        bits ? bits + done * bitStride + (c >> 2) : 0, bitStride,
      );
    }
    x += n * stride;
    dy += n * stride;
    if (bits) bits += n * bitStride;
    rows -= n;
  }
}

/** Where sums of gradients left the range, those columns alone are summed once more, dy scaled. */
function refineDots(
  x: usize, dy: usize, rows: usize, stride: usize, lanes: usize, segments: usize, segmentCount: usize, record: usize,
  plane: usize, sums: usize, bits: usize, bitStride: usize, head: usize,
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
  const mu = f32x4.mul(v128.load(record + GRADIENT.MU * plane), xScale);
  const scale = f32x4.mul(v128.load(record + GRADIENT.SCALE * plane), xScale);
  if (!segments) dotsLanes(x, dy, rows, stride, lanes, mu, scale, dyScale, head + 64, head + 32, bits, bitStride);
  for (; segmentCount > 0; segmentCount--) {
    const from = load<usize>(segments);
    dotsLanes(
      x + from * stride, dy + from * stride, load<usize>(segments, 4) - from, stride, lanes, mu, scale, dyScale,
      head + 64, head + 32, bits ? bits + from * bitStride : 0, bitStride,
    );
    segments += 8;
  }
  for (let lane: usize = 0; lane < 4; lane++) {
    if (!(open & (1 << u32(lane)))) continue;
    const back = f64(load<f32>(head + (lane << 2)));
    const s = load<f64>(head + 64 + (lane << 3)) / back;
    const t = load<f64>(head + 64 + (lane << 3), 128) / back / (back < 1 ? f64(LESS) : 1);
    // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
    if (back > 1 && !(abs(s) + abs(t) < Infinity)) continue;
    store<f64>(sums + (lane << 3), s);
    store<f64>(sums + (lane << 3), t, 128);
  }
}

/**
 * Where dy's few large values fall on x near the mean, the mean's own error, up to a fifth of a unit of sigma, is many
 * units of `sum(dy * xhat)`, and likewise where another channel of the group makes its spread: those groups' means are
 * taken once more, in float64 throughout, and their sums corrected.
 */
function sharpenDots(
  x: usize, rows: usize, stride: usize, columns: usize, width: usize, segments: usize, segmentCount: usize, count: f64,
  records: usize, plane: usize, sums: usize, mean: usize, rstd: usize, head: usize,
): void {
  let walked = columns;
  for (let first: usize = 0; first < columns; first += width) {
    const record = records + (first << 2);
    const scale = f64(load<f32>(record + GRADIENT.SCALE * plane));
    const unit = 4 * load<f64>(rstd + (first << 3)) / scale;
    let open = false;
    for (let c = first; c < first + width; c++) {
      if (abs(load<f64>(sumOf(sums, c))) > unit * f64(load<f32>(sizeOf(sums, c)))) open = true;
    }
    if (!open) continue;
    let total: f64 = 0;
    for (let c = first; c < first + width; c++) {
      // A vector's sums may serve several groups.
      const vector = c & ~3;
      if (vector != walked) {
        walked = vector;
        memory.fill(head + 64, 0, 160);
        addLanes(
          x + (vector << 2), rows, stride, columns - vector, segments, segmentCount,
          v128.load(records + (vector << 2) + GRADIENT.MU * plane),
          v128.load(records + (vector << 2) + GRADIENT.SCALE * plane), head + 64,
        );
      }
      total += load<f64>(head + 64 + ((c & 3) << 3));
    }
    const muLow = load<f64>(mean + (first << 3)) * scale - f64(load<f32>(record + GRADIENT.MU * plane));
    const off = total / count - muLow;
    for (let c = first; c < first + width; c++) {
      const at = sumOf(sums, c);
      const sum = load<f64>(at, 128) - off * load<f64>(at);
      if (abs(sum) < Infinity) store<f64>(at, sum, 128);
    }
  }
}

/** Whether four columns' sums may stand as they are, by the rules of `refineDots` and `sharpenDots`. */
function settledDots(rows: usize, record: usize, plane: usize, sums: usize, sizes: usize, rstd: usize): bool {
  const least = f64x2.splat(f64(rows) * FAINT_DOT);
  let settled = true;
  for (let half: usize = 0; half < 2; half++) {
    const at = half << 4;
    const s = f64x2.abs(v128.load(sums + at));
    const t = f64x2.abs(v128.load(sums + at, 128));
    const size = f64x2.promote_low_f32x4(v128.load64_zero(sizes + (half << 3)));
    const scale = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.SCALE * plane + (half << 3)));
    const near = f64x2.le(
      f64x2.mul(f64x2.mul(s, scale), f64x2.splat(0.25)), f64x2.mul(size, v128.load(rstd + at)),
    );
    const inRange = v128.and(f64x2.ge(t, least), f64x2.lt(f64x2.add(s, t), f64x2.splat(Infinity)));
    if (!i64x2.all_true(v128.and(near, inRange))) settled = false;
  }
  return settled;
}

/** Adds four columns' sums to dbeta and dgamma, and leaves `sum(dy * xhat)` in place of `sum(dy * (x - mu))`. */
function finishDots(
  record: usize, plane: usize, sums: usize, mean: usize, rstd: usize, dgamma: usize, dbeta: usize,
): void {
  for (let half: usize = 0; half < 2; half++) {
    const at = half << 4;
    const s = v128.load(sums + at);
    const scale = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.SCALE * plane + (half << 3)));
    const mu = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.MU * plane + (half << 3)));
    const muLow = f64x2.sub(f64x2.mul(v128.load(mean + at), scale), mu);
    const t = f64x2.mul(
      f64x2.sub(v128.load(sums + at, 128), f64x2.mul(muLow, s)), f64x2.div(v128.load(rstd + at), scale),
    );
    v128.store(sums + at, t, 128);
    v128.store(dbeta + at, f64x2.add(v128.load(dbeta + at), s));
    v128.store(dgamma + at, f64x2.add(v128.load(dgamma + at), t));
  }
}

/** Adds the columns' sums, weighted by gamma, to their groups'. */
function groupDots(columns: usize, width: usize, sums: usize, gamma: usize, sum1: usize, sum2: usize): void {
  for (let c: usize = 0; c < columns; ) {
    let s: f64 = 0;
    let t: f64 = 0;
    for (const end = c + width; c < end; c++) {
      const weight = gamma ? f64(load<f32>(gamma + (c << 2))) : 1;
      const at = sumOf(sums, c);
      s += weight * load<f64>(at);
      t += weight * load<f64>(at, 128);
    }
    store<f64>(sum1, s);
    store<f64>(sum2, t);
    sum1 += 8;
    sum2 += 8;
  }
}

/** Applies GRADIENT planes to `rows` rows, from the last chunk back. */
function applyGradient(
  frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, columns: usize, records: usize,
  plane: usize, careful: usize, dresidual: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  // Asked for each row, it would take a tenth of the time.
  const start = alike(careful, 0, strips);
  // Seven streams: 8192 x 2048 takes 13.6 ms by single rows, 10.5 by four.
  const side = sideOf(rows, stride, 4096);
  const chunk = chunkOf(stride);
  for (let end = rows; end > 0; end = (end - 1) & ~(chunk - 1)) {
    for (let row = (end - 1) & ~(chunk - 1); row < end; row += side) {
      const group = min(end - row, side);
      const skip = row * stride;
      let c: usize = 0;
      while (c < columns) {
        const at = skip + (c << 2);
        const add = dresidual ? dresidual + at : 0;
        const bit = bits ? bits + row * bitStride + (c >> 2) : 0;
        if (c < strips * STRIP && !load<u8>(careful + c / STRIP)) {
          const n = c == 0 ? start : alike(careful, c / STRIP, strips);
          gradientStrips(
            frozen, x + at, dy + at, dx + at, group, stride, n, records + (c << 2), plane, add, bit, bitStride,
          );
          c += n * STRIP;
        } else {
          gradientLanes(
            frozen, x + at, dy + at, dx + at, group, stride, columns - c, records + (c << 2), plane, add, bit, bitStride,
          );
          c += 4;
        }
      }
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
  const plane = room << 2;
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
  const own = k > 1 ? real : columns;
  let channelGamma = gamma;
  if (k > 1 && gamma) repeat(gamma, real, k, (channelGamma = columnGamma));
  for (; outer > 0; outer--) {
    let m = mean;
    let r = rstd;
    if (staged) {
      spread(mean, groups, width, k, (m = columnMean));
      spread(rstd, groups, width, k, (r = columnRstd));
    }
    for (let c: usize = 0; c < columns; c += 4) {
      mark(careful, c, dotsOf(records + (c << 2), plane, m + (c << 3), r + (c << 3)));
    }
    if (steps & REDUCE) {
      memory.fill(sums, 0, room * 20);
      if (!segments) addDots(x, dy, full, stride, columns, records, plane, careful, sums, bits, bitStride);
      for (let i: usize = 0; i < segmentCount; i++) {
        const first = load<usize>(segments + (i << 3));
        const skip = first * stride;
        addDots(
          x + skip, dy + skip, load<usize>(segments + (i << 3), 4) - first, stride, columns, records, plane, careful,
          sums, bits ? bits + first * bitStride : 0, bitStride,
        );
      }
      if (rest) {
        const at = full * stride;
        addDots(x + at, dy + at, rest, realStride, real, records, plane, careful, sums, 0, 0);
      }
      if (k > 1) foldCopies(sums, real, k);
      let settled = true;
      for (let c: usize = 0; c < own; c += 4) {
        const record = records + (c << 2);
        const at = sumOf(sums, c);
        const from = c << 2;
        if (settledDots(rows, record, plane, at, sizeOf(sums, c), r + (c << 3))) continue;
        settled = false;
        refineDots(
          x + from, dy + from, rows, realStride, own - c, segments, segmentCount, record, plane, at,
          bits ? bits + (c >> 2) : 0, bitStride, work,
        );
      }
      if (!settled && (steps & OWN)) {
        sharpenDots(x, rows, realStride, own, width, segments, segmentCount, count, records, plane, sums, m, r, work);
      }
      for (let c: usize = 0; c < own; c += 4) {
        finishDots(
          records + (c << 2), plane, sumOf(sums, c), m + (c << 3), r + (c << 3), dgamma + (c << 3), dbeta + (c << 3),
        );
      }
      groupDots(own, width, sums, gamma, sum1, sum2);
    }
    if (steps & APPLY) {
      let s1 = sum1;
      let s2 = sum2;
      if (staged) {
        spread(sum1, groups, width, k, (s1 = columnSum1));
        spread(sum2, groups, width, k, (s2 = columnSum2));
      }
      for (let c: usize = 0; c < columns; c += 4) {
        const at = c << 3;
        const g = gamma ? channelGamma + (c << 2) : 0;
        mark(careful, c, gradientOf(records + (c << 2), plane, m + at, r + at, g, s1 + at, s2 + at, count, frozen));
      }
      if (rest) {
        const at = full * stride;
        applyGradient(
          frozen, x + at, dy + at, dx + at, rest, realStride, real, records, plane, careful, 0, 0, 0,
        );
      }
      applyGradient(
        frozen, x, dy, dx, full, stride, columns, records, plane, careful, dresidual, bits, bitStride,
      );
    }
    const bytes = rows * realStride;
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
