/** Sums of columns backward: of dy, as the epilogue lets it through, and of `dy * (x - mu)`. */
import { AFFINE } from "../../coefficients/affine";
import { Gate } from "../../epilogues/backward";
import { addTo, keep, loadTail, madd } from "../../simd/lanes";
import { STRIP, SUMS } from "./layout";
import { dot4, sum4 } from "./moments";

/**
 * Rows whose dot products stay in float32: groups of four, each added up as a tree. An outlier then passes five roundings at
 * most; sixteen rows in sequence would cost 7 units where all others round alike. The move to float64 takes 18 instructions
 * a vector, spread over them.
 */
// @ts-ignore: decorator
@inline export const DOT_ROWS: usize = 16;

/** Adds the sizes of a few terms' sums: no more than the sum of the terms' sizes, which judges their error. */
// @ts-ignore: decorator
@inline function addSize(at: usize, t: v128): void {
  v128.store(at, f32x4.add(v128.load(at), f32x4.abs(t)));
}

/**
 * Adds the dot products of `groups` (up to DOT_ROWS / 4) groups of four rows, `apart` bytes from each other, to each strip's sums.
 * ReLU goes by `bits`, or by the forward's coefficients at `affine`; both are 0 where there is none.
 */
export function dotsStrips<G extends Gate>(
  x: usize, dy: usize, groups: usize, apart: usize, strips: usize, record: usize, affine: usize, plane: usize, sums: usize, bits: usize,
  bitApart: usize,
): void {
  const e = changetype<G>(0);
  const again = affine != 0;
  for (let pair = strips << 1; pair > 0; pair--) {
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let t0 = f32x4.splat(0);
    let t1 = f32x4.splat(0);
    const a = affine + AFFINE.A * plane;
    const b = affine + AFFINE.B * plane;
    const m0 = v128.load(record);
    const m1 = v128.load(record, 16);
    let x0 = x;
    let g0 = dy;
    let w0 = bits;
    for (let group = groups; group > 0; group--) {
      const x1 = x0 + apart;
      const x2 = x1 + apart;
      const x3 = x2 + apart;
      const g1 = g0 + apart;
      const g2 = g1 + apart;
      const g3 = g2 + apart;
      const w1 = w0 + bitApart;
      const w2 = w1 + bitApart;
      const w3 = w2 + bitApart;
      const d0 = f32x4.sub(v128.load(x0), m0);
      const d1 = f32x4.sub(v128.load(x1), m0);
      const d2 = f32x4.sub(v128.load(x2), m0);
      const d3 = f32x4.sub(v128.load(x3), m0);
      const h0 = e.through(v128.load(g0), d0, a, b, again, w0, 0);
      const h1 = e.through(v128.load(g1), d1, a, b, again, w1, 0);
      const h2 = e.through(v128.load(g2), d2, a, b, again, w2, 0);
      const h3 = e.through(v128.load(g3), d3, a, b, again, w3, 0);
      s0 = f32x4.add(s0, sum4(h0, h1, h2, h3));
      t0 = f32x4.add(t0, dot4(h0, d0, h1, d1, h2, d2, h3, d3));
      const v0 = f32x4.sub(v128.load(x0, 16), m1);
      const v1 = f32x4.sub(v128.load(x1, 16), m1);
      const v2 = f32x4.sub(v128.load(x2, 16), m1);
      const v3 = f32x4.sub(v128.load(x3, 16), m1);
      const k0 = e.through(v128.load(g0, 16), v0, a + 16, b + 16, again, w0 + 1, 0);
      const k1 = e.through(v128.load(g1, 16), v1, a + 16, b + 16, again, w1 + 1, 0);
      const k2 = e.through(v128.load(g2, 16), v2, a + 16, b + 16, again, w2 + 1, 0);
      const k3 = e.through(v128.load(g3, 16), v3, a + 16, b + 16, again, w3 + 1, 0);
      s1 = f32x4.add(s1, sum4(k0, k1, k2, k3));
      t1 = f32x4.add(t1, dot4(k0, v0, k1, v1, k2, v2, k3, v3));
      x0 = x3 + apart;
      g0 = g3 + apart;
      w0 = w3 + bitApart;
    }
    addTo(sums, s0);
    addTo(sums + 32, s1);
    addTo(sums + SUMS.SECOND, t0);
    addTo(sums + SUMS.SECOND + 32, t1);
    // Two pairs make a strip: the second's sums lie 64 bytes on, its sizes 32.
    const size = sums + SUMS.SIZE - (pair & 1 ? 32 : 0);
    addSize(size, t0);
    addSize(size + 16, t1);
    sums += pair & 1 ? SUMS.BYTES - 64 : 64;
    x += 32;
    dy += 32;
    record += 32;
    affine += 32;
    bits += 2;
  }
}

/**
 * The same for `lanes` columns and any number of rows, of `x * scale` and `dy * dyScale`.
 */
export function dotsLanes(
  x: usize, dy: usize, rows: usize, stride: usize, lanes: usize, mu: v128, scale: v128, dyScale: v128, sums: usize,
  sizes: usize, affine: usize, plane: usize, bits: usize, bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  while (rows > 0) {
    const group = min<usize>(rows, 4);
    let s = zero;
    let t = zero;
    for (let row = group; row > 0; row--) {
      let g = loadTail(dy, lanes);
      const v = loadTail(x, lanes);
      if (bits) {
        g = keep(g, load<u8>(bits));
        bits += bitStride;
      } else if (affine) g = passAgain(g, v, affine, plane);
      g = f32x4.mul(g, dyScale);
      s = f32x4.add(s, g);
      t = madd(g, f32x4.sub(f32x4.mul(v, scale), mu), t);
      x += stride;
      dy += stride;
    }
    addTo(sums, s);
    addTo(sums + SUMS.SECOND, t);
    addSize(sizes, t);
    rows -= group;
  }
}

/** dy where forward's ReLU let x through, as `affineLanes` decides. */
// @ts-ignore: decorator
@inline export function passAgain(g: v128, x: v128, affine: usize, plane: usize): v128 {
  const d = f32x4.sub(
    f32x4.sub(f32x4.mul(x, v128.load(affine + AFFINE.SCALE * plane)), v128.load(affine + AFFINE.MU * plane)),
    v128.load(affine + AFFINE.MU_LOW * plane),
  );
  const y = f32x4.mul(
    madd(d, v128.load(affine + AFFINE.A * plane), v128.load(affine + AFFINE.B * plane)), v128.load(affine + AFFINE.OUT * plane),
  );
  return v128.andnot(g, f32x4.le(y, f32x4.splat(0)));
}
