/**
 * Kernels that walk columns: a statistic for each column of a row-major matrix.
 *
 *            strip of 16 columns = one cache line          next strip …
 *          ┌──────┬──────┬──────┬──────┐
 *   row  0 │ f32x4│ f32x4│ f32x4│ f32x4│ ─────► along the row
 *   row  1 │      │      │      │      │
 *   row  2 │  ▼   │  ▼   │  ▼   │  ▼   │   four rows at a time, their coefficients loaded once
 *   row  3 │      │      │      │      │
 *          └──────┴──────┴──────┴──────┘
 *
 * Rows are read along, a few at once: walking down a strip instead leaves the hardware's prefetch idle (4096 x 1024,
 * evaluation: 6 times slower). Two of each kernel: `...Strips` for whole strips and groups of four rows, `...Lanes` for
 * one vector of 1 to 4 columns and any number of rows, which also takes power-of-two scales for columns whose squares or
 * products would leave float32's range. The two give a column the same y and dx to the bit.
 */
import { addTo, high, keep, loadTail, low, madd, maddTo, passBits, relu, storeTail } from "../simd/lanes";
import { AFFINE, GRADIENT } from "../coefficients";

/** Columns of a strip, bytes of a strip's row, bytes of its sums: 16 and 16 float64, then 16 float32 of sizes. */
// @ts-ignore: decorator
@inline export const STRIP: usize = 16;
// @ts-ignore: decorator
@inline export const STRIP_BYTES: usize = 64;
// @ts-ignore: decorator
@inline export const SUMS_BYTES: usize = 320;
// @ts-ignore: decorator
@inline export const SIZES: usize = 256;

/**
 * Rows whose dot products stay in float32: groups of four, each added up as a tree. An outlier then passes five roundings at
 * most; sixteen rows in sequence would cost 7 units where all others round alike. The move to float64 takes 18 instructions
 * a vector, spread over them. Moments have `FEW`.
 */
// @ts-ignore: decorator
@inline export const TILE: usize = 16;

/** `sum(x - pivot)` of one vector in four rows. */
// @ts-ignore: decorator
@inline function sum4(a: v128, b: v128, c: v128, d: v128): v128 {
  return f32x4.add(f32x4.add(a, b), f32x4.add(c, d));
}

/** `a0 * b0 + … + a3 * b3` as a tree. */
// @ts-ignore: decorator
@inline function dot4(a0: v128, b0: v128, a1: v128, b1: v128, a2: v128, b2: v128, a3: v128, b3: v128): v128 {
  return f32x4.add(madd(a1, b1, f32x4.mul(a0, b0)), madd(a3, b3, f32x4.mul(a2, b2)));
}

/**
 * Groups whose moments stay in float32: squares have a rounding of their own and twice that of the difference, and with four an
 * outlier was found to cost 4.3 units.
 */
// @ts-ignore: decorator
@inline export const FEW: usize = 3;

/**
 * Adds `sum(x - pivot)` and `sum((x - pivot)^2)` of `groups` groups of four rows, `apart` bytes from each other, `next` bytes from
 * group to group, to each strip's sums. Meanwhile they are held in the two planes behind the pivots, which are zero before and
 * after: so rows are read along, a few instructions a vector, and four far ones at once. In strips of 12 rows, in registers,
 * what the second-level cache holds takes up to a tenth less (64 x 64: 0.82 us, 0.90), but rows that share their place in the
 * first a third more (1024 x 1024: 185 us, 132), and far ones, four at a time, a fifth (25088 x 128: 0.53 ms, 0.40).
 */
export function momentsStrips(
  x: usize, groups: usize, next: usize, apart: usize, strips: usize, pivot: usize, plane: usize, sums: usize,
): void {
  const zero = f32x4.splat(0);
  const held = pivot + plane;
  const squares = held + plane;
  const end = strips * STRIP_BYTES;
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
    if (--groups % FEW != 0) continue;
    let to = sums;
    for (let at: usize = 0; at < end; at += 16) {
      addTo(to, v128.load(held + at));
      addTo(to + 128, v128.load(squares + at));
      v128.store(held + at, zero);
      v128.store(squares + at, zero);
      to += 32;
      if ((at & 48) == 48) to += SUMS_BYTES - 128;
    }
  }
}

/**
 * The same for `lanes` columns and any number of rows, of `x * scale - pivot`, the first sum in float64 from the start;
 * the squares' sums lie 128 bytes on. The lanes beyond add nothing: their sums may belong to others.
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
    addTo(sums + 128, q);
    rows -= group;
  }
}

/** `y = epilogue((x - mu) * a + b)` for `rows` rows of whole strips; `residual` and `bits` are 0 where there are none. */
// @ts-ignore: decorator
@inline function affine(
  more: bool, x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize, residual: usize,
  bits: usize, bitStride: usize,
): void {
  for (; strips > 0; strips--) {
    const scaled = record + plane;
    const shifted = scaled + plane;
    const m0 = v128.load(record);
    const a0 = v128.load(scaled);
    const b0 = v128.load(shifted);
    const m1 = v128.load(record, 16);
    const a1 = v128.load(scaled, 16);
    const b1 = v128.load(shifted, 16);
    const m2 = v128.load(record, 32);
    const a2 = v128.load(scaled, 32);
    const b2 = v128.load(shifted, 32);
    const m3 = v128.load(record, 48);
    const a3 = v128.load(scaled, 48);
    const b3 = v128.load(shifted, 48);
    let from = x;
    let to = y;
    let add = residual;
    let bit = bits;
    for (let row = rows; row > 0; row--) {
      let y0 = f32x4.sub(v128.load(from), m0);
      y0 = more && residual ? maddTo(y0, a0, b0, v128.load(add)) : madd(y0, a0, b0);
      let y1 = f32x4.sub(v128.load(from, 16), m1);
      y1 = more && residual ? maddTo(y1, a1, b1, v128.load(add, 16)) : madd(y1, a1, b1);
      let y2 = f32x4.sub(v128.load(from, 32), m2);
      y2 = more && residual ? maddTo(y2, a2, b2, v128.load(add, 32)) : madd(y2, a2, b2);
      let y3 = f32x4.sub(v128.load(from, 48), m3);
      y3 = more && residual ? maddTo(y3, a3, b3, v128.load(add, 48)) : madd(y3, a3, b3);
      if (more && residual) add += stride;
      if (more && bits) {
        store<u32>(bit, passBits(y0) | (passBits(y1) << 8) | (passBits(y2) << 16) | (passBits(y3) << 24));
        y0 = relu(y0);
        y1 = relu(y1);
        y2 = relu(y2);
        y3 = relu(y3);
        bit += bitStride;
      }
      v128.store(to, y0);
      v128.store(to, y1, 16);
      v128.store(to, y2, 32);
      v128.store(to, y3, 48);
      from += stride;
      to += stride;
    }
    x += STRIP_BYTES;
    y += STRIP_BYTES;
    record += STRIP_BYTES;
    if (more && residual) residual += STRIP_BYTES;
    if (more && bits) bits += 4;
  }
}

/**
 * The same along one row after the other, coefficients loaded anew, for what comes from memory. The engine unrolls it: by hand it
 * is no faster (25088 x 128: 0.58 ms, 0.56 for one vector at a time), and so few instructions leave room for the next loads.
 * Rejected: two rows side by side, which saves three loads of eight, but writes in two places (1.27 ms, 0.53 for one).
 */
// @ts-ignore: decorator
@inline function affineAlong(x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize): void {
  const a = record + plane;
  const b = a + plane;
  const end = strips * STRIP_BYTES;
  for (; rows > 0; rows--) {
    for (let at: usize = 0; at < end; at += 16) {
      v128.store(y + at, madd(f32x4.sub(v128.load(x + at), v128.load(record + at)), v128.load(a + at), v128.load(b + at)));
    }
    x += stride;
    y += stride;
  }
}

/** Two instances: asked row by row what there is beside x, the plain case takes a fifth more; four cost 1 kB more. */
export function affineStrips(
  along: bool, x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize, residual: usize,
  bits: usize, bitStride: usize,
): void {
  if (residual | bits) affine(true, x, y, rows, stride, strips, record, plane, residual, bits, bitStride);
  else if (along) affineAlong(x, y, rows, stride, strips, record, plane);
  else affine(false, x, y, rows, stride, strips, record, plane, 0, 0, 0);
}

/** The same for `lanes` columns and any number of rows, with the mean's low half and the scales. */
export function affineLanes(
  x: usize, y: usize, rows: usize, stride: usize, lanes: usize, record: usize, plane: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  const mu = v128.load(record + AFFINE.MU * plane);
  const a = v128.load(record + AFFINE.A * plane);
  const b = v128.load(record + AFFINE.B * plane);
  const muLow = v128.load(record + AFFINE.MU_LOW * plane);
  const scale = v128.load(record + AFFINE.SCALE * plane);
  const out = v128.load(record + AFFINE.OUT * plane);
  for (; rows > 0; rows--) {
    const d = f32x4.sub(f32x4.sub(f32x4.mul(loadTail(x, lanes), scale), mu), muLow);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      const r = loadTail(residual, lanes);
      v = v128.bitselect(maddTo(d, a, b, r), f32x4.add(v, r), f32x4.eq(out, f32x4.splat(1)));
      residual += stride;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      v = relu(v);
      bits += bitStride;
    }
    storeTail(y, lanes, v);
    x += stride;
    y += stride;
  }
}

/** Adds a tile's dot products' sizes at `at`: no more than the sum of their terms' sizes, which judges their error. */
// @ts-ignore: decorator
@inline function addSize(at: usize, t: v128): void {
  v128.store(at, f32x4.add(v128.load(at), f32x4.abs(t)));
}

/** Adds `sum(dy)` and `sum(dy * (x - mu))` of `groups` (up to TILE / 4) groups of four rows to each strip's sums. */
export function dotsStrips(
  x: usize, dy: usize, groups: usize, apart: usize, strips: usize, record: usize, sums: usize,
): void {
  for (; strips > 0; strips--) {
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    let t0 = f32x4.splat(0);
    let t1 = f32x4.splat(0);
    let t2 = f32x4.splat(0);
    let t3 = f32x4.splat(0);
    let x0 = x;
    let g0 = dy;
    for (let group = groups; group > 0; group--) {
      const x1 = x0 + apart;
      const x2 = x1 + apart;
      const x3 = x2 + apart;
      const g1 = g0 + apart;
      const g2 = g1 + apart;
      const g3 = g2 + apart;
      let m = v128.load(record);
      let a = v128.load(g0);
      let b = v128.load(g1);
      let c = v128.load(g2);
      let d = v128.load(g3);
      s0 = f32x4.add(s0, sum4(a, b, c, d));
      t0 = f32x4.add(t0, dot4(
        a, f32x4.sub(v128.load(x0), m), b, f32x4.sub(v128.load(x1), m),
        c, f32x4.sub(v128.load(x2), m), d, f32x4.sub(v128.load(x3), m),
      ));
      m = v128.load(record, 16);
      a = v128.load(g0, 16);
      b = v128.load(g1, 16);
      c = v128.load(g2, 16);
      d = v128.load(g3, 16);
      s1 = f32x4.add(s1, sum4(a, b, c, d));
      t1 = f32x4.add(t1, dot4(
        a, f32x4.sub(v128.load(x0, 16), m), b, f32x4.sub(v128.load(x1, 16), m),
        c, f32x4.sub(v128.load(x2, 16), m), d, f32x4.sub(v128.load(x3, 16), m),
      ));
      m = v128.load(record, 32);
      a = v128.load(g0, 32);
      b = v128.load(g1, 32);
      c = v128.load(g2, 32);
      d = v128.load(g3, 32);
      s2 = f32x4.add(s2, sum4(a, b, c, d));
      t2 = f32x4.add(t2, dot4(
        a, f32x4.sub(v128.load(x0, 32), m), b, f32x4.sub(v128.load(x1, 32), m),
        c, f32x4.sub(v128.load(x2, 32), m), d, f32x4.sub(v128.load(x3, 32), m),
      ));
      m = v128.load(record, 48);
      a = v128.load(g0, 48);
      b = v128.load(g1, 48);
      c = v128.load(g2, 48);
      d = v128.load(g3, 48);
      s3 = f32x4.add(s3, sum4(a, b, c, d));
      t3 = f32x4.add(t3, dot4(
        a, f32x4.sub(v128.load(x0, 48), m), b, f32x4.sub(v128.load(x1, 48), m),
        c, f32x4.sub(v128.load(x2, 48), m), d, f32x4.sub(v128.load(x3, 48), m),
      ));
      x0 = x3 + apart;
      g0 = g3 + apart;
    }
    addTo(sums, s0);
    addTo(sums + 32, s1);
    addTo(sums + 64, s2);
    addTo(sums + 96, s3);
    addTo(sums + 128, t0);
    addTo(sums + 160, t1);
    addTo(sums + 192, t2);
    addTo(sums + 224, t3);
    addSize(sums + SIZES, t0);
    addSize(sums + SIZES + 16, t1);
    addSize(sums + SIZES + 32, t2);
    addSize(sums + SIZES + 48, t3);
    x += STRIP_BYTES;
    dy += STRIP_BYTES;
    sums += SUMS_BYTES;
    record += STRIP_BYTES;
  }
}

/** The same for `lanes` columns and any number of rows, of `x * scale` and `dy * dyScale`. */
export function dotsLanes(
  x: usize, dy: usize, rows: usize, stride: usize, lanes: usize, mu: v128, scale: v128, dyScale: v128, sums: usize,
  sizes: usize, bits: usize, bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  while (rows > 0) {
    const group = min<usize>(rows, 4);
    let s = zero;
    let t = zero;
    for (let row = group; row > 0; row--) {
      let g = f32x4.mul(loadTail(dy, lanes), dyScale);
      if (bits) {
        g = keep(g, load<u8>(bits));
        bits += bitStride;
      }
      s = f32x4.add(s, g);
      t = madd(g, f32x4.sub(f32x4.mul(loadTail(x, lanes), scale), mu), t);
      x += stride;
      dy += stride;
    }
    addTo(sums, s);
    addTo(sums + 128, t);
    addSize(sizes, t);
    rows -= group;
  }
}

/**
 * `dx = p * dy + (q * (x - mu) + r)` for `rows` rows of whole strips, half a strip at a time: eight coefficients in
 * registers. `frozen` leaves x unread: `dx = p * dy`.
 */
// @ts-ignore: decorator
@inline function gradient(
  more: bool, frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  for (let half = strips << 1; half > 0; half--) {
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
      let g0 = v128.load(from);
      let g1 = v128.load(from, 16);
      if (more && bits) {
        g0 = keep(g0, load<u8>(bit));
        g1 = keep(g1, load<u8>(bit, 1));
        bit += bitStride;
        if (add) {
          v128.store(add, g0);
          v128.store(add, g1, 16);
          add += stride;
        }
      }
      if (more && frozen) {
        v128.store(to, f32x4.mul(p0, g0));
        v128.store(to, f32x4.mul(p1, g1), 16);
      } else {
        v128.store(to, madd(p0, g0, madd(q0, f32x4.sub(v128.load(at), m0), r0)));
        v128.store(to, madd(p1, g1, madd(q1, f32x4.sub(v128.load(at, 16), m1), r1)), 16);
        at += stride;
      }
      from += stride;
      to += stride;
    }
    x += 32;
    dy += 32;
    dx += 32;
    record += 32;
    if (more && bits) {
      bits += 2;
      if (dresidual) dresidual += 32;
    }
  }
}

/** The same along one row after the other, as `affineAlong`. */
// @ts-ignore: decorator
@inline function gradientAlong(
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize,
): void {
  const p = record + GRADIENT.P * plane;
  const q = p + plane;
  const r = q + plane;
  const end = strips * STRIP_BYTES;
  for (; rows > 0; rows--) {
    for (let at: usize = 0; at < end; at += 16) {
      v128.store(dx + at, madd(v128.load(p + at), v128.load(dy + at), madd(v128.load(q + at), f32x4.sub(v128.load(x + at), v128.load(record + at)), v128.load(r + at))));
    }
    x += stride;
    dy += stride;
    dx += stride;
  }
}

export function gradientStrips(
  frozen: bool, along: bool,
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  // Asked row by row, the plain case would take an eighth more.
  if (bits || frozen) gradient(true, frozen, x, dy, dx, rows, stride, strips, record, plane, dresidual, bits, bitStride);
  else if (along) gradientAlong(x, dy, dx, rows, stride, strips, record, plane);
  else gradient(false, false, x, dy, dx, rows, stride, strips, record, plane, 0, 0, 0);
}

/** The same for `lanes` columns and any number of rows, with the scales. */
export function gradientLanes(
  frozen: bool,
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, lanes: usize, record: usize, plane: usize,
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
      if (dresidual) {
        storeTail(dresidual, lanes, g);
        dresidual += stride;
      }
    }
    g = f32x4.mul(g, dyScale);
    let v: v128;
    if (frozen) v = f32x4.mul(p, g);
    else {
      v = madd(p, g, madd(q, f32x4.sub(f32x4.mul(loadTail(x, lanes), scale), mu), r));
      x += stride;
    }
    storeTail(dx, lanes, f32x4.mul(v, out));
    dy += stride;
    dx += stride;
  }
}
