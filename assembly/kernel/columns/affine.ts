/**
 * `y = epilogue((x - mu) * a + b)` down columns. `…Strips` keeps a strip's coefficients in registers for a few rows; `…Along` takes
 * one row after the other, for what comes from memory; `…Lanes` takes a vector of 1 to 4 columns, with the mean's low half and
 * scales. All give a column the same bits.
 */
import { AFFINE } from "../../coefficients/affine";
import { clamp, Epilogue, floorOf } from "../../epilogues/forward";
import { loadTail, madd, maddTo, passBits, storeTail } from "../../simd/lanes";
import { STRIP } from "./layout";

export function affineStrips<E extends Epilogue>(
  relu: bool, x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize, residual: usize, bits: usize,
  bitStride: usize,
): void {
  const e = changetype<E>(0);
  const floor = floorOf(relu);
  const addStride = residual ? stride : 0;
  for (; strips > 0; strips--) {
    const scaled = record + plane;
    const shifted = scaled + plane;
    const m0 = v128.load(record);
    const a0 = v128.load(scaled);
    const b0 = v128.load(shifted);
    const m1 = v128.load(record, 16);
    const a1 = v128.load(scaled, 16);
    const b1 = v128.load(shifted, 16);
    const m2 = v128.load(record, 32);
    const a2 = v128.load(scaled, 32);
    const b2 = v128.load(shifted, 32);
    const m3 = v128.load(record, 48);
    const a3 = v128.load(scaled, 48);
    const b3 = v128.load(shifted, 48);
    let from = x;
    let to = y;
    let add = residual;
    let bit = bits;
    for (let row = rows; row > 0; row--) {
      const d0 = f32x4.sub(v128.load(from), m0);
      const d1 = f32x4.sub(v128.load(from, 16), m1);
      const d2 = f32x4.sub(v128.load(from, 32), m2);
      const d3 = f32x4.sub(v128.load(from, 48), m3);
      const y0 = e.affine(d0, a0, b0, add, 0);
      const y1 = e.affine(d1, a1, b1, add, 16);
      const y2 = e.affine(d2, a2, b2, add, 32);
      const y3 = e.affine(d3, a3, b3, add, 48);
      e.note(y0, bit, 0, 0);
      e.note(y1, bit, 1, 0);
      e.note(y2, bit, 2, 0);
      e.note(y3, bit, 3, 0);
      v128.store(to, clamp(y0, floor));
      v128.store(to, clamp(y1, floor), 16);
      v128.store(to, clamp(y2, floor), 32);
      v128.store(to, clamp(y3, floor), 48);
      from += stride;
      to += stride;
      add += addStride;
      if (bit) bit += bitStride;
    }
    x += STRIP.BYTES;
    y += STRIP.BYTES;
    record += STRIP.BYTES;
    if (residual) residual += STRIP.BYTES;
    if (bits) bits += 4;
  }
}

/**
 * The same along one row after the other, coefficients loaded anew: so few instructions leave room for the next loads. Rejected:
 * two rows side by side, which saves three loads of eight, but writes in two places (25088 x 128: 1.27 ms, 0.53 for one).
 */
export function affineAlong<E extends Epilogue>(
  relu: bool, x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize, residual: usize, bits: usize,
  bitStride: usize,
): void {
  const e = changetype<E>(0);
  const floor = floorOf(relu);
  const a = record + plane;
  const b = a + plane;
  const end = strips * STRIP.BYTES;
  for (; rows > 0; rows--) {
    for (let at: usize = 0; at < end; at += 32) {
      const next = at + 16;
      const d0 = f32x4.sub(v128.load(x + at), v128.load(record + at));
      const d1 = f32x4.sub(v128.load(x + next), v128.load(record + next));
      const y0 = e.affine(d0, v128.load(a + at), v128.load(b + at), residual, at);
      const y1 = e.affine(d1, v128.load(a + next), v128.load(b + next), residual, next);
      e.note(y0, bits, at >> 4, 0);
      e.note(y1, bits, next >> 4, 0);
      v128.store(y + at, clamp(y0, floor));
      v128.store(y + next, clamp(y1, floor));
    }
    x += stride;
    y += stride;
    if (residual) residual += stride;
    if (bits) bits += bitStride;
  }
}

/** The same for `lanes` columns and any number of rows, with the mean's low half and the scales. */
export function affineLanes(
  relu: bool, x: usize, y: usize, rows: usize, stride: usize, lanes: usize, record: usize, plane: usize,
  residual: usize, bits: usize, bitStride: usize,
): void {
  const mu = v128.load(record + AFFINE.MU * plane);
  const a = v128.load(record + AFFINE.A * plane);
  const b = v128.load(record + AFFINE.B * plane);
  const muLow = v128.load(record + AFFINE.MU_LOW * plane);
  const scale = v128.load(record + AFFINE.SCALE * plane);
  const out = v128.load(record + AFFINE.OUT * plane);
  const floor = floorOf(relu);
  for (; rows > 0; rows--) {
    const d = f32x4.sub(f32x4.sub(f32x4.mul(loadTail(x, lanes), scale), mu), muLow);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      const r = loadTail(residual, lanes);
      v = v128.bitselect(maddTo(d, a, b, r), f32x4.add(v, r), f32x4.eq(out, f32x4.splat(1)));
      residual += stride;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      bits += bitStride;
    }
    storeTail(y, lanes, clamp(v, floor));
    x += stride;
    y += stride;
  }
}
