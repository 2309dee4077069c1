/** Sums of columns forward: of `x - pivot` and its square. */
import { addTo, high, keep, loadTail, low, madd } from "../../simd/lanes";
import { STRIP, SUMS } from "./layout";

/** `a + b + c + d` as a tree. */
// @ts-ignore: decorator
@inline export function sum4(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
}

/** `a0 * b0 + … + a3 * b3` as a tree. */
// @ts-ignore: decorator
@inline export function dot4(a0: v128, b0: v128, a1: v128, b1: v128, a2: v128, b2: v128, a3: v128, b3: v128): v128 {
  return f32x4.add(madd(a1, b1, f32x4.mul(a0, b0)), madd(a3, b3, f32x4.mul(a2, b2)));
}

/**
 * Groups of four rows whose moments stay in float32. A square has a rounding of its own and twice that of the difference: with
 * four groups in sequence an outlier was found to cost 4.3 units.
 */
// @ts-ignore: decorator
@inline export const GROUPS: usize = 3;

/**
 * Adds the moments of `groups` groups of four rows that lie in four places, `apart` bytes from each other and `next` bytes from group
 * to group, to each strip's sums. Meanwhile they are held in the two planes at `held`, which are zero before and after: so rows
 * are read along, four far ones at once.
 */
export function momentsApart(
  x: usize, groups: usize, next: usize, apart: usize, strips: usize, pivot: usize, held: usize, plane: usize, sums: usize,
): void {
  const zero = f32x4.splat(0);
  const squares = held + plane;
  const end = strips * STRIP.BYTES;
  while (groups > 0) {
    const x1 = x + apart;
    const x2 = x1 + apart;
    const x3 = x2 + apart;
    for (let at: usize = 0; at < end; at += 16) {
      const p = v128.load(pivot + at);
      const a = f32x4.sub(v128.load(x + at), p);
      const b = f32x4.sub(v128.load(x1 + at), p);
      const c = f32x4.sub(v128.load(x2 + at), p);
      const d = f32x4.sub(v128.load(x3 + at), p);
      v128.store(held + at, f32x4.add(v128.load(held + at), sum4(a, b, c, d)));
      v128.store(squares + at, f32x4.add(v128.load(squares + at), dot4(a, a, b, b, c, c, d, d)));
    }
    x += next;
    if (--groups % GROUPS != 0) continue;
    let to = sums;
    for (let at: usize = 0; at < end; at += 16) {
      addTo(to, v128.load(held + at));
      addTo(to + SUMS.SECOND, v128.load(squares + at));
      v128.store(held + at, zero);
      v128.store(squares + at, zero);
      to += 32;
      if ((at & 48) == 48) to += SUMS.BYTES - SUMS.SECOND;
    }
  }
}

/** Rows whose moments stay in float32: two groups of eight, each added up as a tree, so that an outlier passes four roundings. */
// @ts-ignore: decorator
@inline export const MOMENT_ROWS: usize = 16;

/**
 * Adds the moments of eight rows, or of sixteen where `pairs` is 2, to each strip's sums. The first eight rows' wait in the two
 * planes at `held`; rows are read along, two vectors a step.
 */
export function momentsStrips(
  x: usize, pairs: usize, stride: usize, strips: usize, pivot: usize, held: usize, plane: usize, sums: usize,
): void {
  const zero = f32x4.splat(0);
  const squares = held + plane;
  const end = strips * STRIP.BYTES;
  for (; pairs > 0; pairs--) {
    const x1 = x + stride;
    const x2 = x1 + stride;
    const x3 = x2 + stride;
    const x4 = x3 + stride;
    const x5 = x4 + stride;
    const x6 = x5 + stride;
    const x7 = x6 + stride;
    const first = pairs == 2;
    let to = sums;
    for (let at: usize = 0; at < end; at += 16) {
      const p = v128.load(pivot + at);
      const a = f32x4.sub(v128.load(x + at), p);
      const b = f32x4.sub(v128.load(x1 + at), p);
      const c = f32x4.sub(v128.load(x2 + at), p);
      const d = f32x4.sub(v128.load(x3 + at), p);
      let s = sum4(a, b, c, d);
      let q = dot4(a, a, b, b, c, c, d, d);
      const e = f32x4.sub(v128.load(x4 + at), p);
      const f = f32x4.sub(v128.load(x5 + at), p);
      const g = f32x4.sub(v128.load(x6 + at), p);
      const h = f32x4.sub(v128.load(x7 + at), p);
      s = f32x4.add(s, sum4(e, f, g, h));
      q = f32x4.add(q, dot4(e, e, f, f, g, g, h, h));
      if (first) {
        v128.store(held + at, s);
        v128.store(squares + at, q);
      } else {
        addTo(to, f32x4.add(v128.load(held + at), s));
        addTo(to + SUMS.SECOND, f32x4.add(v128.load(squares + at), q));
        v128.store(held + at, zero);
        v128.store(squares + at, zero);
        to += 32;
        if ((at & 48) == 48) to += SUMS.BYTES - SUMS.SECOND;
      }
    }
    x = x7 + stride;
  }
}

/**
 * The same for `lanes` columns and any number of rows, of `x * scale - pivot`, the first sum in float64 from the start. The lanes
 * beyond add nothing: their sums may belong to others.
 */
export function momentsLanes(
  x: usize, rows: usize, stride: usize, lanes: usize, pivot: v128, scale: v128, sums: usize,
): void {
  const zero = f32x4.splat(0);
  if (lanes < 4) pivot = keep(pivot, (1 << u32(lanes)) - 1);
  const p0 = low(pivot);
  const p1 = high(pivot);
  while (rows > 0) {
    const group = min<usize>(rows, 4);
    let s0 = f64x2.splat(0);
    let s1 = f64x2.splat(0);
    let q = zero;
    for (let row = group; row > 0; row--) {
      // Beyond the last lane x and pivot are both 0.
      const v = f32x4.mul(loadTail(x, lanes), scale);
      s0 = f64x2.add(s0, f64x2.sub(low(v), p0));
      s1 = f64x2.add(s1, f64x2.sub(high(v), p1));
      const d = f32x4.sub(v, pivot);
      q = madd(d, d, q);
      x += stride;
    }
    v128.store(sums, f64x2.add(v128.load(sums), s0));
    v128.store(sums, f64x2.add(v128.load(sums, 16), s1), 16);
    addTo(sums + SUMS.SECOND, q);
    rows -= group;
  }
}
