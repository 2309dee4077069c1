/**
 * Normalization of each row of [rows, length], with a gamma and a beta for each position: layer norm and, about 0
 * instead of the mean, RMS norm.
 *
 *   ├──────── row: sums, then written while it is in the first-level cache ────────┤
 *      │  │  │  │  │   backward, a position's own sums over TILE rows
 *      ▼  ▼  ▼  ▼  ▼   stay in float32, then go to dgamma and dbeta
 */
import { exponent, gradientRange, gradientScale, power, rstdOf, scaleOf } from "./coefficients";
import { FAR, readAlong } from "./far";
import { ROW, affineRow, dotsAlong, dotsRow, flushRows, gradientRow, parameterRows } from "./kernel/rows";
import { groupMoments } from "./moments";
import { clear } from "./simd/lanes";
import { APPLY, REDUCE } from "./steps";

/**
 * Backward, rows are read one by one: four side by side leave the prefetch idle (8192 x 512: 18 cycles a vector, 10), and two whose
 * sums and gamma are loaded once for both take a tenth to a third longer in any cache (512 x 768: 163 us, 184). Those
 * longer than a block, whose parameters' sums would leave the first-level cache, are brought to the second-level cache, unless
 * the minibatch lies there anyway (up to NEAR bytes), and taken from there by blocks, four rows at a time (4096 x 4096: 14.8
 * along whole rows, 12.1).
 */
// @ts-ignore: decorator
@inline const BLOCK: usize = 4096;
// @ts-ignore: decorator
@inline const GROUP: usize = 4;
// @ts-ignore: decorator
@inline const NEAR: usize = 2 << 20;
/** Bytes of rows, near ones, that are taken four at a time as well, so that one's latencies are another's time (16 x 16: 53, 46). */
// @ts-ignore: decorator
@inline const SHORT: usize = 1024;
/** Rows whose parameters' sums stay in float32, either half in a set of its own: a sum passes eight roundings. */
// @ts-ignore: decorator
@inline const TILE: usize = 16;
// @ts-ignore: decorator
@inline const HALF: usize = 8;
/**
 * Bytes of the rows whose statistics are taken together, as one's wait for divisions and a root is another's time to sum
 * (16 x 16, forward: 42 cycles a vector, 29).
 */
// @ts-ignore: decorator
@inline const STATISTICS: usize = 8000;
/** Scratch: two sums for each of a group, a tile's records, then 16 bytes a position. */
// @ts-ignore: decorator
@inline const RECORDS: usize = 64;
// @ts-ignore: decorator
@inline const HEAD: usize = 2560;
// @ts-ignore: decorator
@inline const SUMS: usize = 256;

/** The power of two by which gamma and beta are divided so that neither can leave the range before they meet. */
function wideOf(gamma: usize, beta: usize, length: usize): f32 {
  const large = f32(1.2676506002282294e30); // 2^100
  for (let i: usize = 0; i < length << 2; i += 4) {
    const wide = (gamma && abs(load<f32>(gamma + i)) > large) || (beta && abs(load<f32>(beta + i)) > large);
    if (wide) return 18446744073709551616.0; // 2^64
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
  return scale;
}

/**
 * One forward pass. `rms` takes the statistics about 0. `mean`, `variance` and `rstd` are float64, a value a row, in pairs; gamma
 * and beta float32, a value a position, or 0 for none; `bits` or 0 for no ReLU.
 */
export function rowsForward(
  steps: u32, rms: bool, x: usize, y: usize, rows: usize, length: usize, mean: usize, variance: usize, rstd: usize,
  eps: f64, gamma: usize, beta: usize, bits: usize, work: usize,
): void {
  const stride = length << 2;
  const wide = wideOf(gamma, beta, length);
  const most = max<usize>(1, min<usize>(TILE, STATISTICS / stride));
  const far = rows * stride >= FAR / 2;
  while (rows > 0) {
    const batch = min(rows, most);
    rows -= batch;
    if (steps & REDUCE) {
      if (far) readAlong(x, batch * stride);
      groupMoments(
        x, batch, 1, length, length, 0, 0, f64(length), eps, rms, work + RECORDS, work + SUMS, mean, variance,
      );
    }
    rstdOf(variance, rstd, batch, eps);
    for (let row: usize = 0; row < batch; row++) {
      if (steps & APPLY) {
        xhatRecord(work + RECORDS, load<f64>(mean), load<f64>(rstd));
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
}

/**
 * `sum1` and `sum2` of a row: what `sums` have of the first `from` bytes and the rest, or all again with dy scaled while they leave
 * the range (gamma and dy both may be large).
 */
function reduceRow(
  x: usize, dy: usize, length: usize, from: usize, record: usize, gamma: usize, sum1: usize, sum2: usize, bits: usize, sums: usize,
): void {
  let dyScale: f64 = 1;
  let s: f64 = 0;
  let t: f64 = 0;
  for (let attempt = 0; attempt < 3; attempt++) {
    // A call for nothing would be felt in short rows (16 x 16, backward: 0.65 us, 0.56).
    if (from < length << 2) {
      v128.store(record, f32x4.splat(f32(dyScale)), ROW.DY_SCALE);
      dotsRow(x, dy, length, from, record, gamma, sums, bits);
    }
    // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
    if (dyScale > 1 && !(abs(load<f64>(sums)) + abs(load<f64>(sums, 8)) < Infinity)) break;
    s = load<f64>(sums);
    t = load<f64>(sums, 8);
    const next = gradientScale(s, t, f64(length));
    // Divisions by 1 would be felt in short rows.
    if (dyScale != 1) {
      s /= dyScale;
      t /= dyScale;
    }
    if (next == 1 || dyScale > 1 || (next > 1 && attempt > 0)) break;
    dyScale *= next;
    v128.store(sums, f32x4.splat(0));
    from = 0;
  }
  store<f64>(sum1, s);
  store<f64>(sum2, t);
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
 * `gamma * dy * xhat`, dbeta and dgamma to `sum(dy)` and `sum(dy * xhat)` over the rows (float64, a value a
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
  const records = work + RECORDS;
  const whole: usize = bits ? 0 : stride & ~31;
  const set = whole << 1;
  const near = rows * stride < NEAR;
  const most: usize = stride > BLOCK || (near && stride <= SHORT) ? GROUP : 1;
  if (steps & REDUCE) {
    clear(dgamma, (dbeta - dgamma) << 1);
    clear(sums, set << 1);
  }
  let held: usize = 0;
  let careful = false;
  while (rows > 0) {
    const group = min(rows, most);
    let record = records + held * ROW.BYTES;
    for (let row: usize = 0; row < group; row++) {
      const scale = xhatRecord(record + row * ROW.BYTES, load<f64>(mean + (row << 3)), load<f64>(rstd + (row << 3)));
      if (scale != 1) careful = true;
      v128.store(work + (row << 4), f32x4.splat(0));
    }
    const from: usize = careful || !(steps & REDUCE) ? 0 : whole;
    if (from && !near && stride > BLOCK) {
      readAlong(x, group * stride);
      readAlong(dy, group * stride);
    }
    for (let at: usize = 0; at < from; at += BLOCK) {
      for (let row: usize = 0; row < group; row++) {
        const skip = row * stride + at;
        dotsAlong(
          x + skip, dy + skip, min(from - at, BLOCK), record + row * ROW.BYTES, gamma + at, work + (row << 4),
          sums + ((held + row) / HALF) * set + (at << 1),
        );
      }
    }
    for (let row: usize = 0; row < group; row++) {
      if (steps & REDUCE) reduceRow(x, dy, length, from, record, gamma, sum1, sum2, bits, work + (row << 4));
      if (steps & APPLY) {
        const scaled = gradientRecord(record, rms, load<f64>(mean), load<f64>(rstd), load<f64>(sum1), load<f64>(sum2), inverse);
        gradientRow(scaled, x, dy, dx, length, record, gamma, bits);
      }
      record += ROW.BYTES;
      x += stride;
      dy += stride;
      dx += stride;
      mean += 8;
      rstd += 8;
      sum1 += 8;
      sum2 += 8;
      if (bits) bits += bitStride;
    }
    rows -= group;
    held += group;
    if (rows != 0 && held < TILE) continue;
    if (steps & REDUCE) {
      const back = held * stride;
      if (careful) clear(sums, set << 1);
      else flushRows(x - back, dy - back, held, length, whole, records, sums, set, dgamma, dbeta);
      parameterRows(
        x - back, dy - back, held, length, careful ? 0 : whole, records, dgamma, dbeta, bits ? bits - held * bitStride : 0, bitStride,
      );
    }
    held = 0;
    careful = false;
  }
}
