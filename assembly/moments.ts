/** Mean and variance of a group that lies in runs. */
import { isFar, readAlong } from "./far";
import { momentsRun } from "./kernel/runs";

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

/** The mean of sixteen values spread over the runs, or the first value of short ones: any pivot is correct, a near one exact at once. */
function pivotOf(x: usize, rows: usize, stride: usize, length: usize): f32 {
  if (length < 4) return load<f32>(x);
  const sixteenth = f32x4.splat(0.0625);
  let total = f32x4.splat(0);
  for (let i: usize = 0; i < 4; i++) {
    const at = x + (usize((u64(i) * rows) >> 2) * stride + (usize(u64(i) * (length - 4)) / 3)) * 4;
    total = f32x4.add(total, f32x4.mul(v128.load(at), sixteenth));
  }
  return (
    f32x4.extract_lane(total, 0) + f32x4.extract_lane(total, 1) + (f32x4.extract_lane(total, 2) + f32x4.extract_lane(total, 3))
  );
}

/**
 * Mean and variance (float64, at `mean` and `variance`) of `count` values: `rows` runs of `length`, `stride` values
 * apart, or the `segments` of them. `rms` takes them about 0 instead: a mean of 0 and the mean square. `sums` is room
 * for two float64.
 */
export function groupMoments(
  x: usize, rows: usize, stride: usize, length: usize, segments: usize, segmentCount: usize, count: f64, eps: f64,
  rms: bool, sums: usize, mean: usize, variance: usize,
): void {
  const far = isFar(rows, stride, length);
  let pivot: f64 = 0;
  if (!rms) {
    const first = segments ? load<usize>(segments) : 0;
    const row = first / length;
    if (!segments) pivot = pivotOf(x, rows, stride, length);
    else pivot = load<f32>(x + ((row * stride + first - row * length) << 2));
  }
  let scale: f64 = 1;
  let m: f64 = 0;
  let v: f64 = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    v128.store(sums, f32x4.splat(0));
    const about = f32(pivot * scale);
    if (!segments) {
      for (let row: usize = 0; row < rows; row++) {
        const at = x + ((row * stride) << 2);
        if (far) readAlong(at, length << 2);
        momentsRun(at, length, about, f32(scale), sums);
      }
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
