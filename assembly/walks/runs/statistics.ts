/** Mean and variance of groups that lie in runs. */
import { momentsRun } from "../../kernel/runs/moments";
import { isNear, scaleOfMoments } from "../../moments";
import { Pass } from "../../pass";
import { Frame } from "./frame";

/** The mean of the first and the last four values, or the first of short runs: any pivot is correct, a near one exact at once. */
function pivotOf(p: Pass, f: Frame, x: usize): f32 {
  if (p.segments) {
    const first = load<usize>(p.segments);
    const row = first / p.length;
    return load<f32>(x + ((row * f.stride + first - row * p.length) << 2));
  }
  if (f.run < 4) return load<f32>(x);
  const eighth = f32x4.splat(0.125);
  const last = x + (((usize(p.rows) - 1) * f.stride + f.run - 4) << 2);
  const v = f32x4.add(f32x4.mul(v128.load(x), eighth), f32x4.mul(v128.load(last), eighth));
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/**
 * Mean and variance (float64, at `mean` and `variance`) of each of `groups` adjacent groups, whose first values lie at `x`; about 0
 * instead for `rms`: a mean of 0 and the mean square. `pivots` and `sums` are room for a float32 and two float64 a group.
 */
export function groupMoments(
  p: Pass, f: Frame, x: usize, groups: usize, rms: bool, pivots: usize, sums: usize, mean: usize, variance: usize,
): void {
  const run = f.run;
  const bytes = run << 2;
  for (let g: usize = 0; g < groups; g++) {
    store<f32>(pivots + (g << 2), rms ? 0 : pivotOf(p, f, x + g * bytes));
    v128.store(sums + (g << 4), f32x4.splat(0));
  }
  // Row by row, so that adjacent groups are read along.
  for (let row: usize = 0; row < p.rows && !p.segments; row++) {
    let at = x + ((row * f.stride) << 2);
    for (let g: usize = 0; g < groups; g++) {
      momentsRun(at, run, load<f32>(pivots + (g << 2)), 1, sums + (g << 4));
      at += bytes;
    }
  }
  for (; groups > 0; groups--) {
    settleMoments(p, f, x, rms, load<f32>(pivots), sums, mean, variance);
    x += bytes;
    pivots += 4;
    sums += 16;
    mean += 8;
    variance += 8;
  }
}

/** Mean and variance of a group from its sums about `pivot`, or from others about a nearer one, with a scale, where those are none. */
function settleMoments(
  p: Pass, f: Frame, x: usize, rms: bool, pivot: f64, sums: usize, mean: usize, variance: usize,
): void {
  const count = p.count;
  let scale: f64 = 1;
  let m: f64 = 0;
  let v: f64 = 0;
  for (let attempt = 0; attempt < 4; attempt++) {
    const about = f32(pivot * scale);
    if (attempt) v128.store(sums, f32x4.splat(0));
    for (let row: usize = 0; row < p.rows && attempt != 0 && !p.segments; row++) {
      momentsRun(x + ((row * f.stride) << 2), f.run, about, f32(scale), sums);
    }
    for (let i: usize = 0; i < p.segmentCount && p.segments != 0; i++) {
      const at = p.segments + (i << 3);
      const first = load<usize>(at);
      const row = first / p.length;
      let from = x + ((row * f.stride + first - row * p.length) << 2);
      // Positions are those of every channel of the group.
      for (let channel: usize = 0; channel < p.width; channel++) {
        momentsRun(from, load<usize>(at, 4) - first, about, f32(scale), sums);
        from += p.length << 2;
      }
    }
    // A product with 1 / count would not be exact where all values are the same.
    m = load<f64>(sums) / count;
    let q = load<f64>(sums, 8) / count;
    const s = m - f64(about);
    v = rms ? q : max<f64>(q - s * s, 0);
    if (rms) m = 0;
    let next = scale;
    // Divisions by 1 would be felt in short rows.
    if (scale == 1) next = scaleOfMoments(q, v, pivot, p.eps);
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
