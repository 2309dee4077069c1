/**
 * Kernels that walk a run: contiguous values with one statistic and one pair of coefficients.
 *
 *   x ├─ f32x4 ─┼─ f32x4 ─┼─ f32x4 ─┼─ f32x4 ─┤ … ├─ f32x4 ─┤ 1-3 lanes
 *     └── four sums side by side, 4 terms each, then float64 ──┘
 *
 * `...Run` takes whole steps of four vectors at full speed, `...Lanes` any length and, in its records, scales. Records
 * are those of coefficients.ts, of which one lane is used: `record` points at that lane.
 */
import { AFFINE, GRADIENT } from "../coefficients";
import { high, keep, loadTail, low, madd, maddTo, passBits, relu, storeTail, sum } from "../simd/lanes";

/** Values of a step, and the steps whose sums stay in float32. */
// @ts-ignore: decorator
@inline export const STEP: usize = 16;
// @ts-ignore: decorator
@inline const STEPS: usize = 4;

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

/** `y = epilogue((x - mu) * a + b)`. */
export function affineRun(
  careful: bool, x: usize, y: usize, length: usize, record: usize, plane: usize, residual: usize, bits: usize,
): void {
  const mu = v128.load32_splat(record + AFFINE.MU * plane);
  const a = v128.load32_splat(record + AFFINE.A * plane);
  const b = v128.load32_splat(record + AFFINE.B * plane);
  let steps: usize = careful ? 0 : length / STEP;
  length -= steps * STEP;
  for (; steps > 0; steps--) {
    const d0 = f32x4.sub(v128.load(x), mu);
    const d1 = f32x4.sub(v128.load(x, 16), mu);
    const d2 = f32x4.sub(v128.load(x, 32), mu);
    const d3 = f32x4.sub(v128.load(x, 48), mu);
    let y0: v128;
    let y1: v128;
    let y2: v128;
    let y3: v128;
    if (residual) {
      y0 = maddTo(d0, a, b, v128.load(residual));
      y1 = maddTo(d1, a, b, v128.load(residual, 16));
      y2 = maddTo(d2, a, b, v128.load(residual, 32));
      y3 = maddTo(d3, a, b, v128.load(residual, 48));
      residual += 4 * STEP;
    } else {
      y0 = madd(d0, a, b);
      y1 = madd(d1, a, b);
      y2 = madd(d2, a, b);
      y3 = madd(d3, a, b);
    }
    if (bits) {
      store<u32>(bits, passBits(y0) | (passBits(y1) << 8) | (passBits(y2) << 16) | (passBits(y3) << 24));
      y0 = relu(y0);
      y1 = relu(y1);
      y2 = relu(y2);
      y3 = relu(y3);
      bits += 4;
    }
    v128.store(y, y0);
    v128.store(y, y1, 16);
    v128.store(y, y2, 32);
    v128.store(y, y3, 48);
    x += 4 * STEP;
    y += 4 * STEP;
  }
  const muLow = v128.load32_splat(record + AFFINE.MU_LOW * plane);
  const scale = v128.load32_splat(record + AFFINE.SCALE * plane);
  const out = v128.load32_splat(record + AFFINE.OUT * plane);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const d = f32x4.sub(f32x4.sub(f32x4.mul(loadTail(x, n), scale), mu), muLow);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      const r = loadTail(residual, n);
      v = v128.bitselect(maddTo(d, a, b, r), f32x4.add(v, r), f32x4.eq(out, f32x4.splat(1)));
      residual += 16;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      v = relu(v);
      bits++;
    }
    storeTail(y, n, v);
    x += 16;
    y += 16;
    length -= n;
  }
}

/** Adds `sum(dy)` and `sum(dy * (x * scale - mu) * xScale)`, dy times `dyScale`, to float64 at `sums` and 128 bytes on. */
export function dotsRun(
  careful: bool, x: usize, dy: usize, length: usize, record: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = f32x4.mul(v128.load32_splat(record + GRADIENT.MU * plane), f32x4.splat(xScale));
  let total = load<f64>(sums);
  let dots = load<f64>(sums, 128);
  let steps: usize = careful ? 0 : length / STEP;
  length -= steps * STEP;
  while (steps > 0) {
    let s0 = zero;
    let s1 = zero;
    let s2 = zero;
    let s3 = zero;
    let t0 = zero;
    let t1 = zero;
    let t2 = zero;
    let t3 = zero;
    let left = min(steps, STEPS);
    steps -= left;
    for (; left > 0; left--) {
      let g0 = v128.load(dy);
      let g1 = v128.load(dy, 16);
      let g2 = v128.load(dy, 32);
      let g3 = v128.load(dy, 48);
      if (bits) {
        g0 = keep(g0, load<u8>(bits));
        g1 = keep(g1, load<u8>(bits, 1));
        g2 = keep(g2, load<u8>(bits, 2));
        g3 = keep(g3, load<u8>(bits, 3));
        bits += 4;
      }
      s0 = f32x4.add(s0, g0);
      s1 = f32x4.add(s1, g1);
      s2 = f32x4.add(s2, g2);
      s3 = f32x4.add(s3, g3);
      t0 = madd(g0, f32x4.sub(v128.load(x), mu), t0);
      t1 = madd(g1, f32x4.sub(v128.load(x, 16), mu), t1);
      t2 = madd(g2, f32x4.sub(v128.load(x, 32), mu), t2);
      t3 = madd(g3, f32x4.sub(v128.load(x, 48), mu), t3);
      x += 4 * STEP;
      dy += 4 * STEP;
    }
    total += sum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    dots += sum(f32x4.add(f32x4.add(t0, t1), f32x4.add(t2, t3)));
  }
  const scale = f32x4.mul(v128.load32_splat(record + GRADIENT.SCALE * plane), f32x4.splat(xScale));
  const by = f32x4.splat(dyScale);
  // In float64: a group of a few values bears no more roundings than those of its coefficients.
  let rest = f64x2.splat(0);
  let restDots = rest;
  while (length > 0) {
    const n = min<usize>(length, 4);
    let g = f32x4.mul(loadTail(dy, n), by);
    if (bits) {
      g = keep(g, load<u8>(bits));
      bits++;
    }
    let d = f32x4.sub(f32x4.mul(loadTail(x, n), scale), mu);
    if (n < 4) d = keep(d, (1 << u32(n)) - 1);
    rest = f64x2.add(rest, f64x2.add(low(g), high(g)));
    restDots = f64x2.add(restDots, f64x2.add(f64x2.mul(low(g), low(d)), f64x2.mul(high(g), high(d))));
    x += n << 2;
    dy += n << 2;
    length -= n;
  }
  total += f64x2.extract_lane(rest, 0) + f64x2.extract_lane(rest, 1);
  dots += f64x2.extract_lane(restDots, 0) + f64x2.extract_lane(restDots, 1);
  store<f64>(sums, total);
  store<f64>(sums, dots, 128);
}

/** `dx = p * dy + (q * (x - mu) + r)`, or `p * dy` if `frozen`. */
export function gradientRun(
  careful: bool, frozen: bool, x: usize, dy: usize, dx: usize, length: usize, record: usize, plane: usize, dresidual: usize,
  bits: usize,
): void {
  const mu = v128.load32_splat(record + GRADIENT.MU * plane);
  const p = v128.load32_splat(record + GRADIENT.P * plane);
  const q = v128.load32_splat(record + GRADIENT.Q * plane);
  const r = v128.load32_splat(record + GRADIENT.R * plane);
  let steps: usize = careful || bits || frozen ? 0 : length / STEP;
  length -= steps * STEP;
  for (; steps > 0; steps--) {
    const d0 = madd(q, f32x4.sub(v128.load(x), mu), r);
    const d1 = madd(q, f32x4.sub(v128.load(x, 16), mu), r);
    const d2 = madd(q, f32x4.sub(v128.load(x, 32), mu), r);
    const d3 = madd(q, f32x4.sub(v128.load(x, 48), mu), r);
    v128.store(dx, madd(p, v128.load(dy), d0));
    v128.store(dx, madd(p, v128.load(dy, 16), d1), 16);
    v128.store(dx, madd(p, v128.load(dy, 32), d2), 32);
    v128.store(dx, madd(p, v128.load(dy, 48), d3), 48);
    x += 4 * STEP;
    dy += 4 * STEP;
    dx += 4 * STEP;
  }
  const scale = v128.load32_splat(record + GRADIENT.SCALE * plane);
  const by = v128.load32_splat(record + GRADIENT.DY_SCALE * plane);
  const out = v128.load32_splat(record + GRADIENT.OUT * plane);
  while (length > 0) {
    const n = min<usize>(length, 4);
    let g = loadTail(dy, n);
    if (bits) {
      g = keep(g, load<u8>(bits));
      bits++;
      if (dresidual) {
        storeTail(dresidual, n, g);
        dresidual += 16;
      }
    }
    let v = f32x4.mul(g, by);
    if (frozen) v = f32x4.mul(p, v);
    else v = madd(p, v, madd(q, f32x4.sub(f32x4.mul(loadTail(x, n), scale), mu), r));
    storeTail(dx, n, f32x4.mul(v, out));
    x += 16;
    dy += 16;
    dx += 16;
    length -= n;
  }
}
