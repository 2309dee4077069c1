/**
 * Sums of a run forward: contiguous values with one statistic.
 *
 *   x ├─ f32x4 ─┼─ f32x4 ─┼─ f32x4 ─┼─ f32x4 ─┤ … ├─ f32x4 ─┤ 1-3 lanes
 *     └── four sums side by side, 4 terms each, then float64 ──┘
 */
import { high, keep, loadTail, low, madd } from "../../simd/lanes";

/** Values of a step, and the steps whose sums stay in float32. */
// @ts-ignore: decorator
@inline export const STEP: usize = 16;
// @ts-ignore: decorator
@inline export const STEPS: usize = 4;

/**
 * Adds `sum(x * scale)` and `sum((x * scale - pivot)^2)` to two float64 at `sums`; the first is taken in float64 from the
 * start, as down columns.
 */
export function momentsRun(x: usize, length: usize, pivot: f32, scale: f32, sums: usize): void {
  const p = f32x4.splat(pivot);
  const zero = f32x4.splat(0);
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  let squares = f64x2.splat(0);
  if (scale == 1) {
    let steps = length / STEP;
    length -= steps * STEP;
    while (steps > 0) {
      let q0 = zero;
      let q1 = zero;
      let q2 = zero;
      let q3 = zero;
      let left = min(steps, STEPS);
      steps -= left;
      for (; left > 0; left--) {
        const x0 = v128.load(x);
        const x1 = v128.load(x, 16);
        const x2 = v128.load(x, 32);
        const x3 = v128.load(x, 48);
        s0 = f64x2.add(s0, f64x2.add(f64x2.add(low(x0), low(x1)), f64x2.add(low(x2), low(x3))));
        s1 = f64x2.add(s1, f64x2.add(f64x2.add(high(x0), high(x1)), f64x2.add(high(x2), high(x3))));
        const d0 = f32x4.sub(x0, p);
        const d1 = f32x4.sub(x1, p);
        const d2 = f32x4.sub(x2, p);
        const d3 = f32x4.sub(x3, p);
        q0 = madd(d0, d0, q0);
        q1 = madd(d1, d1, q1);
        q2 = madd(d2, d2, q2);
        q3 = madd(d3, d3, q3);
        x += 4 * STEP;
      }
      const q = f32x4.add(f32x4.add(q0, q1), f32x4.add(q2, q3));
      squares = f64x2.add(squares, f64x2.add(low(q), high(q)));
    }
  }
  const by = f32x4.splat(scale);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const v = f32x4.mul(loadTail(x, n), by);
    // In float64, as few values bear few roundings; beyond the last, v and its pivot are 0.
    const about = n < 4 ? keep(p, (1 << u32(n)) - 1) : p;
    const d0 = f64x2.sub(low(v), low(about));
    const d1 = f64x2.sub(high(v), high(about));
    s0 = f64x2.add(s0, low(v));
    s1 = f64x2.add(s1, high(v));
    squares = f64x2.add(squares, f64x2.add(f64x2.mul(d0, d0), f64x2.mul(d1, d1)));
    x += 16;
    length -= n;
  }
  s0 = f64x2.add(s0, s1);
  store<f64>(sums, load<f64>(sums) + f64x2.extract_lane(s0, 0) + f64x2.extract_lane(s0, 1));
  store<f64>(sums, load<f64>(sums, 8) + f64x2.extract_lane(squares, 0) + f64x2.extract_lane(squares, 1), 8);
}
