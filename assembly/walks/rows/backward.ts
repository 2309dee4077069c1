/** The backward pass of a block of rows. */
import { Again, Kept, Open } from "../../epilogues/backward";
import { Row } from "../../kernel/row";
import { addPositions, dots, flush, gradient } from "../../kernel/rows-backward";
import { ACTIVATION, Pass } from "../../pass";
import { dotsStand, gradientInRange, inRange, leastDot, rowDots, rowGradient, rowThroughRelu } from "../../range";
import { clear } from "../../simd/lanes";
import { APPLY, FROZEN, REDUCE, RMS } from "../../steps";
import { GROUP, prepare, room, setStatistics, WORK } from "./frame";

/**
 * Bytes of rows that are short: all dot products of a group are taken before its gradients, so that one row's latencies are
 * another's time. 16 x 16, backward, Node 20: 0.56 us; row by row 0.56 to 1.4.
 */
// @ts-ignore: decorator
@inline const SHORT: usize = 128;

/** The row's operands in backward. */
// @ts-ignore: decorator
@inline function moveTo(pass: Pass, row: Row, i: usize, masked: bool, spare: usize): void {
  const at = i * row.bytes;
  row.x = pass.x + at;
  row.dy = pass.dy + at;
  row.dx = pass.dx + at;
  row.bits = pass.bits ? pass.bits + i * ((row.bytes + 15) >> 4) : 0;
  if (!masked) row.g = row.dy;
  else if (pass.dresidual) row.g = pass.dresidual + at;
  else row.g = spare ? spare : row.dx;
}

/** dx of a row from its two sums; `inverse` is 1 / length. */
function gradientOf(pass: Pass, row: Row, i: usize, ordinary: bool, inverse: f64): void {
  const mean = load<f64>(pass.mean + (i << 3));
  const rstd = load<f64>(pass.rstd + (i << 3));
  let mean1: f64 = 0;
  let mean2: f64 = 0;
  if (!(pass.steps & FROZEN)) {
    if (!(pass.steps & RMS)) mean1 = load<f64>(pass.sum1 + (i << 3)) * inverse;
    mean2 = load<f64>(pass.sum2 + (i << 3)) * inverse;
  }
  const q = -mean2 * rstd * rstd;
  if (ordinary && gradientInRange(mean1, mean2, q)) {
    row.mu = f32(mean);
    row.p = f32(rstd);
    row.q = f32(q);
    row.r = f32(-mean1 * rstd - q * (mean - f64(row.mu)));
    gradient(row);
  } else rowGradient(row, mean, rstd, mean1, mean2);
}

/** Adds what `flush` left of a group of rows, in float64. */
function addRest(pass: Pass, row: Row, first: usize, rows: usize, work: usize, dgamma: usize, dbeta: usize): void {
  for (let at: usize = 0; at < row.bytes; at += 16) {
    if (!v128.any_true(v128.or(v128.load(row.dgamma + at), v128.load(row.dbeta + at)))) continue;
    v128.store(row.dgamma + at, f32x4.splat(0));
    v128.store(row.dbeta + at, f32x4.splat(0));
    for (let i: usize = 0; i < rows; i++) {
      const record = work + WORK.RECORDS + (i << 4);
      if (!load<u32>(record, 12)) continue;
      moveTo(pass, row, first + i, false, 0);
      row.mu = load<f32>(record);
      row.rstd = load<f32>(record, 4);
      row.shift = load<f32>(record, 8);
      addPositions(pass.activation == ACTIVATION.RELU, row, at, dgamma, dbeta);
    }
  }
}

/**
 * A tile of the backward pass, whose dgamma and dbeta it sets at `partial`. In place, a group's dx is written after its
 * parameters' sums were judged, as that may take dy again.
 */
export function backwardRows(pass: Pass, index: u32, work: usize, partial: usize): void {
  const steps = pass.steps;
  const row = prepare(pass, work);
  const bytes = row.bytes;
  const size = room(pass.length);
  const relu = pass.activation == ACTIVATION.RELU;
  const kept = relu && pass.bits != 0;
  const fast = bytes >= 16 && !load<u32>(pass.scratch);
  const late = pass.dx == pass.dy || bytes <= SHORT;
  const inverse = 1 / f64(pass.length);
  const least = leastDot(pass.length);
  const spare: usize = steps & APPLY ? 0 : work + WORK.PARAMETERS + 2 * size;
  const stop = min<usize>(pass.outer, usize(index + 1) * pass.tileRows);
  const dgamma = partial;
  const dbeta = partial + 2 * size;
  row.dgamma = work + WORK.PARAMETERS;
  row.dbeta = row.dgamma + size;
  row.residual = 0;
  clear(row.dgamma, 2 * size);
  if (steps & REDUCE) clear(partial, 4 * size);
  for (let first = usize(index) * pass.tileRows; first < stop; first += GROUP) {
    const rows = min(stop - first, GROUP);
    for (let i: usize = 0; i < rows; i++) {
      const at = (first + i) << 3;
      const mean = load<f64>(pass.mean + at);
      const rstd = load<f64>(pass.rstd + at);
      const record = work + WORK.RECORDS + (i << 4);
      const ordinary = fast && inRange(mean, rstd);
      moveTo(pass, row, first + i, relu, spare);
      setStatistics(row, mean, rstd);
      store<f32>(record, row.mu);
      store<f32>(record, row.rstd, 4);
      store<f32>(record, row.shift, 8);
      store<u32>(record, u32(ordinary), 12);
      if (ordinary) {
        if (kept) dots<Kept>(row);
        else if (relu) dots<Again>(row);
        else if (steps & REDUCE) dots<Open>(row);
        if (steps & REDUCE && !dotsStand(row.sum1, row.sum2, least)) rowDots(row, row.g, mean, rstd, 0, 0);
      } else {
        if (relu) rowThroughRelu(row, mean, rstd, kept);
        if (steps & REDUCE) rowDots(row, row.g, mean, rstd, dgamma, dbeta);
      }
      if (steps & REDUCE) {
        store<f64>(pass.sum1 + at, row.sum1);
        store<f64>(pass.sum2 + at, row.sum2);
      }
      if (steps & APPLY && !late) gradientOf(pass, row, first + i, ordinary, inverse);
    }
    if (steps & REDUCE && flush(row.dgamma, row.dbeta, size, dgamma, dbeta)) addRest(pass, row, first, rows, work, dgamma, dbeta);
    if (steps & APPLY && late) {
      for (let i: usize = 0; i < rows; i++) {
        moveTo(pass, row, first + i, relu, spare);
        gradientOf(pass, row, first + i, load<u32>(work + WORK.RECORDS + (i << 4), 12) != 0, inverse);
      }
    }
  }
}
