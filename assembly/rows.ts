/**
 * Normalization of each row of [rows, length], with a gamma and a beta for each position: layer norm and, about 0
 * instead of the mean, RMS norm.
 *
 *   ├──────── row: statistics, then written while it is in the first-level cache ────────┤
 *   TILE rows of a backward pass are read a second time, for dgamma and dbeta, down their positions
 */
import { exponent, gradientRange, gradientScale, power, scaleOf } from "./coefficients";
import { FAR, readAlong } from "./far";
import { ROW, affineRow, dotsRow, gradientRow, parameterRows } from "./kernel/rows";
import { groupMoments } from "./moments";
import { APPLY, REDUCE } from "./steps";

// @ts-ignore: decorator
@inline const TILE: usize = 16;
/** Scratch: two sums, then a tile's records. */
// @ts-ignore: decorator
@inline const RECORDS: usize = 16;

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
  const inverse = rstd / scale;
  store<f32>(record, mu, ROW.MU);
  store<f32>(record, f32(inverse), ROW.RSTD);
  store<f32>(record, f32((f64(mu) - mean * scale) * inverse), ROW.SHIFT);
  store<f32>(record, f32(scale), ROW.SCALE);
  store<f32>(record, 1, ROW.DY_SCALE);
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
  const far = rows * stride >= 4 * FAR && (steps & REDUCE) != 0;
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
    memory.fill(sums, 0, 16);
    store<f32>(record, f32(dyScale), ROW.DY_SCALE);
    dotsRow(x, dy, length, record, gamma, sums, bits);
    // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
    if (dyScale > 1 && !(abs(load<f64>(sums)) + abs(load<f64>(sums, 8)) < Infinity)) break;
    s = load<f64>(sums) / dyScale;
    t = load<f64>(sums, 8) / dyScale;
    const next = gradientScale(load<f64>(sums), load<f64>(sums, 8), f64(length));
    if (next == 1 || dyScale > 1 || (next > 1 && attempt > 0)) break;
    dyScale *= next;
  }
  store<f32>(record, 1, ROW.DY_SCALE);
  const muLow = mean * scale - f64(load<f32>(record, ROW.MU));
  store<f64>(sum1, s);
  store<f64>(sum2, (t - muLow * s) * (rstd / scale));
}

/** Completes a row's record: `dx = rstd * (gamma * dy - sum1 / n - xhat * sum2 / n)`, without sum1 for `rms`. */
function gradientRecord(record: usize, rms: bool, mean: f64, rstd: f64, scale: f64, sum1: f64, sum2: f64, n: f64): void {
  const shift = rms ? 0 : -sum1 / n;
  const slope = -sum2 / n;
  const size = max(abs(sum1 / n), abs(slope));
  let dyScale: f64 = 1;
  let out: f64 = 1;
  // Out of range, powers of two bring dy and the result near 1.
  if (size < Infinity && rstd < Infinity) {
    dyScale = gradientRange(size);
    if (scale != 1 || dyScale != 1) out = power(max(-126, min(127, exponent(rstd / dyScale))));
  }
  const q = rstd * slope * (rstd / scale) / out;
  store<f32>(record, f32(dyScale), ROW.DY_SCALE);
  store<f32>(record, f32(rstd / dyScale / out), ROW.P);
  store<f32>(record, f32(q), ROW.Q);
  store<f32>(record, f32(rstd * shift / out - q * (mean * scale - f64(load<f32>(record, ROW.MU)))), ROW.R);
  store<f32>(record, f32(out), ROW.OUT);
}

/**
 * One backward pass. REDUCE sets `sum1`, `sum2` (float64, a value a row) to the sums of `gamma * dy` and
 * `gamma * dy * xhat`, and adds `sum(dy)` and `sum(dy * xhat)` over the rows to dbeta and dgamma (float64, a value a
 * position); APPLY writes dx from sum1 and sum2.
 */
export function rowsBackward(
  steps: u32, rms: bool, x: usize, dy: usize, dx: usize, rows: usize, length: usize, mean: usize, rstd: usize,
  gamma: usize, sum1: usize, sum2: usize, dgamma: usize, dbeta: usize, bits: usize, work: usize,
): void {
  const stride = length << 2;
  const bitStride = (length + 3) >> 2;
  while (rows > 0) {
    const tile = min(rows, TILE);
    let calm = true;
    for (let row: usize = 0; row < tile; row++) {
      const record = work + RECORDS + row * ROW.BYTES;
      const m = load<f64>(mean + (row << 3));
      const r = load<f64>(rstd + (row << 3));
      const scale = xhatRecord(record, m, r);
      if (scale != 1) calm = false;
      if (steps & REDUCE) {
        reduceRow(
          x + row * stride, dy + row * stride, length, record, gamma, m, r, scale, sum1 + (row << 3), sum2 + (row << 3),
          bits ? bits + row * bitStride : 0, work,
        );
      }
    }
    if (steps & REDUCE) parameterRows(calm, x, dy, tile, length, work + RECORDS, dgamma, dbeta, bits, bitStride);
    if (steps & APPLY) {
      for (let row: usize = 0; row < tile; row++) {
        const record = work + RECORDS + row * ROW.BYTES;
        gradientRecord(
          record, rms, load<f64>(mean + (row << 3)), load<f64>(rstd + (row << 3)), f64(load<f32>(record, ROW.SCALE)),
          load<f64>(sum1 + (row << 3)), load<f64>(sum2 + (row << 3)), f64(length),
        );
        gradientRow(
          x + row * stride, dy + row * stride, dx + row * stride, length, record, gamma, 0,
          bits ? bits + row * bitStride : 0,
        );
      }
    }
    const bytes = tile * stride;
    x += bytes;
    dy += bytes;
    dx += bytes;
    mean += tile << 3;
    rstd += tile << 3;
    sum1 += tile << 3;
    sum2 += tile << 3;
    if (bits) bits += tile * bitStride;
    rows -= tile;
  }
}
