/**
 * `dx = p * dy + (q * (x - mu) + r)` down columns, dy as the epilogue lets it through; with `frozen` statistics `p * dy`, x unread
 * unless the epilogue asks. The variants are those of affine.ts.
 */
import { AFFINE } from "../../coefficients/affine";
import { GRADIENT } from "../../coefficients/gradient";
import { Gate } from "../../epilogues/backward";
import { keep, loadTail, madd, storeTail } from "../../simd/lanes";
import { passAgain } from "./dots";
import { STRIP } from "./layout";

/** Half a strip at a time: eight coefficients in registers. */
// @ts-ignore: decorator
@inline function strips<G extends Gate>(
  frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, n: usize, record: usize, affine: usize,
  plane: usize, dresidual: usize, bits: usize, bitStride: usize,
): void {
  const e = changetype<G>(0);
  const again = affine != 0;
  const unread = frozen && (!e.masks() || !again);
  const a = AFFINE.A * plane;
  const b = AFFINE.B * plane;
  for (let half = n << 1; half > 0; half--) {
    const ps = record + GRADIENT.P * plane;
    const qs = record + GRADIENT.Q * plane;
    const rs = record + GRADIENT.R * plane;
    const m0 = v128.load(record);
    const p0 = v128.load(ps);
    const q0 = v128.load(qs);
    const r0 = v128.load(rs);
    const m1 = v128.load(record, 16);
    const p1 = v128.load(ps, 16);
    const q1 = v128.load(qs, 16);
    const r1 = v128.load(rs, 16);
    let at = x;
    let from = dy;
    let to = dx;
    let bit = bits;
    let add = dresidual;
    for (let row = rows; row > 0; row--) {
      const d0 = unread ? m0 : f32x4.sub(v128.load(at), m0);
      const d1 = unread ? m1 : f32x4.sub(v128.load(at, 16), m1);
      const g0 = e.through(v128.load(from), d0, affine + a, affine + b, again, bit, 0);
      const g1 = e.through(v128.load(from, 16), d1, affine + a + 16, affine + b + 16, again, bit + 1, 0);
      const h0 = frozen ? f32x4.mul(p0, g0) : madd(p0, g0, madd(q0, d0, r0));
      const h1 = frozen ? f32x4.mul(p1, g1) : madd(p1, g1, madd(q1, d1, r1));
      if (e.masks() && add) {
        v128.store(add, g0);
        v128.store(add, g1, 16);
        add += stride;
      }
      v128.store(to, h0);
      v128.store(to, h1, 16);
      at += stride;
      from += stride;
      to += stride;
      bit += bitStride;
    }
    x += 32;
    dy += 32;
    dx += 32;
    record += 32;
    affine += 32;
    bits += 2;
    if (dresidual) dresidual += 32;
  }
}

export function gradientStrips<G extends Gate>(
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, n: usize, record: usize, affine: usize, plane: usize, dresidual: usize,
  bits: usize, bitStride: usize,
): void {
  strips<G>(false, x, dy, dx, rows, stride, n, record, affine, plane, dresidual, bits, bitStride);
}

/** With given statistics: a loop of its own, since the question would cost the other an eighth. */
export function frozenStrips<G extends Gate>(
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, n: usize, record: usize, affine: usize, plane: usize, dresidual: usize,
  bits: usize, bitStride: usize,
): void {
  strips<G>(true, x, dy, dx, rows, stride, n, record, affine, plane, dresidual, bits, bitStride);
}

export function gradientAlong<G extends Gate>(
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, record: usize, affine: usize, plane: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  const e = changetype<G>(0);
  const again = affine != 0;
  const p = record + GRADIENT.P * plane;
  const q = p + plane;
  const r = q + plane;
  const a = affine + AFFINE.A * plane;
  const b = affine + AFFINE.B * plane;
  const end = strips * STRIP.BYTES;
  for (; rows > 0; rows--) {
    for (let at: usize = 0; at < end; at += 32) {
      const next = at + 16;
      const d0 = f32x4.sub(v128.load(x + at), v128.load(record + at));
      const d1 = f32x4.sub(v128.load(x + next), v128.load(record + next));
      const g0 = e.through(v128.load(dy + at), d0, a + at, b + at, again, bits + (at >> 4), 0);
      const g1 = e.through(v128.load(dy + next), d1, a + next, b + next, again, bits + (next >> 4), 0);
      const h0 = madd(v128.load(p + at), g0, madd(v128.load(q + at), d0, v128.load(r + at)));
      const h1 = madd(v128.load(p + next), g1, madd(v128.load(q + next), d1, v128.load(r + next)));
      if (e.masks() && dresidual) {
        v128.store(dresidual + at, g0);
        v128.store(dresidual + next, g1);
      }
      v128.store(dx + at, h0);
      v128.store(dx + next, h1);
    }
    x += stride;
    dy += stride;
    dx += stride;
    bits += bitStride;
    if (dresidual) dresidual += stride;
  }
}

/** The same for `lanes` columns and any number of rows, with the scales. */
export function gradientLanes(
  frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, lanes: usize, record: usize, affine: usize, plane: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  const mu = v128.load(record + GRADIENT.MU * plane);
  const p = v128.load(record + GRADIENT.P * plane);
  const q = v128.load(record + GRADIENT.Q * plane);
  const r = v128.load(record + GRADIENT.R * plane);
  const scale = v128.load(record + GRADIENT.SCALE * plane);
  const dyScale = v128.load(record + GRADIENT.DY_SCALE * plane);
  const out = v128.load(record + GRADIENT.OUT * plane);
  for (; rows > 0; rows--) {
    let g = loadTail(dy, lanes);
    if (bits) {
      g = keep(g, load<u8>(bits));
      bits += bitStride;
    } else if (affine) g = passAgain(g, loadTail(x, lanes), affine, plane);
    if (dresidual) {
      storeTail(dresidual, lanes, g);
      dresidual += stride;
    }
    g = f32x4.mul(g, dyScale);
    let v: v128;
    if (frozen) v = f32x4.mul(p, g);
    else v = madd(p, g, madd(q, f32x4.sub(f32x4.mul(loadTail(x, lanes), scale), mu), r));
    x += stride;
    storeTail(dx, lanes, f32x4.mul(v, out));
    dy += stride;
    dx += stride;
  }
}
