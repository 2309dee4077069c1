/** The backward pass down columns; layout.ts has how they are walked. */
import { dotsOf, FAINT_DOT, GRADIENT, gradientOf, gradientScale, LESS } from "../coefficients";
import { dotsLanes, STRIP } from "../kernel/columns";
import { clear } from "../simd/lanes";
import { APPLY, FROZEN, OWN, REDUCE } from "../steps";
import { addLanes, areRounded } from "./forward";
import {
  addRows, alike, applyPlanes, clearOf, foldCopies, HEAD, padded, repeat, sideBySide, sizeOf, spread, sumOf,
} from "./layout";

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
  clear(head + 64, 160);
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
        clear(head + 64, 160);
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

/**
 * Takes sums again that may not stand as they are, by the rules of `refineDots` and `sharpenDots`; the latter where
 * `rounded` is not 0: for the minibatch's own statistics, whose means are.
 */
function settleDots(
  rounded: usize, x: usize, dy: usize, rows: usize, stride: usize, columns: usize, width: usize, segments: usize,
  segmentCount: usize, count: f64, records: usize, plane: usize, sums: usize, mean: usize, rstd: usize, bits: usize,
  bitStride: usize, head: usize,
): void {
  const least = f64x2.splat(f64(rows) * FAINT_DOT);
  let settled = true;
  for (let c: usize = 0; c < columns; c += 4) {
    const record = records + (c << 2);
    const at = sumOf(sums, c);
    const sizes = sizeOf(sums, c);
    let fine = true;
    for (let half: usize = 0; half < 2; half++) {
      const from = at + (half << 4);
      const s = f64x2.abs(v128.load(from));
      const t = f64x2.abs(v128.load(from, 128));
      const size = f64x2.promote_low_f32x4(v128.load64_zero(sizes + (half << 3)));
      const scale = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.SCALE * plane + (half << 3)));
      const near = f64x2.le(
        f64x2.mul(f64x2.mul(s, scale), f64x2.splat(0.25)), f64x2.mul(size, v128.load(rstd + (c << 3) + (half << 4))),
      );
      const inRange = v128.and(f64x2.ge(t, least), f64x2.lt(f64x2.add(s, t), f64x2.splat(Infinity)));
      if (!i64x2.all_true(v128.and(near, inRange))) fine = false;
    }
    if (fine) continue;
    settled = false;
    const from = c << 2;
    refineDots(
      x + from, dy + from, rows, stride, columns - c, segments, segmentCount, record, plane, at, bits ? bits + (c >> 2) : 0,
      bitStride, head,
    );
  }
  if (!settled && rounded) {
    sharpenDots(x, rows, stride, columns, width, segments, segmentCount, count, records, plane, sums, mean, rstd, head);
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
    const t = f64x2.mul(f64x2.sub(v128.load(at, 128), f64x2.mul(muLow, s)), f64x2.div(v128.load(rstd), scale));
    v128.store(at, t, 128);
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

/** Adds the columns' sums, weighted by gamma, to their groups'. */
export function groupDots(columns: usize, width: usize, sums: usize, gamma: usize, sum1: usize, sum2: usize): void {
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

/**
 * One backward pass. REDUCE sets dbeta to `sum(dy)` and dgamma to `sum(dy * xhat)` (float64, a value a column; dbeta lies behind
 * dgamma, with as much room), and `sum1`, `sum2` (float64, outer * groups) to those sums weighted by gamma; APPLY writes dx from
 * them, with FROZEN statistics `gamma * rstd * dy`. `bits` are the forward's; `dresidual` takes dy as ReLU let it through, or 0.
 */
export function columnsBackward(
  steps: usize, x: usize, dy: usize, dx: usize, outer: usize, rows: usize, groups: usize, width: usize, segments: usize,
  segmentCount: usize, count: f64, mean: usize, rstd: usize, gamma: usize, sum1: usize, sum2: usize, dgamma: usize,
  dbeta: usize, dresidual: usize, bits: usize, work: usize,
): void {
  const frozen = (steps & FROZEN) != 0;
  // Few rows' means need no second look (16 x 16, backward: 0.73 us, 0.47).
  const rounded = areRounded(outer * rows) ? steps & OWN : 0;
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
  const wide = room << 3;
  const records = clearOf(work + HEAD + 5 * plane, plane, x, dy);
  const sums = records - 5 * plane;
  const careful = records + 7 * plane;
  const columnGamma = careful + plane;
  const columnMean = columnGamma + wide;
  const columnRstd = columnMean + wide;
  const columnSum1 = columnRstd + wide;
  const columnSum2 = columnSum1 + wide;
  const own = k > 1 ? real : columns;
  let channelGamma = gamma;
  if (k > 1 && gamma) repeat(gamma, real, k, (channelGamma = columnGamma));
  if (steps & REDUCE) clear(dgamma, (dbeta - dgamma) << 1);
  for (; outer > 0; outer--) {
    let m = mean;
    let r = rstd;
    if (staged) {
      spread(mean, groups, width, k, (m = columnMean));
      spread(rstd, groups, width, k, (r = columnRstd));
    }
    dotsOf(records, plane, m, r, columns, careful);
    if (steps & REDUCE) {
      clear(sums, room * 20);
      // Strips that bits mask are left to the lanes, as careful ones are: an instance for them cost 1.3 kB.
      const strips = columns / STRIP;
      const fast = !bits && alike(careful, 0, strips) == strips && !load<u8>(careful);
      addRows(fast, x, dy, full, stride, columns, segments, segmentCount, records, plane, sums, bits, bitStride);
      if (rest) {
        const at = full * stride;
        addRows(fast, x + at, dy + at, rest, realStride, real, 0, 0, records, plane, sums, 0, 0);
      }
      if (k > 1) foldCopies(sums, real, k);
      settleDots(
        rounded, x, dy, rows, realStride, own, width, segments, segmentCount, count, records, plane, sums, m, r,
        bits, bitStride, work,
      );
      finishDots(own, records, plane, sums, m, r, dgamma, dbeta);
      groupDots(own, width, sums, gamma, sum1, sum2);
    }
    if (steps & APPLY) {
      let s1 = sum1;
      let s2 = sum2;
      if (staged) {
        spread(sum1, groups, width, k, (s1 = columnSum1));
        spread(sum2, groups, width, k, (s2 = columnSum2));
      }
      gradientOf(records, plane, m, r, channelGamma, s1, s2, count, frozen, columns, careful);
      if (rest) {
        const at = full * stride;
        applyPlanes(frozen, x + at, dy + at, dx + at, rest, realStride, real, records, plane, careful, 0, 0, 0);
      }
      applyPlanes(frozen, x, dy, dx, full, stride, columns, records, plane, careful, dresidual, bits, bitStride);
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
