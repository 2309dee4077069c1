/** Backward along a run: the dot products, and `dx = p * dy + (q * (x - mu) + r)`, dy as the epilogue lets it through. */
import { AFFINE, GRADIENT } from "../../coefficients";
import { Epilogue } from "../../epilogues/epilogue";
import { decidesAgain } from "../../epilogues/optional";
import { high, keep, loadTail, low, madd, storeTail, sum } from "../../simd/lanes";
import { STEP, STEPS } from "./moments";

/**
 * dy of a vector that may need scales: by bits, or decided again from x, as `affineRun` does. `affine` is the run's lane of the
 * forward's coefficients.
 */
// @ts-ignore: decorator
@inline function throughScaled<E extends Epilogue>(g: v128, x: v128, affine: usize, plane: usize, bits: usize): v128 {
  if (decidesAgain<E>()) {
    const d = f32x4.sub(
      f32x4.sub(f32x4.mul(x, v128.load32_splat(affine + AFFINE.SCALE * plane)), v128.load32_splat(affine + AFFINE.MU * plane)),
      v128.load32_splat(affine + AFFINE.MU_LOW * plane),
    );
    const y = f32x4.mul(
      madd(d, v128.load32_splat(affine + AFFINE.A * plane), v128.load32_splat(affine + AFFINE.B * plane)),
      v128.load32_splat(affine + AFFINE.OUT * plane),
    );
    return v128.andnot(g, f32x4.le(y, f32x4.splat(0)));
  }
  return changetype<E>(0).masks() ? keep(g, load<u8>(bits)) : g;
}

// @ts-ignore: decorator
@inline function through<E extends Epilogue>(g: v128, d: v128, a: v128, b: v128, bits: usize, at: usize): v128 {
  if (decidesAgain<E>()) return v128.andnot(g, f32x4.le(madd(d, a, b), f32x4.splat(0)));
  return changetype<E>(0).masks() ? keep(g, load<u8>(bits + at)) : g;
}

/** Adds `sum(dy)` and `sum(dy * (x * scale - mu) * xScale)`, dy times `dyScale`, to float64 at `sums` and 128 bytes on. */
export function dotsRun<E extends Epilogue>(
  scales: bool, x: usize, dy: usize, length: usize, record: usize, affine: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = f32x4.mul(v128.load32_splat(record + GRADIENT.MU * plane), f32x4.splat(xScale));
  const a = decidesAgain<E>() ? v128.load32_splat(affine + AFFINE.A * plane) : zero;
  const b = decidesAgain<E>() ? v128.load32_splat(affine + AFFINE.B * plane) : zero;
  let total = load<f64>(sums);
  let dots = load<f64>(sums, 128);
  let steps: usize = scales ? 0 : length / STEP;
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
      const d0 = f32x4.sub(v128.load(x), mu);
      const d1 = f32x4.sub(v128.load(x, 16), mu);
      const d2 = f32x4.sub(v128.load(x, 32), mu);
      const d3 = f32x4.sub(v128.load(x, 48), mu);
      const g0 = through<E>(v128.load(dy), d0, a, b, bits, 0);
      const g1 = through<E>(v128.load(dy, 16), d1, a, b, bits, 1);
      const g2 = through<E>(v128.load(dy, 32), d2, a, b, bits, 2);
      const g3 = through<E>(v128.load(dy, 48), d3, a, b, bits, 3);
      s0 = f32x4.add(s0, g0);
      s1 = f32x4.add(s1, g1);
      s2 = f32x4.add(s2, g2);
      s3 = f32x4.add(s3, g3);
      t0 = madd(g0, d0, t0);
      t1 = madd(g1, d1, t1);
      t2 = madd(g2, d2, t2);
      t3 = madd(g3, d3, t3);
      x += 4 * STEP;
      dy += 4 * STEP;
      if (bits) bits += 4;
    }
    total += sum(f32x4.add(f32x4.add(s0, s1), f32x4.add(s2, s3)));
    dots += sum(f32x4.add(f32x4.add(t0, t1), f32x4.add(t2, t3)));
  }
  if (length) {
    const scale = f32x4.mul(v128.load32_splat(record + GRADIENT.SCALE * plane), f32x4.splat(xScale));
    const by = f32x4.splat(dyScale);
    // In float64: a group of a few values bears no more roundings than those of its coefficients.
    let rest = f64x2.splat(0);
    let restDots = rest;
    while (length > 0) {
      const n = min<usize>(length, 4);
      const v = loadTail(x, n);
      const g = f32x4.mul(throughScaled<E>(loadTail(dy, n), v, affine, plane, bits), by);
      let d = f32x4.sub(f32x4.mul(v, scale), mu);
      if (n < 4) d = keep(d, (1 << u32(n)) - 1);
      rest = f64x2.add(rest, f64x2.add(low(g), high(g)));
      restDots = f64x2.add(restDots, f64x2.add(f64x2.mul(low(g), low(d)), f64x2.mul(high(g), high(d))));
      if (bits) bits++;
      x += n << 2;
      dy += n << 2;
      length -= n;
    }
    total += f64x2.extract_lane(rest, 0) + f64x2.extract_lane(rest, 1);
    dots += f64x2.extract_lane(restDots, 0) + f64x2.extract_lane(restDots, 1);
  }
  store<f64>(sums, total);
  store<f64>(sums, dots, 128);
}

/** dx of a run; with `frozen` statistics `p * dy`, x unread unless the epilogue asks. */
export function gradientRun<E extends Epilogue>(
  scales: bool, frozen: bool, x: usize, dy: usize, dx: usize, length: usize, record: usize, affine: usize, plane: usize, dresidual: usize,
  bits: usize,
): void {
  const e = changetype<E>(0);
  const zero = f32x4.splat(0);
  const mu = v128.load32_splat(record + GRADIENT.MU * plane);
  const p = v128.load32_splat(record + GRADIENT.P * plane);
  const q = v128.load32_splat(record + GRADIENT.Q * plane);
  const r = v128.load32_splat(record + GRADIENT.R * plane);
  const a = decidesAgain<E>() ? v128.load32_splat(affine + AFFINE.A * plane) : zero;
  const b = decidesAgain<E>() ? v128.load32_splat(affine + AFFINE.B * plane) : zero;
  let steps: usize = scales || frozen ? 0 : length / STEP;
  length -= steps * STEP;
  for (; steps > 0; steps--) {
    const d0 = f32x4.sub(v128.load(x), mu);
    const d1 = f32x4.sub(v128.load(x, 16), mu);
    const d2 = f32x4.sub(v128.load(x, 32), mu);
    const d3 = f32x4.sub(v128.load(x, 48), mu);
    const g0 = through<E>(v128.load(dy), d0, a, b, bits, 0);
    const g1 = through<E>(v128.load(dy, 16), d1, a, b, bits, 1);
    const g2 = through<E>(v128.load(dy, 32), d2, a, b, bits, 2);
    const g3 = through<E>(v128.load(dy, 48), d3, a, b, bits, 3);
    if (e.writesBits() && dresidual) {
      v128.store(dresidual, g0);
      v128.store(dresidual, g1, 16);
      v128.store(dresidual, g2, 32);
      v128.store(dresidual, g3, 48);
      dresidual += 4 * STEP;
    }
    v128.store(dx, madd(p, g0, madd(q, d0, r)));
    v128.store(dx, madd(p, g1, madd(q, d1, r)), 16);
    v128.store(dx, madd(p, g2, madd(q, d2, r)), 32);
    v128.store(dx, madd(p, g3, madd(q, d3, r)), 48);
    x += 4 * STEP;
    dy += 4 * STEP;
    dx += 4 * STEP;
    if (bits) bits += 4;
  }
  if (!length) return;
  const scale = v128.load32_splat(record + GRADIENT.SCALE * plane);
  const by = v128.load32_splat(record + GRADIENT.DY_SCALE * plane);
  const out = v128.load32_splat(record + GRADIENT.OUT * plane);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const unread = frozen && !decidesAgain<E>();
    const v = unread ? zero : loadTail(x, n);
    const g = throughScaled<E>(loadTail(dy, n), v, affine, plane, bits);
    if (dresidual) {
      storeTail(dresidual, n, g);
      dresidual += 16;
    }
    const h = f32x4.mul(g, by);
    const d = frozen ? f32x4.mul(p, h) : madd(p, h, madd(q, f32x4.sub(f32x4.mul(v, scale), mu), r));
    storeTail(dx, n, f32x4.mul(d, out));
    if (bits) bits++;
    x += 16;
    dy += 16;
    dx += 16;
    length -= n;
  }
}
