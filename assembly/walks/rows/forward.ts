/** The forward pass of a block of rows. */
import { rstdOf } from "../../coefficients/affine";
import { Added, Plain } from "../../epilogues/forward";
import { Row } from "../../kernel/row";
import { normalize, squaresOf, sumsOf } from "../../kernel/rows-forward";
import { ACTIVATION, Pass } from "../../pass";
import { inRange, leastVariance, rowMoments, rowNormalize, stands } from "../../range";
import { APPLY, EXACTLY, REDUCE, RMS } from "../../steps";
import { GROUP, prepare, setStatistics, WORK } from "./frame";

/** Bytes of the rows whose statistics are taken together, as one's wait for divisions and a root is another's time to sum. */
// @ts-ignore: decorator
@inline const STATISTICS: usize = 8000;

/** The mean of the first and the last four values: any pivot is correct, a near one exact at once. */
// @ts-ignore: decorator
@inline function pivotOf(x: usize, bytes: usize): f32 {
  const eighth = f32x4.splat(0.125);
  const v = f32x4.add(f32x4.mul(v128.load(x), eighth), f32x4.mul(v128.load(x + bytes - 16), eighth));
  return f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3));
}

/** Mean and variance of a block of rows. */
function statistics(pass: Pass, x: usize, rows: usize, first: usize, sums: usize): void {
  const rms = (pass.steps & RMS) != 0;
  const length = pass.length;
  const bytes = length << 2;
  const count = f64(length);
  const least = leastVariance(pass.eps);
  const fast = length >= 4 && !(pass.steps & EXACTLY);
  let mean = pass.mean + (first << 3);
  let variance = pass.variance + (first << 3);
  for (; rows > 0; rows--) {
    let fine: bool = false;
    if (fast) {
      if (rms) {
        const v = squaresOf(x, bytes) / count;
        fine = stands(v, v, least);
        store<f64>(mean, 0);
        store<f64>(variance, v);
      } else {
        const pivot = pivotOf(x, bytes);
        sumsOf(x, bytes, pivot, sums);
        // By a division: a product with 1 / count would not be exact where all values are the same.
        const m = load<f64>(sums) / count;
        const q = load<f64>(sums, 8) / count;
        const d = m - f64(pivot);
        const v = q - d * d;
        fine = stands(q, v, least);
        store<f64>(mean, m);
        store<f64>(variance, v);
      }
    }
    if (!fine) rowMoments(x, length, rms, mean, variance);
    x += bytes;
    mean += 8;
    variance += 8;
  }
}

/** A tile of the forward pass. */
export function forwardRows(pass: Pass, index: u32, work: usize): void {
  const steps = pass.steps;
  const row = prepare(pass, work);
  const bytes = row.bytes;
  const bitBytes = (bytes + 15) >> 4;
  const relu = pass.activation == ACTIVATION.RELU;
  const keeps = relu && pass.residual != 0 && pass.bits != 0;
  const fast = bytes >= 16 && !load<u32>(pass.scratch);
  const batch = max<usize>(1, min<usize>(GROUP, STATISTICS / bytes));
  const stop = min<usize>(pass.outer, usize(index + 1) * pass.tileRows);
  row.floor = relu ? 0 : -Infinity;
  for (let first = usize(index) * pass.tileRows; first < stop; ) {
    const rows = min(stop - first, batch);
    if (steps & REDUCE) statistics(pass, pass.x + first * bytes, rows, first, work + WORK.SUMS);
    rstdOf(pass.variance + (first << 3), pass.rstd + (first << 3), rows, pass.eps);
    const end = first + rows;
    for (; first < end; first++) {
      if (!(steps & APPLY)) continue;
      const mean = load<f64>(pass.mean + (first << 3));
      const rstd = load<f64>(pass.rstd + (first << 3));
      const at = first * bytes;
      row.x = pass.x + at;
      row.y = pass.y + at;
      row.residual = pass.residual ? pass.residual + at : 0;
      row.bits = keeps ? pass.bits + first * bitBytes : 0;
      setStatistics(row, mean, rstd);
      if (!fast || !inRange(mean, rstd)) rowNormalize(row, mean, rstd, relu);
      else if (pass.residual) normalize<Added>(row);
      else normalize<Plain>(row);
    }
  }
}
