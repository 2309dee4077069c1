/**
 * Kernels that walk a row whose every position has a gamma and a beta of its own (layer norm, RMS norm). A row's
 * record is scalars, since they serve for one row:
 *
 *   offset  0     16     32      48     64        80   96   112  128
 *          │ mu │ rstd │ shift │ scale │ dyScale │ p  │ q  │ r  │ out │
 *
 * `xhat = (x * scale - mu) * rstd + shift`; shift carries the mean's low half.
 */
import { addTo, keep, loadTail, madd, passBits, relu, storeTail, sum, high, low } from "../simd/lanes";

export namespace ROW {
  // @ts-ignore: decorator
  @inline export const MU: usize = 0;
  // @ts-ignore: decorator
  @inline export const RSTD: usize = 16;
  // @ts-ignore: decorator
  @inline export const SHIFT: usize = 32;
  // @ts-ignore: decorator
  @inline export const SCALE: usize = 48;
  // @ts-ignore: decorator
  @inline export const DY_SCALE: usize = 64;
  // @ts-ignore: decorator
  @inline export const P: usize = 80;
  // @ts-ignore: decorator
  @inline export const Q: usize = 96;
  // @ts-ignore: decorator
  @inline export const R: usize = 112;
  // @ts-ignore: decorator
  @inline export const OUT: usize = 128;
  // @ts-ignore: decorator
  @inline export const BYTES: usize = 144;
}

/** Vectors whose sums stay in float32. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 4;

/** A vector of beta, if there is one. */
// @ts-ignore: decorator
@inline function betaOf(beta: usize, at: usize, n: usize): v128 {
  return beta ? loadTail(beta + at, n) : f32x4.splat(0);
}

/** One vector of a forward row. `wide` (a power of two) keeps gamma * xhat in range where beta may bring it back. */
// @ts-ignore: decorator
@inline function affineVector(
  x: usize, y: usize, at: usize, n: usize, mu: v128, rstd: v128, shift: v128, scale: v128, wide: f32, gamma: usize,
  beta: usize, bits: usize,
): void {
  const xhat = madd(f32x4.sub(f32x4.mul(loadTail(x + at, n), scale), mu), rstd, shift);
  // Where wide is 1, as it nearly always is, the products with it change nothing.
  const less = f32x4.splat(1 / wide);
  const g = f32x4.mul(loadTail(gamma + at, n), less);
  let v = f32x4.mul(madd(xhat, g, f32x4.mul(betaOf(beta, at, n), less)), f32x4.splat(wide));
  if (bits) {
    store<u8>(bits + (at >> 4), passBits(v));
    v = relu(v);
  }
  storeTail(y + at, n, v);
}

/** `y = epilogue(xhat * gamma + beta)` for a row. */
export function affineRow(
  x: usize, y: usize, length: usize, record: usize, wide: f32, gamma: usize, beta: usize, bits: usize,
): void {
  const mu = v128.load(record, ROW.MU);
  const rstd = v128.load(record, ROW.RSTD);
  const shift = v128.load(record, ROW.SHIFT);
  const scale = v128.load(record, ROW.SCALE);
  const zero = f32x4.splat(0);
  const end = length << 2;
  let at: usize = 0;
  if (wide == 1 && !bits && load<f32>(record, ROW.SCALE) == 1) {
    for (const whole = end & ~31; at < whole; at += 32) {
      let b0 = zero;
      let b1 = zero;
      if (beta) {
        b0 = v128.load(beta + at);
        b1 = v128.load(beta + at, 16);
      }
      const d0 = madd(f32x4.sub(v128.load(x + at), mu), rstd, shift);
      const d1 = madd(f32x4.sub(v128.load(x + at, 16), mu), rstd, shift);
      v128.store(y + at, madd(d0, v128.load(gamma + at), b0));
      v128.store(y + at, madd(d1, v128.load(gamma + at, 16), b1), 16);
    }
  }
  for (; at < end; at += 16) {
    affineVector(x, y, at, min<usize>(end - at, 16) >> 2, mu, rstd, shift, scale, wide, gamma, beta, bits);
  }
}

/** One vector's gradient as ReLU let it through, times dyScale. */
// @ts-ignore: decorator
@inline function gradientOfVector(dy: usize, at: usize, n: usize, dyScale: v128, bits: usize): v128 {
  const g = f32x4.mul(loadTail(dy + at, n), dyScale);
  return bits ? keep(g, load<u8>(bits + (at >> 4))) : g;
}

// @ts-ignore: decorator
@inline function xhatOf(x: usize, n: usize, record: usize): v128 {
  const d = f32x4.sub(
    f32x4.mul(loadTail(x, n), v128.load(record, ROW.SCALE)), v128.load(record, ROW.MU),
  );
  return madd(d, v128.load(record, ROW.RSTD), v128.load(record, ROW.SHIFT));
}

/** Adds `sum(gamma * dy)` and `sum(gamma * dy * xhat)` of a row from `at` bytes on, dy times dyScale, to two float64 at `sums`. */
export function dotsRow(
  x: usize, dy: usize, length: usize, at: usize, record: usize, gamma: usize, sums: usize, bits: usize,
): void {
  const zero = f32x4.splat(0);
  const dyScale = v128.load(record, ROW.DY_SCALE);
  const end = length << 2;
  let total = load<f64>(sums);
  let dots = load<f64>(sums, 8);
  while (at < end) {
    let s = zero;
    let t = zero;
    for (let left = CHUNK; left > 0 && at < end; left--) {
      const n = min<usize>(end - at, 16) >> 2;
      const g = f32x4.mul(gradientOfVector(dy, at, n, dyScale, bits), loadTail(gamma + at, n));
      let xhat = xhatOf(x + at, n, record);
      // Beyond the last position it may be infinite, which gradients of 0 do not undo.
      if (n < 4) xhat = keep(xhat, (1 << u32(n)) - 1);
      s = f32x4.add(s, g);
      t = madd(g, xhat, t);
      at += 16;
    }
    total += sum(s);
    dots += sum(t);
  }
  store<f64>(sums, total);
  store<f64>(sums, dots, 8);
}

/** `dx = (p * (gamma * dy) + (q * (x * scale - mu) + r)) * out` for a row; `careful` where it takes scales. */
export function gradientRow(
  careful: bool, x: usize, dy: usize, dx: usize, length: usize, record: usize, gamma: usize, bits: usize,
): void {
  const mu = v128.load(record, ROW.MU);
  const scale = v128.load(record, ROW.SCALE);
  const dyScale = v128.load(record, ROW.DY_SCALE);
  const p = v128.load(record, ROW.P);
  const q = v128.load(record, ROW.Q);
  const r = v128.load(record, ROW.R);
  const out = v128.load(record, ROW.OUT);
  const end = length << 2;
  let at: usize = 0;
  for (const whole: usize = careful || bits ? 0 : end & ~31; at < whole; at += 32) {
    const d0 = madd(q, f32x4.sub(v128.load(x + at), mu), r);
    const d1 = madd(q, f32x4.sub(v128.load(x + at, 16), mu), r);
    v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at), v128.load(gamma + at)), d0));
    v128.store(dx + at, madd(p, f32x4.mul(v128.load(dy + at, 16), v128.load(gamma + at, 16)), d1), 16);
  }
  for (; at < end; at += 16) {
    const n = min<usize>(end - at, 16) >> 2;
    const g = f32x4.mul(gradientOfVector(dy, at, n, dyScale, bits), loadTail(gamma + at, n));
    const d = f32x4.sub(f32x4.mul(loadTail(x + at, n), scale), mu);
    storeTail(dx + at, n, f32x4.mul(madd(p, g, madd(q, d, r)), out));
  }
}

/** The sums of one vector of 1 to 4 positions over the rows, in float64 throughout. */
function parameterLanes(
  x: usize, dy: usize, rows: usize, stride: usize, n: usize, records: usize, dgamma: usize, dbeta: usize, bits: usize,
  bitStride: usize,
): void {
  const one = f32x4.splat(1);
  let b0 = v128.load(dbeta);
  let b1 = v128.load(dbeta, 16);
  let g0 = v128.load(dgamma);
  let g1 = v128.load(dgamma, 16);
  for (; rows > 0; rows--) {
    const g = gradientOfVector(dy, 0, n, one, bits);
    const xhat = xhatOf(x, n, records);
    b0 = f64x2.add(b0, low(g));
    b1 = f64x2.add(b1, high(g));
    g0 = f64x2.add(g0, f64x2.mul(low(g), low(xhat)));
    g1 = f64x2.add(g1, f64x2.mul(high(g), high(xhat)));
    x += stride;
    dy += stride;
    records += ROW.BYTES;
    if (bits) bits += bitStride;
  }
  v128.store(dbeta, b0);
  v128.store(dbeta, b1, 16);
  v128.store(dgamma, g0);
  v128.store(dgamma, g1, 16);
}

/**
 * Adds `sum(dy)` and `sum(dy * xhat)` over `rows` rows to float64 at `dbeta` and `dgamma`, for the positions from `at`
 * bytes on.
 */
export function parameterRows(
  x: usize, dy: usize, rows: usize, length: usize, at: usize, records: usize, dgamma: usize, dbeta: usize, bits: usize,
  bitStride: usize,
): void {
  const stride = length << 2;
  for (; at < stride; at += 16) {
    const to = at << 1;
    parameterLanes(
      x + at, dy + at, rows, stride, min<usize>(stride - at, 16) >> 2, records, dgamma + to, dbeta + to,
      bits ? bits + (at >> 4) : 0, bitStride,
    );
  }
}

/**
 * `dotsRow` and `parameterRows` in one for the first `whole` bytes of a row that takes no scales, so that x and dy come from
 * memory while there is much to do with them. The parameters' sums stay in float32 at `held`, two vectors for one, until
 * `flushRows`.
 */
export function dotsAlong(x: usize, dy: usize, whole: usize, record: usize, gamma: usize, sums: usize, held: usize): void {
  const zero = f32x4.splat(0);
  const mu = v128.load(record, ROW.MU);
  const rstd = v128.load(record, ROW.RSTD);
  const shift = v128.load(record, ROW.SHIFT);
  let total = f64x2.splat(0);
  let dots = f64x2.splat(0);
  for (let at: usize = 0; at < whole; ) {
    const stop = min(whole, at + 128);
    let s = zero;
    let t = zero;
    for (; at < stop; at += 32) {
      const g0 = v128.load(dy + at);
      const g1 = v128.load(dy + at, 16);
      const h0 = madd(f32x4.sub(v128.load(x + at), mu), rstd, shift);
      const h1 = madd(f32x4.sub(v128.load(x + at, 16), mu), rstd, shift);
      v128.store(held, f32x4.add(v128.load(held), g0));
      v128.store(held, f32x4.add(v128.load(held, 16), g1), 16);
      v128.store(held, madd(g0, h0, v128.load(held, 32)), 32);
      v128.store(held, madd(g1, h1, v128.load(held, 48)), 48);
      const w0 = f32x4.mul(g0, v128.load(gamma + at));
      const w1 = f32x4.mul(g1, v128.load(gamma + at, 16));
      s = f32x4.add(s, f32x4.add(w0, w1));
      t = f32x4.add(t, madd(w1, h1, f32x4.mul(w0, h0)));
      held += 64;
    }
    total = f64x2.add(total, f64x2.add(low(s), high(s)));
    dots = f64x2.add(dots, f64x2.add(low(t), high(t)));
  }
  store<f64>(sums, load<f64>(sums) + f64x2.extract_lane(total, 0) + f64x2.extract_lane(total, 1));
  store<f64>(sums, load<f64>(sums, 8) + f64x2.extract_lane(dots, 0) + f64x2.extract_lane(dots, 1), 8);
}

/**
 * Adds the two sets of sums that `dotsAlong` left of `rows` rows, `set` bytes apart, to float64, position by position, and
 * clears them. Where they left float32's range, they are taken once more.
 */
export function flushRows(
  x: usize, dy: usize, rows: usize, length: usize, whole: usize, records: usize, sums: usize, set: usize, dgamma: usize,
  dbeta: usize,
): void {
  const zero = f32x4.splat(0);
  const faint = f32x4.splat(1.2621774483536189e-29); // 2^-96
  const most = f32x4.splat(f32.MAX_VALUE);
  for (let at: usize = 0; at < whole; at += 16) {
    const other = sums + set;
    const s = f32x4.add(v128.load(sums), v128.load(other));
    const t = f32x4.add(v128.load(sums, 32), v128.load(other, 32));
    v128.store(sums, zero);
    v128.store(sums, zero, 32);
    v128.store(other, zero);
    v128.store(other, zero, 32);
    const size = f32x4.add(f32x4.abs(s), f32x4.abs(t));
    const fine = v128.or(v128.and(f32x4.ge(size, faint), f32x4.lt(size, most)), f32x4.eq(size, zero));
    if (i32x4.all_true(fine)) {
      addTo(dbeta, s);
      addTo(dgamma, t);
    } else parameterLanes(x + at, dy + at, rows, length << 2, 4, records, dgamma, dbeta, 0, 0);
    sums += at & 16 ? 48 : 16;
    dgamma += 32;
    dbeta += 32;
  }
}
