/** The second look at a channel's dot products that may not stand as they are. */
import { gradientScale, LESS } from "../../coefficients/scales";
import { Pass } from "../../pass";
import { dots } from "./backward";
import { Frame } from "./frame";

/** The dot products of a piece that begins `skip` values into a run whose bits are `bits` (or 0). */
function dotsPiece(
  scales: bool, x: usize, dy: usize, length: usize, record: usize, affine: usize, plane: usize, dyScale: f32, xScale: f32,
  sums: usize, bits: usize, skip: usize, work: usize,
): void {
  if (bits) {
    bits += skip >> 2;
    const lead = min(length, (4 - (skip & 3)) & 3);
    if (lead) {
      // A byte of bits of its own, as the piece begins within one.
      store<u8>(work, load<u8>(bits) >> u8(skip & 3));
      dots(true, x, dy, lead, record, affine, plane, dyScale, xScale, sums, work);
      x += lead << 2;
      dy += lead << 2;
      length -= lead;
      bits++;
    }
  }
  dots(scales, x, dy, length, record, affine, plane, dyScale, xScale, sums, bits);
}

/** Adds up a channel's sums from zero, over its rows or the segments of them; dy times `dyScale`. `at` is its first value. */
function sumChannel(
  p: Pass, f: Frame, scales: bool, at: usize, record: usize, affine: usize, dyScale: f32, xScale: f32, sums: usize,
  bits: usize, work: usize,
): void {
  const length: usize = p.length;
  store<f64>(sums, 0);
  store<f64>(sums, 0, 128);
  for (let row: usize = 0; row < p.rows && !p.segments; row++) {
    const from = at + ((row * f.stride) << 2);
    dots(
      scales, p.x + from, p.dy + from, length, record, affine, f.plane, dyScale, xScale, sums, bits ? bits + row * f.rowBits : 0,
    );
  }
  for (let i: usize = 0; i < p.segmentCount && p.segments != 0; i++) {
    const pair = p.segments + (i << 3);
    const first = load<usize>(pair);
    const row = first / length;
    const skip = first - row * length;
    const from = at + ((row * f.stride + skip) << 2);
    dotsPiece(
      scales, p.x + from, p.dy + from, load<usize>(pair, 4) - first, record, affine, f.plane, dyScale, xScale, sums,
      bits ? bits + row * f.rowBits : 0, skip, work,
    );
  }
}

/** Leaves sums that may stand: those of segments are yet to be taken, others are taken again, dy scaled, if they left the range. */
export function settleChannel(
  p: Pass, f: Frame, scales: bool, at: usize, record: usize, affine: usize, sums: usize, bits: usize, work: usize,
): void {
  if (p.segments) sumChannel(p, f, scales, at, record, affine, 1, 1, sums, bits, work);
  const s = load<f64>(sums);
  const t = load<f64>(sums, 128);
  const dyScale = gradientScale(s, t, p.count);
  if (dyScale == 1) return;
  const xScale: f32 = dyScale < 1 ? LESS : 1;
  sumChannel(p, f, true, at, record, affine, f32(dyScale), xScale, sums, bits, work);
  const again = load<f64>(sums) / dyScale;
  const dot = load<f64>(sums, 128) / dyScale / f64(xScale);
  // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
  const lost = dyScale > 1 && !(abs(again) + abs(dot) < Infinity);
  store<f64>(sums, lost ? s : again);
  store<f64>(sums, lost ? t : dot, 128);
}
