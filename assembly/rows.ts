/**
 * Normalization of each row of [rows, length], with a gamma and a beta for each position: layer norm and, about 0
 * instead of the mean, RMS norm.
 *
 *   ├──────── row: statistics, then written while it is in the first-level cache ────────┤
 *   TILE rows of a backward pass are read a second time, for dgamma and dbeta, down their positions
 */
import { exponent, gradientRange, gradientScale, power, scaleOf } from "./coefficients";
import { FAR, readAlong } from "./far";
import { ROW, affineRow, dotsRow, flushRows, gradientRow, gradientRows, parameterRows } from "./kernel/rows";
import { groupMoments } from "./moments";
import { APPLY, REDUCE } from "./steps";

/** Rows that are taken together, and those whose parameters' sums stay in float32: groups of four, each added in order. */
// @ts-ignore: decorator
@inline const GROUP: usize = 4;
// @ts-ignore: decorator
@inline const TILE: usize = 16;
/** Scratch: two sums, a tile's records, then eight bytes a position. */
// @ts-ignore: decorator
@inline const RECORDS: usize = 16;
// @ts-ignore: decorator
@inline const HEAD: usize = 2560;

/** The power of two by which gamma and beta are divided so that neither can leave the range before they meet. */
function wideOf(gamma: usize, beta: usize, length: usize): f32 {
  const large = f32(1.2676506002282294e30); // 2^100
  for (let i: usize = 0; i < length << 2; i += 4) {
    if (gamma && abs(load<f32>(gamma + i)) > large) return 18446744073709551616.0; // 2^64
    if (beta && abs(load<f32>(beta + i)) > large) return 18446744073709551616.0;
  }
  return 1;
}

/** What xhat needs of a row. */
function xhatRecord(record: usize, mean: f64, rstd: f64): f64 {
  const scale = scaleOf(mean, rstd);
  const mu = f32(mean * scale);
  const inverse = scale == 1 ? rstd : rstd / scale;
  v128.store(record, f32x4.splat(mu), ROW.MU);
  v128.store(record, f32x4.splat(f32(inverse)), ROW.RSTD);
  v128.store(record, f32x4.splat(f32((f64(mu) - mean * scale) * inverse)), ROW.SHIFT);
  v128.store(record, f32x4.splat(f32(scale)), ROW.SCALE);
  v128.store(record, f32x4.splat(1), ROW.DY_SCALE);
  return scale;
}

/**
 * One forward pass. `rms` takes the statistics about 0. `mean`, `variance` and `rstd` are float64, a value a row; gamma
 * and beta float32, a value a position, or 0 for none; `bits` or 0 for no ReLU.
 */
export function rowsForward(
  steps: u32, rms: bool, x: usize, y: usize, rows: usize, length: usize, mean: usize, variance: usize, rstd: usize,
  eps: f64, gamma: usize, beta: usize, bits: usize, work: usize,
): void {
  const stride = length << 2;
  const wide = wideOf(gamma, beta, length);
  const far = rows * stride >= FAR && (steps & REDUCE) != 0;
  for (; rows > 0; rows--) {
    if (far) readAlong(x, stride);
    if (steps & REDUCE) groupMoments(x, 1, length, length, 0, 0, f64(length), eps, rms, work, mean, variance);
    const r = 1 / Math.sqrt(load<f64>(variance) + eps);
    store<f64>(rstd, r);
    if (steps & APPLY) {
      xhatRecord(work + RECORDS, load<f64>(mean), r);
      affineRow(x, y, length, work + RECORDS, wide, gamma, beta, bits);
    }
    x += stride;
    y += stride;
    mean += 8;
    variance += 8;
    rstd += 8;
    if (bits) bits += (length + 3) >> 2;
  }
}

/** `sum1` and `sum2` of a row, once, and again with dy scaled while they leave the range (gamma and dy both may be large). */
function reduceRow(
  x: usize, dy: usize, length: usize, record: usize, gamma: usize, mean: f64, rstd: f64, scale: f64, sum1: usize,
  sum2: usize, bits: usize, sums: usize,
): void {
  let dyScale: f64 = 1;
  let s: f64 = 0;
  let t: f64 = 0;
  for (let attempt = 0; attempt < 3; attempt++) {
    v128.store(sums, f32x4.splat(0));
    v128.store(record, f32x4.splat(f32(dyScale)), ROW.DY_SCALE);
    dotsRow(x, dy, length, record, gamma, sums, bits);
    // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
    if (dyScale > 1 && !(abs(load<f64>(sums)) + abs(load<f64>(sums, 8)) < Infinity)) break;
    s = load<f64>(sums);
    t = load<f64>(sums, 8);
    if (dyScale != 1) {
      s /= dyScale;
      t /= dyScale;
    }
    const next = gradientScale(load<f64>(sums), load<f64>(sums, 8), f64(length));
    if (next == 1 || dyScale > 1 || (next > 1 && attempt > 0)) break;
    dyScale *= next;
  }
  v128.store(record, f32x4.splat(1), ROW.DY_SCALE);
  const muLow = mean * scale - f64(load<f32>(record, ROW.MU));
  store<f64>(sum1, s);
  store<f64>(sum2, (t - muLow * s) * (scale == 1 ? rstd : rstd / scale));
}

/**
 * Completes a row's record: `dx = rstd * (gamma * dy - sum1 / n - xhat * sum2 / n)`, without sum1 for `rms`; true where it
 * takes scales.
 */
function gradientRecord(record: usize, rms: bool, mean: f64, rstd: f64, sum1: f64, sum2: f64, inverse: f64): bool {
  const scale = f64(load<f32>(record, ROW.SCALE));
  const mu = f64(load<f32>(record, ROW.MU));
  const shift = rms ? 0 : -sum1 * inverse;
  const slope = -sum2 * inverse;
  const size = max(abs(sum1 * inverse), abs(slope));
  // Out of range, powers of two bring dy and the result near 1.
  const finite = size < Infinity && rstd < Infinity;
  const dyScale: f64 = finite ? gradientRange(size) : 1;
  const careful = scale != 1 || dyScale != 1;
  let out: f64 = 1;
  let p = rstd;
  let q = rstd * slope * rstd;
  let level = rstd * shift;
  if (careful) {
    if (finite) out = power(max(-126, min(127, exponent(rstd / dyScale))));
    p = rstd / dyScale / out;
    q = rstd * slope * (rstd / scale) / out;
    level /= out;
  }
  v128.store(record, f32x4.splat(f32(dyScale)), ROW.DY_SCALE);
  v128.store(record, f32x4.splat(f32(p)), ROW.P);
  v128.store(record, f32x4.splat(f32(q)), ROW.Q);
  v128.store(record, f32x4.splat(f32(level - q * (mean * scale - mu))), ROW.R);
  v128.store(record, f32x4.splat(f32(out)), ROW.OUT);
  return careful;
}

/**
 * One backward pass. REDUCE sets `sum1`, `sum2` (float64, a value a row) to the sums of `gamma * dy` and
 * `gamma * dy * xhat`, and adds `sum(dy)` and `sum(dy * xhat)` over the rows to dbeta and dgamma (float64, a value a
 * position); APPLY writes dx from sum1 and sum2. With both, dx must not lie over dy, which may be read again.
 */
export function rowsBackward(
  steps: u32, rms: bool, x: usize, dy: usize, dx: usize, rows: usize, length: usize, mean: usize, rstd: usize,
  gamma: usize, sum1: usize, sum2: usize, dgamma: usize, dbeta: usize, bits: usize, work: usize,
): void {
  const stride = length << 2;
  const bitStride = (length + 3) >> 2;
  const inverse = 1 / f64(length);
  const sums = work + HEAD;
  const whole: usize = bits ? 0 : stride & ~31;
  memory.fill(sums, 0, whole << 1);
  let held: usize = 0;
  while (rows > 0) {
    const group = min(rows, GROUP);
    let record = work + RECORDS + held * ROW.BYTES;
    let from = whole;
    for (let row: usize = 0; row < group; row++) {
      const m = load<f64>(mean);
      const r = load<f64>(rstd);
      const scale = xhatRecord(record, m, r);
      if (scale != 1) from = 0;
      const skip = row * stride;
      if (steps & REDUCE) {
        const bit = bits ? bits + row * bitStride : 0;
        reduceRow(x + skip, dy + skip, length, record, gamma, m, r, scale, sum1, sum2, bit, work);
      }
      if (steps & APPLY) {
        if (gradientRecord(record, rms, m, r, load<f64>(sum1), load<f64>(sum2), inverse)) from = 0;
      }
      record += ROW.BYTES;
      mean += 8;
      rstd += 8;
      sum1 += 8;
      sum2 += 8;
    }
    record -= group * ROW.BYTES;
    if (from) {
      gradientRows(x, dy, steps & APPLY ? dx : 0, group, length, whole, record, gamma, sums);
      held += group;
    }
    if (from < stride) {
      if (steps & REDUCE) parameterRows(x, dy, group, length, from, record, dgamma, dbeta, bits, bitStride);
      for (let row: usize = 0; row < group && (steps & APPLY) != 0; row++) {
        const skip = row * stride;
        gradientRow(
          x + skip, dy + skip, dx + skip, length, from, record + row * ROW.BYTES, gamma, bits ? bits + row * bitStride : 0,
        );
      }
    }
    rows -= group;
    const bytes = group * stride;
    x += bytes;
    dy += bytes;
    dx += bytes;
    if (bits) bits += group * bitStride;
    if (held != 0 && (!from || held >= TILE || rows == 0)) {
      if (steps & REDUCE) {
        // A group that took scales lies behind those that are held.
        const back = held * stride + (from ? 0 : bytes);
        flushRows(x - back, dy - back, held, length, whole, work + RECORDS, sums, dgamma, dbeta);
      }
      held = 0;
    }
  }
}
