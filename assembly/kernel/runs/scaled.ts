/** Runs that need scales, and backward those of given statistics: a vector at a time, whatever comes last. */
import { AFFINE } from "../../coefficients/affine";
import { GRADIENT } from "../../coefficients/gradient";
import { clamp, floorOf } from "../../epilogues/forward";
import { high, keep, loadTail, low, madd, maddTo, passBits, storeTail } from "../../simd/lanes";

/** The affine map of a vector, before the residual. `record` is the run's lane of the planes of coefficients.ts. */
// @ts-ignore: decorator
@inline function product(x: v128, record: usize, plane: usize): v128 {
  return f32x4.sub(
    f32x4.sub(f32x4.mul(x, v128.load32_splat(record + AFFINE.SCALE * plane)), v128.load32_splat(record + AFFINE.MU * plane)),
    v128.load32_splat(record + AFFINE.MU_LOW * plane),
  );
}

/** `y = (x - mu) * a + b`, with the residual, bits and ReLU, each where there is one. */
export function affineScaled(
  relu: bool, x: usize, y: usize, length: usize, record: usize, plane: usize, residual: usize, bits: usize,
): void {
  const a = v128.load32_splat(record + AFFINE.A * plane);
  const b = v128.load32_splat(record + AFFINE.B * plane);
  const out = v128.load32_splat(record + AFFINE.OUT * plane);
  const floor = floorOf(relu);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const d = product(loadTail(x, n), record, plane);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      const r = loadTail(residual, n);
      v = v128.bitselect(maddTo(d, a, b, r), f32x4.add(v, r), f32x4.eq(out, f32x4.splat(1)));
      residual += 16;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      bits++;
    }
    storeTail(y, n, clamp(v, floor));
    x += 16;
    y += 16;
    length -= n;
  }
}

/** dy as ReLU lets it through: by bits, or decided again from x as `affineScaled` does, `affine` being the forward's coefficients. */
// @ts-ignore: decorator
@inline function through(g: v128, x: v128, affine: usize, plane: usize, bits: usize): v128 {
  if (bits) return keep(g, load<u8>(bits));
  if (!affine) return g;
  const y = f32x4.mul(
    madd(product(x, affine, plane), v128.load32_splat(affine + AFFINE.A * plane), v128.load32_splat(affine + AFFINE.B * plane)),
    v128.load32_splat(affine + AFFINE.OUT * plane),
  );
  return v128.andnot(g, f32x4.le(y, f32x4.splat(0)));
}

/**
 * Adds `sum(dy)` and `sum(dy * (x * scale - mu) * xScale)`, dy times `dyScale`, to float64 at `sums` and 128 bytes on. In float64: a
 * group of a few values bears no more roundings than those of its coefficients.
 */
export function dotsScaled(
  x: usize, dy: usize, length: usize, record: usize, affine: usize, plane: usize, dyScale: f32, xScale: f32, sums: usize, bits: usize,
): void {
  const mu = f32x4.mul(v128.load32_splat(record + GRADIENT.MU * plane), f32x4.splat(xScale));
  const scale = f32x4.mul(v128.load32_splat(record + GRADIENT.SCALE * plane), f32x4.splat(xScale));
  const by = f32x4.splat(dyScale);
  let total = f64x2.splat(0);
  let dots = total;
  while (length > 0) {
    const n = min<usize>(length, 4);
    const v = loadTail(x, n);
    const g = f32x4.mul(through(loadTail(dy, n), v, affine, plane, bits), by);
    let d = f32x4.sub(f32x4.mul(v, scale), mu);
    if (n < 4) d = keep(d, (1 << u32(n)) - 1);
    total = f64x2.add(total, f64x2.add(low(g), high(g)));
    dots = f64x2.add(dots, f64x2.add(f64x2.mul(low(g), low(d)), f64x2.mul(high(g), high(d))));
    if (bits) bits++;
    x += n << 2;
    dy += n << 2;
    length -= n;
  }
  store<f64>(sums, load<f64>(sums) + (f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1)));
  store<f64>(sums, load<f64>(sums, 128) + (f64x2.extract_lane(dots, 0) + f64x2.extract_lane(dots, 1)), 128);
}

/** dx; with `frozen` statistics `p * dy`, x unread unless ReLU is decided again. */
export function gradientScaled(
  frozen: bool, x: usize, dy: usize, dx: usize, length: usize, record: usize, affine: usize, plane: usize, dresidual: usize, bits: usize,
): void {
  const mu = v128.load32_splat(record + GRADIENT.MU * plane);
  const p = v128.load32_splat(record + GRADIENT.P * plane);
  const q = v128.load32_splat(record + GRADIENT.Q * plane);
  const r = v128.load32_splat(record + GRADIENT.R * plane);
  const scale = v128.load32_splat(record + GRADIENT.SCALE * plane);
  const by = v128.load32_splat(record + GRADIENT.DY_SCALE * plane);
  const out = v128.load32_splat(record + GRADIENT.OUT * plane);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const v = frozen && !affine ? f32x4.splat(0) : loadTail(x, n);
    const g = through(loadTail(dy, n), v, affine, plane, bits);
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
