/** Kernels that walk one row backward, for walks/rows.ts; in the form of rows-forward.ts, and functions of their own like those. */
import { Either, Gate } from "../epilogues/backward";
import { addTo, high, low, madd } from "../simd/lanes";
import { Row, from, overlap } from "./row";

/** Bytes whose sums stay in float32: each passes 15 roundings. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 512;

// @ts-ignore: decorator
@inline function wide(v: v128): v128 {
  return f64x2.add(low(v), high(v));
}

/**
 * The row's `sum1` and `sum2`, and its part of dgamma and dbeta, all in one, so that x and dy come from memory while there is
 * much to do with them. An activation leaves the gradient before it at `g`, so that what follows need not know of it.
 */
export function dots<G extends Gate>(row: Row): void {
  const e = changetype<G>(0);
  const x = row.x;
  const dy = row.dy;
  const to = row.g;
  const gamma = row.gamma;
  const beta = row.beta;
  const gammaStep = row.gammaStep;
  const betaStep = row.betaStep;
  const bits = row.bits;
  const again = !bits;
  const dgamma = row.dgamma;
  const dbeta = row.dbeta;
  const bytes = row.bytes;
  const mu = f32x4.splat(row.mu);
  const rstd = f32x4.splat(row.rstd);
  const shift = f32x4.splat(row.shift);
  const zero = f32x4.splat(0);
  let sum1 = f64x2.splat(0);
  let sum2 = f64x2.splat(0);
  let at: usize = 0;
  for (const whole = bytes & ~31; at < whole; ) {
    const stop = min(whole, at + CHUNK);
    let s0 = zero;
    let s1 = zero;
    let t0 = zero;
    let t1 = zero;
    for (; at < stop; at += 32) {
      const g = gamma + (at & gammaStep);
      const b = beta + (at & betaStep);
      const gamma0 = v128.load(g);
      const gamma1 = v128.load(g, 16);
      const h0 = madd(f32x4.sub(v128.load(x + at), mu), rstd, shift);
      const h1 = madd(f32x4.sub(v128.load(x + at, 16), mu), rstd, shift);
      const d0 = e.through(v128.load(dy + at), h0, g, b, again, bits + (at >> 4), 0);
      const d1 = e.through(v128.load(dy + at, 16), h1, g + 16, b + 16, again, bits + (at >> 4) + 1, 0);
      const w0 = f32x4.mul(d0, gamma0);
      const w1 = f32x4.mul(d1, gamma1);
      s0 = f32x4.add(s0, w0);
      s1 = f32x4.add(s1, w1);
      t0 = madd(w0, h0, t0);
      t1 = madd(w1, h1, t1);
      const a0 = madd(d0, h0, v128.load(dgamma + at));
      const a1 = madd(d1, h1, v128.load(dgamma + at, 16));
      const b0 = f32x4.add(d0, v128.load(dbeta + at));
      const b1 = f32x4.add(d1, v128.load(dbeta + at, 16));
      v128.store(dgamma + at, a0);
      v128.store(dgamma + at, a1, 16);
      v128.store(dbeta + at, b0);
      v128.store(dbeta + at, b1, 16);
      if (e.masks()) {
        v128.store(to + at, d0);
        v128.store(to + at, d1, 16);
      }
    }
    sum1 = f64x2.add(sum1, wide(f32x4.add(s0, s1)));
    sum2 = f64x2.add(sum2, wide(f32x4.add(t0, t1)));
  }
  for (; at < bytes; at += 16) {
    const skip = overlap(at, bytes);
    const lanes = from(skip);
    const i = at - (skip << 2);
    const a = gamma + (i & gammaStep);
    const g = v128.load(a);
    const h = madd(f32x4.sub(v128.load(x + i), mu), rstd, shift);
    let d = e.through(v128.load(dy + i), h, a, beta + (i & betaStep), again, bits + (at >> 4), skip);
    if (e.masks()) v128.store(to + i, v128.bitselect(d, v128.load(to + i), lanes));
    d = v128.and(d, lanes);
    const w = f32x4.mul(d, g);
    sum1 = f64x2.add(sum1, wide(w));
    sum2 = f64x2.add(sum2, wide(f32x4.mul(w, h)));
    v128.store(dgamma + i, madd(d, h, v128.load(dgamma + i)));
    v128.store(dbeta + i, f32x4.add(d, v128.load(dbeta + i)));
  }
  row.sum1 = f64x2.extract_lane(sum1, 0) + f64x2.extract_lane(sum1, 1);
  row.sum2 = f64x2.extract_lane(sum2, 0) + f64x2.extract_lane(sum2, 1);
}

/** `dx = p * (g * gamma) + (q * (x - mu) + r)`; dx may lie over g. */
export function gradient(row: Row): void {
  const x = row.x;
  const g = row.g;
  const dx = row.dx;
  const gamma = row.gamma;
  const step = row.gammaStep;
  const bytes = row.bytes;
  const mu = f32x4.splat(row.mu);
  const p = f32x4.splat(row.p);
  const q = f32x4.splat(row.q);
  const r = f32x4.splat(row.r);
  let at: usize = 0;
  for (const whole = bytes & ~31; at < whole; at += 32) {
    const a = gamma + (at & step);
    const w0 = f32x4.mul(v128.load(g + at), v128.load(a));
    const w1 = f32x4.mul(v128.load(g + at, 16), v128.load(a, 16));
    const u0 = madd(p, w0, madd(q, f32x4.sub(v128.load(x + at), mu), r));
    const u1 = madd(p, w1, madd(q, f32x4.sub(v128.load(x + at, 16), mu), r));
    v128.store(dx + at, u0);
    v128.store(dx + at, u1, 16);
  }
  for (; at < bytes; at += 16) {
    const skip = overlap(at, bytes);
    const i = at - (skip << 2);
    const w = f32x4.mul(v128.load(g + i), v128.load(gamma + (i & step)));
    const u = madd(p, w, madd(q, f32x4.sub(v128.load(x + i), mu), r));
    v128.store(dx + i, v128.bitselect(u, v128.load(dx + i), from(skip)));
  }
}

/** Below these, terms of a sum may have vanished in float32 (2^-96); beyond the others it may have left the range. */
// @ts-ignore: decorator
@inline const LEAST: f32 = 1.2621774483536189e-29;

/**
 * Adds float32 sums to float64, `bytes` of dgamma's and as many of dbeta's, and clears them. Vectors that may have left float32's
 * range stay; returns how many do.
 */
export function flush(dgamma: usize, dbeta: usize, bytes: usize, toGamma: usize, toBeta: usize): u32 {
  const zero = f32x4.splat(0);
  const least = f32x4.splat(LEAST);
  const most = f32x4.splat(f32.MAX_VALUE);
  let left: u32 = 0;
  for (let at: usize = 0; at < bytes; at += 16) {
    const t = v128.load(dgamma + at);
    const s = v128.load(dbeta + at);
    const size = f32x4.add(f32x4.abs(s), f32x4.abs(t));
    const fine = v128.or(v128.and(f32x4.ge(size, least), f32x4.lt(size, most)), f32x4.eq(size, zero));
    if (i32x4.all_true(fine)) {
      addTo(toGamma + (at << 1), t);
      addTo(toBeta + (at << 1), s);
      v128.store(dgamma + at, zero);
      v128.store(dbeta + at, zero);
    } else left++;
  }
  return left;
}

/** Adds four positions of a row, from `at` bytes on, to float64. */
export function addPositions(relu: bool, row: Row, at: usize, toGamma: usize, toBeta: usize): void {
  const skip = overlap(at, row.bytes);
  const i = at - (skip << 2);
  const h = madd(f32x4.sub(v128.load(row.x + i), f32x4.splat(row.mu)), f32x4.splat(row.rstd), f32x4.splat(row.shift));
  let g = v128.load(row.dy + i);
  if (relu) {
    const gamma = row.gamma + (i & row.gammaStep);
    g = changetype<Either>(0).through(g, h, gamma, row.beta + (i & row.betaStep), !row.bits, row.bits + (at >> 4), skip);
  }
  const d = v128.and(g, from(skip));
  const a = toGamma + (i << 1);
  const b = toBeta + (i << 1);
  v128.store(a, f64x2.add(v128.load(a), f64x2.mul(low(d), low(h))));
  v128.store(a, f64x2.add(v128.load(a, 16), f64x2.mul(high(d), high(h))), 16);
  addTo(b, d);
}
