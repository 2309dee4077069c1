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
 * Rows whose sums stay in float32. Sixteen terms keep a sum's error near half a unit in the last place; the move to
 * float64 costs 18 instructions a vector, spread over them.
 */
// @ts-ignore: decorator
@inline export const TILE: usize = 16;

/** Adds `sum(x - pivot)` and `sum((x - pivot)^2)` of up to TILE rows to each strip's sums. */
export function momentsStrips(x: usize, rows: usize, stride: usize, strips: usize, pivot: usize, sums: usize): void {
  for (let strip: usize = 0; strip < strips; strip++) {
    const p0 = v128.load(pivot);
    const p1 = v128.load(pivot, 16);
    const p2 = v128.load(pivot, 32);
    const p3 = v128.load(pivot, 48);
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    let q0 = f32x4.splat(0);
    let q1 = f32x4.splat(0);
    let q2 = f32x4.splat(0);
    let q3 = f32x4.splat(0);
    let at = x;
    for (let row = rows; row > 0; row--) {
      const d0 = f32x4.sub(v128.load(at), p0);
      const d1 = f32x4.sub(v128.load(at, 16), p1);
      const d2 = f32x4.sub(v128.load(at, 32), p2);
      const d3 = f32x4.sub(v128.load(at, 48), p3);
      s0 = f32x4.add(s0, d0);
      s1 = f32x4.add(s1, d1);
      s2 = f32x4.add(s2, d2);
      s3 = f32x4.add(s3, d3);
      q0 = madd(d0, d0, q0);
      q1 = madd(d1, d1, q1);
      q2 = madd(d2, d2, q2);
      q3 = madd(d3, d3, q3);
      at += stride;
    }
    addTo(sums, s0);
    addTo(sums + 32, s1);
    addTo(sums + 64, s2);
    addTo(sums + 96, s3);
    addTo(sums + 128, q0);
    addTo(sums + 160, q1);
    addTo(sums + 192, q2);
    addTo(sums + 224, q3);
    x += STRIP_BYTES;
    pivot += STRIP_BYTES;
    sums += SUMS_BYTES;
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
  while (rows > 0) {
    const tile = min(rows, TILE);
    let s = zero;
    let q = zero;
    for (let row = tile; row > 0; row--) {
      const d = f32x4.sub(f32x4.mul(loadLanes(x, lanes, pivot), scale), pivot);
      s = f32x4.add(s, d);
      q = madd(d, d, q);
      x += stride;
    }
    addTo(sums, s);
    addTo(sums + 128, q);
    rows -= tile;
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
  for (let strip: usize = 0; strip < strips; strip++) {
    const m0 = v128.load(coefficients, GRADIENT.MU);
    const m1 = v128.load(coefficients, GRADIENT.BYTES + GRADIENT.MU);
    const m2 = v128.load(coefficients, 2 * GRADIENT.BYTES + GRADIENT.MU);
    const m3 = v128.load(coefficients, 3 * GRADIENT.BYTES + GRADIENT.MU);
    let s0 = f32x4.splat(0);
    let s1 = f32x4.splat(0);
    let s2 = f32x4.splat(0);
    let s3 = f32x4.splat(0);
    let t0 = f32x4.splat(0);
    let t1 = f32x4.splat(0);
    let t2 = f32x4.splat(0);
    let t3 = f32x4.splat(0);
    let at = x;
    let from = dy;
    let bit = bits;
    for (let row = rows; row > 0; row--) {
      let g0 = v128.load(from);
      let g1 = v128.load(from, 16);
      let g2 = v128.load(from, 32);
      let g3 = v128.load(from, 48);
      if (masked) {
        g0 = keep(g0, load<u8>(bit));
        g1 = keep(g1, load<u8>(bit, 1));
        g2 = keep(g2, load<u8>(bit, 2));
        g3 = keep(g3, load<u8>(bit, 3));
        bit += bitStride;
      }
      s0 = f32x4.add(s0, g0);
      s1 = f32x4.add(s1, g1);
      s2 = f32x4.add(s2, g2);
      s3 = f32x4.add(s3, g3);
      t0 = madd(g0, f32x4.sub(v128.load(at), m0), t0);
      t1 = madd(g1, f32x4.sub(v128.load(at, 16), m1), t1);
      t2 = madd(g2, f32x4.sub(v128.load(at, 32), m2), t2);
      t3 = madd(g3, f32x4.sub(v128.load(at, 48), m3), t3);
      at += stride;
      from += stride;
    }
    addTo(sums, s0);
    addTo(sums + 32, s1);
    addTo(sums + 64, s2);
    addTo(sums + 96, s3);
    addTo(sums + 128, t0);
    addTo(sums + 160, t1);
    addTo(sums + 192, t2);
    addTo(sums + 224, t3);
    x += STRIP_BYTES;
    dy += STRIP_BYTES;
    sums += SUMS_BYTES;
    coefficients += 4 * GRADIENT.BYTES;
    if (masked) bits += 4;
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
    const tile = min(rows, TILE);
    let s = zero;
    let t = zero;
    for (let row = tile; row > 0; row--) {
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
    rows -= tile;
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
