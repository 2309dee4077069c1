/** Mean and variance of a group that lies in runs. */
import { momentsRun } from "./kernel/runs/moments";

/** Below this mean square, squares may have vanished in float32 (2^-100). */
export const TINY: f64 = 7.888609052210118e-31;
/** The eps from which a variance below TINY makes no difference (2^-60), and the pivot from which there is none. */
export const EPS_RULES: f64 = 8.673617379884035e-19;
const PIVOT_RULES: f64 = 9.313225746154785e-10;
/** Scales for squares that vanish, or that leave the range (2^100, 2^-80). */
const UP: f64 = 1.2676506002282294e30;
export const DOWN: f64 = 8.271806125530277e-25;

/** The scale a group is to be summed with, from its mean square `q` about `pivot`, at a scale of 1, and its variance `v`. */
export function scaleOfMoments(q: f64, v: f64, pivot: f64, eps: f64): f64 {
  if (!(q < Infinity)) return DOWN;
  return v <= TINY && eps < EPS_RULES && abs(pivot) <= PIVOT_RULES ? UP : 1;
}

/** Whether a variance `v` may stand, as the mean square about the pivot was `q`: beyond 3 its digits are lost to the pivot's distance. */
export function isNear(q: f64, v: f64): bool {
  return q <= 3 * v;
}

/** The mean of the first and the last four values, or the first of short runs: any pivot is correct, a near one exact at once. */
function pivotOf(x: usize, rows: usize, stride: usize, length: usize): f32 {
  if (length < 4) return load<f32>(x);
  const eighth = f32x4.splat(0.125);
  const last = x + (((rows - 1) * stride + length - 4) << 2);
  const v = f32x4.add(f32x4.mul(v128.load(x), eighth), f32x4.mul(v128.load(last), eighth));
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/**
 * Mean and variance (float64, at `mean` and `variance`) of each of `groups` adjacent groups of `count` values: `rows` runs of
 * `length`, `stride` values apart, or the `segments` of them. `rms` takes them about 0 instead: a mean of 0 and the mean
 * square. `pivots` and `sums` are room for a float32 and two float64 a group.
 */
export function groupMoments(
  x: usize, groups: usize, rows: usize, stride: usize, length: usize, segments: usize, segmentCount: usize, count: f64,
  eps: f64, rms: bool, pivots: usize, sums: usize, mean: usize, variance: usize,
): void {
  const bytes = length << 2;
  const first = segments ? load<usize>(segments) : 0;
  const start = first / length;
  for (let g: usize = 0; g < groups; g++) {
    const at = x + g * bytes;
    let pivot: f32 = 0;
    if (!rms) pivot = segments ? load<f32>(at + ((start * stride + first - start * length) << 2)) : pivotOf(at, rows, stride, length);
    store<f32>(pivots + (g << 2), pivot);
    v128.store(sums + (g << 4), f32x4.splat(0));
  }
  if (!segments) {
    // Row by row, so that adjacent groups are read along.
    for (let row: usize = 0; row < rows; row++) {
      let at = x + ((row * stride) << 2);
      for (let g: usize = 0; g < groups; g++) {
        momentsRun(at, length, load<f32>(pivots + (g << 2)), 1, sums + (g << 4));
        at += bytes;
      }
    }
  }
  for (; groups > 0; groups--) {
    settleMoments(x, rows, stride, length, segments, segmentCount, count, eps, rms, load<f32>(pivots), sums, mean, variance);
    x += bytes;
    pivots += 4;
    sums += 16;
    mean += 8;
    variance += 8;
  }
}

/** Mean and variance of a group from its sums about `pivot`, or from others about a nearer one, with a scale, where those are none. */
function settleMoments(
  x: usize, rows: usize, stride: usize, length: usize, segments: usize, segmentCount: usize, count: f64, eps: f64, rms: bool,
  pivot: f64, sums: usize, mean: usize, variance: usize,
): void {
  let scale: f64 = 1;
  let m: f64 = 0;
  let v: f64 = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    const about = f32(pivot * scale);
    if (attempt) v128.store(sums, f32x4.splat(0));
    for (let row: usize = 0; row < rows && attempt != 0 && !segments; row++) {
      momentsRun(x + ((row * stride) << 2), length, about, f32(scale), sums);
    }
    for (let i: usize = 0; i < segmentCount; i++) {
      const first = load<usize>(segments + (i << 3));
      const row = first / length;
      momentsRun(
        x + ((row * stride + first - row * length) << 2), load<usize>(segments + (i << 3), 4) - first, about, f32(scale),
        sums,
      );
    }
    // A product with 1 / count would not be exact where all values are the same.
    m = load<f64>(sums) / count;
    let q = load<f64>(sums, 8) / count;
    const s = m - f64(about);
    v = rms ? q : max<f64>(q - s * s, 0);
    if (rms) m = 0;
    let next = scale;
    // Divisions by 1 would be felt in short rows.
    if (scale == 1) next = scaleOfMoments(q, v, pivot, eps);
    else {
      m /= scale;
      v = v / scale / scale;
      q = q / scale / scale;
    }
    if (next == scale && (rms || isNear(q, v) || !(q < Infinity))) break;
    scale = next;
    pivot = abs(m) < Infinity ? m : 0;
  }
  store<f64>(mean, m);
  store<f64>(variance, v);
}
