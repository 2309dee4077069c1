/**
 * Kernels that walk a row whose every position has a gamma and a beta of its own (layer norm, RMS norm). A row's
 * record is scalars, since they serve for one row:
 *
 *   offset  0     4      8       12     16        20   24   28    32
 *          │ mu │ rstd │ shift │ scale │ dyScale │ p  │ q  │ r  │ out │
 *
 * `xhat = (x * scale - mu) * rstd + shift`; shift carries the mean's low half.
 */
import { addTo, keep, loadLanes, madd, passBits, relu, storeLanes, sum, high, low } from "../simd/lanes";

export namespace ROW {
  // @ts-ignore: decorator
  @inline export const MU: usize = 0;
  // @ts-ignore: decorator
  @inline export const RSTD: usize = 4;
  // @ts-ignore: decorator
  @inline export const SHIFT: usize = 8;
  // @ts-ignore: decorator
  @inline export const SCALE: usize = 12;
  // @ts-ignore: decorator
  @inline export const DY_SCALE: usize = 16;
  // @ts-ignore: decorator
  @inline export const P: usize = 20;
  // @ts-ignore: decorator
  @inline export const Q: usize = 24;
  // @ts-ignore: decorator
  @inline export const R: usize = 28;
  // @ts-ignore: decorator
  @inline export const OUT: usize = 32;
  // @ts-ignore: decorator
  @inline export const BYTES: usize = 36;
}

/** Vectors whose sums stay in float32. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 4;

/** A gamma or beta vector, or `otherwise` where there is none. */
// @ts-ignore: decorator
@inline function parameter(at: usize, skip: usize, n: usize, otherwise: f32): v128 {
  return at ? loadLanes(at + skip, n) : f32x4.splat(otherwise);
}

/** One vector of a forward row. `wide` (a power of two) keeps gamma * xhat in range where beta may bring it back. */
// @ts-ignore: decorator
@inline function affineVector(
  x: usize, y: usize, at: usize, n: usize, mu: v128, rstd: v128, shift: v128, scale: v128, wide: f32, gamma: usize,
  beta: usize, bits: usize,
): void {
  const xhat = madd(f32x4.sub(f32x4.mul(loadLanes(x + at, n), scale), mu), rstd, shift);
  let v: v128;
  if (wide == 1) v = madd(xhat, parameter(gamma, at, n, 1), parameter(beta, at, n, 0));
  else {
    const less = f32x4.splat(1 / wide);
    const g = f32x4.mul(parameter(gamma, at, n, 1), less);
    v = f32x4.mul(madd(xhat, g, f32x4.mul(parameter(beta, at, n, 0), less)), f32x4.splat(wide));
  }
  if (bits) {
    store<u8>(bits + (at >> 4), passBits(v));
    v = relu(v);
  }
  storeLanes(y + at, n, v);
}

/** `y = epilogue(xhat * gamma + beta)` for a row. */
export function affineRow(
  x: usize, y: usize, length: usize, record: usize, wide: f32, gamma: usize, beta: usize, bits: usize,
): void {
  const mu = v128.load32_splat(record, ROW.MU);
  const rstd = v128.load32_splat(record, ROW.RSTD);
  const shift = v128.load32_splat(record, ROW.SHIFT);
  const scale = v128.load32_splat(record, ROW.SCALE);
  const zero = f32x4.splat(0);
  const end = length << 2;
  let at: usize = 0;
  if (gamma && wide == 1 && !bits && load<f32>(record, ROW.SCALE) == 1) {
    const whole = end & ~63;
    for (; at < whole; at += 64) {
      let b0 = zero;
      let b1 = zero;
      let b2 = zero;
      let b3 = zero;
      if (beta) {
        b0 = v128.load(beta + at);
        b1 = v128.load(beta + at, 16);
        b2 = v128.load(beta + at, 32);
        b3 = v128.load(beta + at, 48);
      }
      const d0 = madd(f32x4.sub(v128.load(x + at), mu), rstd, shift);
      const d1 = madd(f32x4.sub(v128.load(x + at, 16), mu), rstd, shift);
      const d2 = madd(f32x4.sub(v128.load(x + at, 32), mu), rstd, shift);
      const d3 = madd(f32x4.sub(v128.load(x + at, 48), mu), rstd, shift);
      v128.store(y + at, madd(d0, v128.load(gamma + at), b0));
      v128.store(y + at, madd(d1, v128.load(gamma + at, 16), b1), 16);
      v128.store(y + at, madd(d2, v128.load(gamma + at, 32), b2), 32);
      v128.store(y + at, madd(d3, v128.load(gamma + at, 48), b3), 48);
    }
  }
  for (; at < end; at += 16) {
    affineVector(x, y, at, min<usize>(end - at, 16) >> 2, mu, rstd, shift, scale, wide, gamma, beta, bits);
  }
}

/** One vector's gradient as ReLU let it through, times dyScale. */
// @ts-ignore: decorator
@inline function gradientOfVector(dy: usize, at: usize, n: usize, dyScale: v128, bits: usize): v128 {
  const g = f32x4.mul(loadLanes(dy + at, n), dyScale);
  return bits ? keep(g, load<u8>(bits + (at >> 4))) : g;
}

/** Adds `sum(gamma * dy)` and `sum(gamma * dy * (x * scale - mu))`, dy times dyScale, to two float64 at `sums`. */
export function dotsRow(x: usize, dy: usize, length: usize, record: usize, gamma: usize, sums: usize, bits: usize): void {
  const zero = f32x4.splat(0);
  const mu = v128.load32_splat(record, ROW.MU);
  const scale = v128.load32_splat(record, ROW.SCALE);
  const dyScale = v128.load32_splat(record, ROW.DY_SCALE);
  const end = length << 2;
  let total = f64x2.splat(0);
  let dots = f64x2.splat(0);
  let at: usize = 0;
  if (gamma && !bits && load<f32>(record, ROW.SCALE) == 1 && load<f32>(record, ROW.DY_SCALE) == 1) {
    for (const whole = end & ~63; at < whole; ) {
      const stop = min(whole, at + 4 * 64);
      let s0 = zero;
      let s1 = zero;
      let t0 = zero;
      let t1 = zero;
      let t2 = zero;
      let t3 = zero;
      for (; at < stop; at += 64) {
        const g0 = f32x4.mul(v128.load(dy + at), v128.load(gamma + at));
        const g1 = f32x4.mul(v128.load(dy + at, 16), v128.load(gamma + at, 16));
        const g2 = f32x4.mul(v128.load(dy + at, 32), v128.load(gamma + at, 32));
        const g3 = f32x4.mul(v128.load(dy + at, 48), v128.load(gamma + at, 48));
        s0 = f32x4.add(s0, f32x4.add(g0, g1));
        s1 = f32x4.add(s1, f32x4.add(g2, g3));
        t0 = madd(g0, f32x4.sub(v128.load(x + at), mu), t0);
        t1 = madd(g1, f32x4.sub(v128.load(x + at, 16), mu), t1);
        t2 = madd(g2, f32x4.sub(v128.load(x + at, 32), mu), t2);
        t3 = madd(g3, f32x4.sub(v128.load(x + at, 48), mu), t3);
      }
      const s = f32x4.add(s0, s1);
      const t = f32x4.add(f32x4.add(t0, t1), f32x4.add(t2, t3));
      total = f64x2.add(total, f64x2.add(low(s), high(s)));
      dots = f64x2.add(dots, f64x2.add(low(t), high(t)));
    }
  }
  while (at < end) {
    let s = zero;
    let t = zero;
    for (let left = CHUNK; left > 0 && at < end; left--) {
      const n = min<usize>(end - at, 16) >> 2;
      let d = f32x4.sub(f32x4.mul(loadLanes(x + at, n), scale), mu);
      if (n < 4) d = keep(d, (1 << u32(n)) - 1);
      const g = f32x4.mul(gradientOfVector(dy, at, n, dyScale, bits), parameter(gamma, at, n, 1));
      s = f32x4.add(s, g);
      t = madd(g, d, t);
      at += 16;
    }
    total = f64x2.add(total, f64x2.add(low(s), high(s)));
    dots = f64x2.add(dots, f64x2.add(low(t), high(t)));
  }
  store<f64>(sums, load<f64>(sums) + f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1));
  store<f64>(sums, load<f64>(sums, 8) + f64x2.extract_lane(dots, 0) + f64x2.extract_lane(dots, 1), 8);
}

/** `dx = (p * (gamma * dy) + (q * (x * scale - mu) + r)) * out` for a row. */
export function gradientRow(
  x: usize, dy: usize, dx: usize, length: usize, record: usize, gamma: usize, dresidual: usize, bits: usize,
): void {
  const mu = v128.load32_splat(record, ROW.MU);
  const scale = v128.load32_splat(record, ROW.SCALE);
  const dyScale = v128.load32_splat(record, ROW.DY_SCALE);
  const p = v128.load32_splat(record, ROW.P);
  const q = v128.load32_splat(record, ROW.Q);
  const r = v128.load32_splat(record, ROW.R);
  const out = v128.load32_splat(record, ROW.OUT);
  const end = length << 2;
  let at: usize = 0;
  if (
    gamma && !bits && load<f32>(record, ROW.SCALE) == 1 && load<f32>(record, ROW.DY_SCALE) == 1 &&
    load<f32>(record, ROW.OUT) == 1
  ) {
    for (const whole = end & ~63; at < whole; at += 64) {
      const d0 = madd(q, f32x4.sub(v128.load(x + at), mu), r);
      const d1 = madd(q, f32x4.sub(v128.load(x + at, 16), mu), r);
      const d2 = madd(q, f32x4.sub(v128.load(x + at, 32), mu), r);
      const d3 = madd(q, f32x4.sub(v128.load(x + at, 48), mu), r);
      v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at), v128.load(gamma + at)), d0));
      v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at, 16), v128.load(gamma + at, 16)), d1), 16);
      v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at, 32), v128.load(gamma + at, 32)), d2), 32);
      v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at, 48), v128.load(gamma + at, 48)), d3), 48);
    }
  }
  for (; at < end; at += 16) {
    const n = min<usize>(end - at, 16) >> 2;
    let g = gradientOfVector(dy, at, n, f32x4.splat(1), bits);
    if (dresidual) storeLanes(dresidual + at, n, g);
    g = f32x4.mul(f32x4.mul(g, dyScale), parameter(gamma, at, n, 1));
    const d = f32x4.sub(f32x4.mul(loadLanes(x + at, n), scale), mu);
    storeLanes(dx + at, n, f32x4.mul(madd(p, g, madd(q, d, r)), out));
  }
}

// @ts-ignore: decorator
@inline function xhatOf(x: usize, n: usize, record: usize): v128 {
  const d = f32x4.sub(
    f32x4.mul(loadLanes(x, n), v128.load32_splat(record, ROW.SCALE)), v128.load32_splat(record, ROW.MU),
  );
  return madd(d, v128.load32_splat(record, ROW.RSTD), v128.load32_splat(record, ROW.SHIFT));
}

/** Adds one vector's sums over the rows to the float64 there; false where they left float32's range. */
// @ts-ignore: decorator
@inline function addParameters(s: v128, t: v128, dgamma: usize, dbeta: usize): bool {
  const size = f32x4.add(f32x4.abs(s), f32x4.abs(t));
  const faint = f32x4.splat(1.2621774483536189e-29); // 2^-96
  const fine = v128.or(
    v128.and(f32x4.ge(size, faint), f32x4.lt(size, f32x4.splat(f32.MAX_VALUE))),
    f32x4.eq(size, f32x4.splat(0)),
  );
  if (!i32x4.all_true(fine)) return false;
  addTo(dbeta, s);
  addTo(dgamma, t);
  return true;
}

/** The sums of one vector of 1 to 4 positions, in float64 where float32's range does not do. */
function parameterLanes(
  x: usize, dy: usize, rows: usize, stride: usize, n: usize, records: usize, dgamma: usize, dbeta: usize, bits: usize,
  bitStride: usize,
): void {
  const one = f32x4.splat(1);
  let s = f32x4.splat(0);
  let t = s;
  let s0 = s;
  let s1 = s;
  let t0 = s;
  let t1 = s;
  for (let row: usize = 0; row < rows; ) {
    let s4 = f32x4.splat(0);
    let t4 = s4;
    for (const stop = min(rows, row + 4); row < stop; row++) {
      const g = gradientOfVector(dy, 0, n, one, bits);
      const xhat = xhatOf(x, n, records);
      s4 = f32x4.add(s4, g);
      t4 = madd(g, xhat, t4);
      s0 = f64x2.add(s0, low(g));
      s1 = f64x2.add(s1, high(g));
      t0 = f64x2.add(t0, f64x2.mul(low(g), low(xhat)));
      t1 = f64x2.add(t1, f64x2.mul(high(g), high(xhat)));
      x += stride;
      dy += stride;
      records += ROW.BYTES;
      if (bits) bits += bitStride;
    }
    s = f32x4.add(s, s4);
    t = f32x4.add(t, t4);
  }
  if (addParameters(s, t, dgamma, dbeta)) return;
  v128.store(dbeta, f64x2.add(v128.load(dbeta), s0));
  v128.store(dbeta, f64x2.add(v128.load(dbeta, 16), s1), 16);
  v128.store(dgamma, f64x2.add(v128.load(dgamma), t0));
  v128.store(dgamma, f64x2.add(v128.load(dgamma, 16), t1), 16);
}

/**
 * Adds `sum(dy)` and `sum(dy * xhat)` over up to 16 rows to float64 at `dbeta` and `dgamma`, position by position, two
 * vectors at a time where no row takes a scale (`calm`).
 */
export function parameterRows(
  calm: bool, x: usize, dy: usize, rows: usize, length: usize, records: usize, dgamma: usize, dbeta: usize, bits: usize,
  bitStride: usize,
): void {
  const zero = f32x4.splat(0);
  const stride = length << 2;
  let at: usize = 0;
  if (calm && !bits) {
    for (; at + 32 <= stride; at += 32) {
      let s0 = zero;
      let s1 = zero;
      let t0 = zero;
      let t1 = zero;
      let from = x + at;
      let by = dy + at;
      let record = records;
      for (let left = rows; left > 0; ) {
        let a0 = zero;
        let a1 = zero;
        let b0 = zero;
        let b1 = zero;
        let group = min<usize>(left, 4);
        left -= group;
        for (; group > 0; group--) {
          const mu = v128.load32_splat(record, ROW.MU);
          const rstd = v128.load32_splat(record, ROW.RSTD);
          const shift = v128.load32_splat(record, ROW.SHIFT);
          const g0 = v128.load(by);
          const g1 = v128.load(by, 16);
          a0 = f32x4.add(a0, g0);
          a1 = f32x4.add(a1, g1);
          b0 = madd(g0, madd(f32x4.sub(v128.load(from), mu), rstd, shift), b0);
          b1 = madd(g1, madd(f32x4.sub(v128.load(from, 16), mu), rstd, shift), b1);
          from += stride;
          by += stride;
          record += ROW.BYTES;
        }
        s0 = f32x4.add(s0, a0);
        s1 = f32x4.add(s1, a1);
        t0 = f32x4.add(t0, b0);
        t1 = f32x4.add(t1, b1);
      }
      const to = at << 1;
      if (!addParameters(s0, t0, dgamma + to, dbeta + to)) {
        parameterLanes(x + at, dy + at, rows, stride, 4, records, dgamma + to, dbeta + to, 0, 0);
      }
      if (!addParameters(s1, t1, dgamma + to + 32, dbeta + to + 32)) {
        parameterLanes(x + at + 16, dy + at + 16, rows, stride, 4, records, dgamma + to + 32, dbeta + to + 32, 0, 0);
      }
    }
  }
  for (; at < stride; at += 16) {
    const to = at << 1;
    parameterLanes(
      x + at, dy + at, rows, stride, min<usize>(stride - at, 16) >> 2, records, dgamma + to, dbeta + to,
      bits ? bits + (at >> 4) : 0, bitStride,
    );
  }
}
