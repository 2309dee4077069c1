/**
 * Kernels that walk columns: a statistic for each column of a row-major matrix.
 *
 *            strip of 16 columns = one cache line
 *          ┌──────┬──────┬──────┬──────┐
 *   row  0 │ f32x4│ f32x4│ f32x4│ f32x4│ ─ stride bytes ─►
 *   row  1 │      │      │      │      │
 *     ⋮    │  ▼ down a tile of at most TILE rows, sums in float32 registers
 *   row 15 │      │      │      │      │    ▼ then into float64
 *          └──────┴──────┴──────┴──────┘
 *
 * Two of each: `...Strips` for whole strips at full speed, `...Lanes` for one vector of 1 to 4 columns, which also
 * takes power-of-two scales for columns whose squares or products would leave float32's range. The two give a
 * column the same result to the bit, save for the grouping of its sums.
 */

import { AFFINE, GRADIENT } from "../coefficients";
import { addTo, high, keep, loadLanes, low, madd, passBits, relu, storeLanes } from "../simd/lanes";

/** Columns of a strip, bytes of a strip's row, bytes of its sums: 16 + 16 float64. */
// @ts-ignore: decorator
@inline export const STRIP: usize = 16;
// @ts-ignore: decorator
@inline export const STRIP_BYTES: usize = 64;
// @ts-ignore: decorator
@inline export const SUMS_BYTES: usize = 256;

/**
 * Rows whose sums stay in float32: four groups of four rows, each group added up as a tree. An outlier then passes five
 * roundings at most; sixteen rows in sequence cost 7 units of the variance where all others round alike. The move to
 * float64 takes 18 instructions a vector, spread over them.
 */
// @ts-ignore: decorator
@inline export const TILE: usize = 16;

/** `a + b + c + d` as a tree. */
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
 * Adds `sum(x)` and `sum((x - pivot)^2)` of up to TILE rows to each strip's sums. The first is taken in float64 from the
 * start, five instructions a vector instead of one: sums of float32 leave the mean a fifth of a unit of sigma off, which
 * is many units of a gradient of gamma whose only terms have an xhat near 0.
 */
export function momentsStrips(x: usize, rows: usize, stride: usize, strips: usize, pivot: usize, sums: usize): void {
  const vectors = strips << 2;
  for (let vector: usize = 0; vector < vectors; vector++) {
    const p = v128.load(pivot);
    let s0 = v128.load(sums);
    let s1 = v128.load(sums, 16);
    let q = f32x4.splat(0);
    let at = x;
    let row = rows;
    for (; row >= 4; row -= 4) {
      const x0 = v128.load(at);
      const x1 = v128.load(at + stride);
      const x2 = v128.load(at + 2 * stride);
      const x3 = v128.load(at + 3 * stride);
      s0 = f64x2.add(s0, f64x2.add(f64x2.add(low(x0), low(x1)), f64x2.add(low(x2), low(x3))));
      s1 = f64x2.add(s1, f64x2.add(f64x2.add(high(x0), high(x1)), f64x2.add(high(x2), high(x3))));
      const d0 = f32x4.sub(x0, p);
      const d1 = f32x4.sub(x1, p);
      const d2 = f32x4.sub(x2, p);
      const d3 = f32x4.sub(x3, p);
      q = f32x4.add(q, dot4(d0, d0, d1, d1, d2, d2, d3, d3));
      at += stride << 2;
    }
    for (; row > 0; row--) {
      const v = v128.load(at);
      s0 = f64x2.add(s0, low(v));
      s1 = f64x2.add(s1, high(v));
      const d = f32x4.sub(v, p);
      q = madd(d, d, q);
      at += stride;
    }
    v128.store(sums, s0);
    v128.store(sums, s1, 16);
    addTo(sums + 128, q);
    x += 16;
    pivot += 16;
    sums += (vector & 3) == 3 ? SUMS_BYTES - 96 : 32;
  }
}

/**
 * The same for `lanes` columns and any number of rows, of `x * scale`; the squares' sums lie 128 bytes on. At a scale
 * of 1 the lanes beyond add nothing: their sums may belong to others.
 */
export function momentsLanes(
  x: usize, rows: usize, stride: usize, lanes: usize, pivot: v128, scale: v128, sums: usize,
): void {
  const zero = f32x4.splat(0);
  const inside = lanes < 4 ? (1 << u32(lanes)) - 1 : 15;
  while (rows > 0) {
    const group = min<usize>(rows, 4);
    let q = zero;
    for (let row = group; row > 0; row--) {
      const v = f32x4.mul(loadLanes(x, lanes, zero), scale);
      addTo(sums, v);
      const d = keep(f32x4.sub(v, pivot), inside);
      q = madd(d, d, q);
      x += stride;
    }
    addTo(sums + 128, q);
    rows -= group;
  }
}

/** `y = epilogue((x - mu) * a + b)` for whole strips; `residual` and `bits` are 0 where there are none. */
// @ts-ignore: decorator
@inline function affine(
  withResidual: bool, withRelu: bool,
  x: usize, y: usize, rows: usize, stride: usize, strips: usize, coefficients: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  for (let strip: usize = 0; strip < strips; strip++) {
    const m0 = v128.load(coefficients, AFFINE.MU);
    const a0 = v128.load(coefficients, AFFINE.A);
    const b0 = v128.load(coefficients, AFFINE.B);
    const m1 = v128.load(coefficients, AFFINE.BYTES + AFFINE.MU);
    const a1 = v128.load(coefficients, AFFINE.BYTES + AFFINE.A);
    const b1 = v128.load(coefficients, AFFINE.BYTES + AFFINE.B);
    const m2 = v128.load(coefficients, 2 * AFFINE.BYTES + AFFINE.MU);
    const a2 = v128.load(coefficients, 2 * AFFINE.BYTES + AFFINE.A);
    const b2 = v128.load(coefficients, 2 * AFFINE.BYTES + AFFINE.B);
    const m3 = v128.load(coefficients, 3 * AFFINE.BYTES + AFFINE.MU);
    const a3 = v128.load(coefficients, 3 * AFFINE.BYTES + AFFINE.A);
    const b3 = v128.load(coefficients, 3 * AFFINE.BYTES + AFFINE.B);
    let from = x;
    let to = y;
    let add = residual;
    let bit = bits;
    for (let row = rows; row > 0; row--) {
      let y0 = madd(f32x4.sub(v128.load(from), m0), a0, b0);
      let y1 = madd(f32x4.sub(v128.load(from, 16), m1), a1, b1);
      let y2 = madd(f32x4.sub(v128.load(from, 32), m2), a2, b2);
      let y3 = madd(f32x4.sub(v128.load(from, 48), m3), a3, b3);
      if (withResidual) {
        y0 = f32x4.add(y0, v128.load(add));
        y1 = f32x4.add(y1, v128.load(add, 16));
        y2 = f32x4.add(y2, v128.load(add, 32));
        y3 = f32x4.add(y3, v128.load(add, 48));
        add += stride;
      }
      if (withRelu) {
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
    coefficients += 4 * AFFINE.BYTES;
    if (withResidual) residual += STRIP_BYTES;
    if (withRelu) bits += 4;
  }
}

export function affineStrips(
  x: usize, y: usize, rows: usize, stride: usize, strips: usize, coefficients: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  if (residual) {
    if (bits) affine(true, true, x, y, rows, stride, strips, coefficients, residual, bits, bitStride);
    else affine(true, false, x, y, rows, stride, strips, coefficients, residual, 0, 0);
  } else if (bits) affine(false, true, x, y, rows, stride, strips, coefficients, 0, bits, bitStride);
  else affine(false, false, x, y, rows, stride, strips, coefficients, 0, 0, 0);
}

/** The same for `lanes` columns, with the mean's low half and the scales. */
export function affineLanes(
  x: usize, y: usize, rows: usize, stride: usize, lanes: usize, coefficients: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = v128.load(coefficients, AFFINE.MU);
  const a = v128.load(coefficients, AFFINE.A);
  const b = v128.load(coefficients, AFFINE.B);
  const muLow = v128.load(coefficients, AFFINE.MU_LOW);
  const scale = v128.load(coefficients, AFFINE.SCALE);
  const out = v128.load(coefficients, AFFINE.OUT);
  for (; rows > 0; rows--) {
    const d = f32x4.sub(f32x4.sub(f32x4.mul(loadLanes(x, lanes, zero), scale), mu), muLow);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      v = f32x4.add(v, loadLanes(residual, lanes, zero));
      residual += stride;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      v = relu(v);
      bits += bitStride;
    }
    storeLanes(y, lanes, v);
    x += stride;
    y += stride;
  }
}

/** Adds `sum(dy)` and `sum(dy * (x - mu))` of up to TILE rows to each strip's sums. */
// @ts-ignore: decorator
@inline function dots(
  masked: bool,
  x: usize, dy: usize, rows: usize, stride: usize, strips: usize, coefficients: usize, sums: usize,
  bits: usize, bitStride: usize,
): void {
  const vectors = strips << 2;
  for (let vector: usize = 0; vector < vectors; vector++) {
    const mu = v128.load(coefficients, GRADIENT.MU);
    let s = f32x4.splat(0);
    let t = f32x4.splat(0);
    let at = x;
    let from = dy;
    let bit = bits;
    let row = rows;
    for (; row >= 4; row -= 4) {
      let g0 = v128.load(from);
      let g1 = v128.load(from + stride);
      let g2 = v128.load(from + 2 * stride);
      let g3 = v128.load(from + 3 * stride);
      if (masked) {
        g0 = keep(g0, load<u8>(bit));
        g1 = keep(g1, load<u8>(bit + bitStride));
        g2 = keep(g2, load<u8>(bit + 2 * bitStride));
        g3 = keep(g3, load<u8>(bit + 3 * bitStride));
        bit += bitStride << 2;
      }
      s = f32x4.add(s, sum4(g0, g1, g2, g3));
      const d0 = f32x4.sub(v128.load(at), mu);
      const d1 = f32x4.sub(v128.load(at + stride), mu);
      const d2 = f32x4.sub(v128.load(at + 2 * stride), mu);
      const d3 = f32x4.sub(v128.load(at + 3 * stride), mu);
      t = f32x4.add(t, dot4(g0, d0, g1, d1, g2, d2, g3, d3));
      at += stride << 2;
      from += stride << 2;
    }
    for (; row > 0; row--) {
      let g = v128.load(from);
      if (masked) {
        g = keep(g, load<u8>(bit));
        bit += bitStride;
      }
      s = f32x4.add(s, g);
      t = madd(g, f32x4.sub(v128.load(at), mu), t);
      at += stride;
      from += stride;
    }
    addTo(sums, s);
    addTo(sums + 128, t);
    x += 16;
    dy += 16;
    coefficients += GRADIENT.BYTES;
    sums += (vector & 3) == 3 ? SUMS_BYTES - 96 : 32;
    if (masked) bits++;
  }
}

export function dotsStrips(
  x: usize, dy: usize, rows: usize, stride: usize, strips: usize, coefficients: usize, sums: usize,
  bits: usize, bitStride: usize,
): void {
  if (bits) dots(true, x, dy, rows, stride, strips, coefficients, sums, bits, bitStride);
  else dots(false, x, dy, rows, stride, strips, coefficients, sums, 0, 0);
}

/** The same for `lanes` columns and any number of rows, of `x * scale` and `dy * dyScale`. */
export function dotsLanes(
  x: usize, dy: usize, rows: usize, stride: usize, lanes: usize, mu: v128, scale: v128, dyScale: v128, sums: usize,
  bits: usize, bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  while (rows > 0) {
    const group = min<usize>(rows, 4);
    let s = zero;
    let t = zero;
    for (let row = group; row > 0; row--) {
      let g = f32x4.mul(loadLanes(dy, lanes, zero), dyScale);
      if (bits) {
        g = keep(g, load<u8>(bits));
        bits += bitStride;
      }
      s = f32x4.add(s, g);
      t = madd(g, f32x4.sub(f32x4.mul(loadLanes(x, lanes, zero), scale), mu), t);
      x += stride;
      dy += stride;
    }
    addTo(sums, s);
    addTo(sums + 128, t);
    rows -= group;
  }
}

/**
 * `dx = p * dy + (q * (x - mu) + r)` for whole strips, two vectors at a time (eight coefficients in registers);
 * `frozen` leaves x unread: `dx = p * dy`.
 */
// @ts-ignore: decorator
@inline function gradient(
  masked: bool, frozen: bool,
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, coefficients: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  for (let half = strips << 1; half > 0; half--) {
    const m0 = v128.load(coefficients, GRADIENT.MU);
    const p0 = v128.load(coefficients, GRADIENT.P);
    const q0 = v128.load(coefficients, GRADIENT.Q);
    const r0 = v128.load(coefficients, GRADIENT.R);
    const m1 = v128.load(coefficients, GRADIENT.BYTES + GRADIENT.MU);
    const p1 = v128.load(coefficients, GRADIENT.BYTES + GRADIENT.P);
    const q1 = v128.load(coefficients, GRADIENT.BYTES + GRADIENT.Q);
    const r1 = v128.load(coefficients, GRADIENT.BYTES + GRADIENT.R);
    let at = x;
    let from = dy;
    let to = dx;
    let bit = bits;
    let through = dresidual;
    for (let row = rows; row > 0; row--) {
      let g0 = v128.load(from);
      let g1 = v128.load(from, 16);
      if (masked) {
        g0 = keep(g0, load<u8>(bit));
        g1 = keep(g1, load<u8>(bit, 1));
        bit += bitStride;
        if (through) {
          v128.store(through, g0);
          v128.store(through, g1, 16);
          through += stride;
        }
      }
      if (frozen) {
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
    coefficients += 2 * GRADIENT.BYTES;
    if (masked) {
      bits += 2;
      if (dresidual) dresidual += 32;
    }
  }
}

export function gradientStrips(
  frozen: bool,
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, coefficients: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  if (frozen) {
    if (bits) gradient(true, true, 0, dy, dx, rows, stride, strips, coefficients, dresidual, bits, bitStride);
    else gradient(false, true, 0, dy, dx, rows, stride, strips, coefficients, 0, 0, 0);
  } else if (bits) gradient(true, false, x, dy, dx, rows, stride, strips, coefficients, dresidual, bits, bitStride);
  else gradient(false, false, x, dy, dx, rows, stride, strips, coefficients, 0, 0, 0);
}

/** The same for `lanes` columns, with the scales. */
export function gradientLanes(
  frozen: bool,
  x: usize, dy: usize, dx: usize, rows: usize, stride: usize, lanes: usize, coefficients: usize,
  dresidual: usize, bits: usize, bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  const mu = v128.load(coefficients, GRADIENT.MU);
  const p = v128.load(coefficients, GRADIENT.P);
  const q = v128.load(coefficients, GRADIENT.Q);
  const r = v128.load(coefficients, GRADIENT.R);
  const scale = v128.load(coefficients, GRADIENT.SCALE);
  const dyScale = v128.load(coefficients, GRADIENT.DY_SCALE);
  const out = v128.load(coefficients, GRADIENT.OUT);
  for (; rows > 0; rows--) {
    let g = loadLanes(dy, lanes, zero);
    if (bits) {
      g = keep(g, load<u8>(bits));
      bits += bitStride;
      if (dresidual) {
        storeLanes(dresidual, lanes, g);
        dresidual += stride;
      }
    }
    g = f32x4.mul(g, dyScale);
    let v: v128;
    if (frozen) v = f32x4.mul(p, g);
    else {
      v = madd(p, g, madd(q, f32x4.sub(f32x4.mul(loadLanes(x, lanes, zero), scale), mu), r));
      x += stride;
    }
    storeLanes(dx, lanes, f32x4.mul(v, out));
    dy += stride;
    dx += stride;
  }
}
