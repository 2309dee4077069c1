/** Mean and variance of columns from their sums, and the second look at those whose sums may not stand. */
import { momentsLanes } from "../../kernel/columns/moments";
import { SUMS, sumOf } from "../../kernel/columns/layout";
import { DOWN, EPS_RULES, isNear, scaleOfMoments, TINY } from "../../moments";
import { Pass } from "../../pass";
import { clear, loadTail } from "../../simd/lanes";
import { Frame } from "./frame";

/** Up to so many rows give a column's pivot, evenly apart: `rows / PIVOT_ROWS` rows from one to the next. */
// @ts-ignore: decorator
@inline const PIVOT_ROWS: usize = 8;

/** A pivot for each column: the mean of up to eight rows. Any value is correct; a near one is exact at once. */
export function pivots(x: usize, rows: usize, stride: usize, columns: usize, to: usize): void {
  const some = min<usize>(rows, PIVOT_ROWS);
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

/** Adds the moments of one vector of columns, of `x * scale - pivot`, over all rows of an example or the segments of them. */
export function momentsOfVector(p: Pass, f: Frame, x: usize, lanes: usize, pivot: v128, scale: v128, sums: usize): void {
  const stride = f.realStride;
  if (!p.segments) momentsLanes(x, p.rows, stride, lanes, pivot, scale, sums);
  else {
    let pair = p.segments;
    for (let i = p.segmentCount; i > 0; i--) {
      const from = load<usize>(pair);
      momentsLanes(x + from * stride, load<usize>(pair, 4) - from, stride, lanes, pivot, scale, sums);
      pair += 8;
    }
  }
}

/** Mean and variance of an example's columns, `count` values each, from their sums; `head` is room for a second look. */
export function finishMoments(
  p: Pass, f: Frame, rms: bool, x: usize, count: f64, pivot: usize, sums: usize, mean: usize, variance: usize, head: usize,
): void {
  const columns = f.real;
  const inverse = f64x2.splat(1 / count);
  const least = f64x2.splat(p.eps >= EPS_RULES ? TINY - 1 : TINY);
  for (let c: usize = 0; c < columns; c += 4) {
    const at = sumOf(sums, c);
    let settled = true;
    for (let half: usize = 0; half < 2; half++) {
      const from = at + (half << 4);
      const to = (c << 3) + (half << 4);
      const s = f64x2.mul(v128.load(from), inverse);
      const q = f64x2.mul(v128.load(from, SUMS.SECOND), inverse);
      let m = f64x2.add(f64x2.promote_low_f32x4(v128.load64_zero(pivot + (c << 2) + (half << 3))), s);
      let v = f64x2.pmax(f64x2.sub(q, f64x2.mul(s, s)), f64x2.splat(0));
      if (rms) {
        m = f64x2.splat(0);
        v = q;
      }
      v128.store(mean + to, m);
      v128.store(variance + to, v);
      const near = v128.and(f64x2.le(q, f64x2.mul(v, f64x2.splat(3))), f64x2.lt(q, f64x2.splat(Infinity)));
      if (!i64x2.all_true(v128.and(near, f64x2.gt(v, least)))) settled = false;
    }
    if (settled) continue;
    refineMoments(
      p, f, rms, x + (c << 2), columns - c, count, pivot + (c << 2), at, mean + (c << 3), variance + (c << 3), head,
    );
  }
}

/**
 * Those of four columns once more about the mean, scaled, where a pivot lay more than 1.4 sigma off (its squares then
 * cost digits) or squares left the range.
 */
function refineMoments(
  p: Pass, f: Frame, rms: bool, x: usize, lanes: usize, count: f64, pivot: usize, sums: usize, mean: usize, variance: usize,
  head: usize,
): void {
  // The head: pivots (16 bytes), scales (16), then sums 64 bytes on (32, and 32 more 128 bytes further).
  let open: u32 = 0;
  for (let lane: usize = 0; lane < min<usize>(lanes, 4); lane++) {
    const v = load<f64>(variance + (lane << 3));
    const m = load<f64>(mean + (lane << 3));
    const q = load<f64>(sums + (lane << 3), SUMS.SECOND) / count;
    const scale = scaleOfMoments(q, v, load<f32>(pivot + (lane << 2)), p.eps);
    if (scale == 1 && (rms || isNear(q, v))) continue;
    store<f32>(head + (lane << 2), !rms && abs(m) < Infinity ? f32(m * scale) : 0);
    store<f32>(head + (lane << 2), f32(scale), 16);
    open |= 1 << u32(lane);
  }
  for (let attempt = 0; open != 0 && attempt < 3; attempt++) {
    clear(head + 64, 160);
    momentsOfVector(p, f, x, lanes, v128.load(head), v128.load(head, 16), head + 64);
    for (let lane: usize = 0; lane < 4; lane++) {
      if (!(open & (1 << u32(lane)))) continue;
      const scale = f64(load<f32>(head + (lane << 2), 16));
      const s = load<f64>(head + 64 + (lane << 3)) / count;
      const q = load<f64>(head + 64 + (lane << 3), SUMS.SECOND) / count;
      const v = rms ? q : max<f64>(q - s * s, 0);
      const m = rms ? 0 : f64(load<f32>(head + (lane << 2))) + s;
      store<f64>(mean + (lane << 3), m / scale);
      store<f64>(variance + (lane << 3), v / scale / scale);
      store<f32>(head + (lane << 2), f32(m));
      if (!(q < Infinity) && scale == 1) {
        // About the mean an outlier's square may leave the range that it kept to about the pivot.
        store<f32>(head + (lane << 2), abs(m) < Infinity ? f32(m * DOWN) : 0);
        store<f32>(head + (lane << 2), f32(DOWN), 16);
      } else if (rms || isNear(q, v) || !(abs(m) < Infinity)) open &= ~(1 << u32(lane));
    }
  }
}

/** Mean and variance of groups of `width` columns from those of their columns (Chan, Golub & LeVeque 1979). */
export function mergeColumns(
  groups: usize, width: usize, columnMean: usize, columnVariance: usize, mean: usize, variance: usize,
): void {
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
