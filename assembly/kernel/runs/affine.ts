/**
 * `y = epilogue((x - mu) * a + b)` along a run. `record` is the run's lane of the planes of coefficients.ts. Whole steps of four
 * vectors go at full speed; the rest, and all of a run that needs `scales`, a vector at a time.
 */
import { AFFINE } from "../../coefficients";
import { Epilogue } from "../../epilogues/epilogue";
import { affine, note } from "../../epilogues/optional";
import { loadTail, madd, maddTo, passBits, storeTail } from "../../simd/lanes";

import { STEP } from "./moments";

export function affineRun<E extends Epilogue>(
  scales: bool, x: usize, y: usize, length: usize, record: usize, plane: usize, residual: usize, bits: usize,
): void {
  const e = changetype<E>(0);
  const mu = v128.load32_splat(record + AFFINE.MU * plane);
  const a = v128.load32_splat(record + AFFINE.A * plane);
  const b = v128.load32_splat(record + AFFINE.B * plane);
  let steps: usize = scales ? 0 : length / STEP;
  length -= steps * STEP;
  for (; steps > 0; steps--) {
    const d0 = f32x4.sub(v128.load(x), mu);
    const d1 = f32x4.sub(v128.load(x, 16), mu);
    const d2 = f32x4.sub(v128.load(x, 32), mu);
    const d3 = f32x4.sub(v128.load(x, 48), mu);
    const y0 = affine<E>(d0, a, b, residual, 0);
    const y1 = affine<E>(d1, a, b, residual, 16);
    const y2 = affine<E>(d2, a, b, residual, 32);
    const y3 = affine<E>(d3, a, b, residual, 48);
    note<E>(y0, bits, 0);
    note<E>(y1, bits, 1);
    note<E>(y2, bits, 2);
    note<E>(y3, bits, 3);
    v128.store(y, e.activate(y0));
    v128.store(y, e.activate(y1), 16);
    v128.store(y, e.activate(y2), 32);
    v128.store(y, e.activate(y3), 48);
    x += 4 * STEP;
    y += 4 * STEP;
    if (residual) residual += 4 * STEP;
    if (bits) bits += 4;
  }
  if (!length) return;
  const muLow = v128.load32_splat(record + AFFINE.MU_LOW * plane);
  const scale = v128.load32_splat(record + AFFINE.SCALE * plane);
  const out = v128.load32_splat(record + AFFINE.OUT * plane);
  while (length > 0) {
    const n = min<usize>(length, 4);
    const d = f32x4.sub(f32x4.sub(f32x4.mul(loadTail(x, n), scale), mu), muLow);
    let v = f32x4.mul(madd(d, a, b), out);
    if (residual) {
      const r = loadTail(residual, n);
      v = v128.bitselect(maddTo(d, a, b, r), f32x4.add(v, r), f32x4.eq(out, f32x4.splat(1)));
      residual += 16;
    }
    if (bits) {
      store<u8>(bits, passBits(v));
      bits++;
    }
    storeTail(y, n, e.activate(v));
    x += 16;
    y += 16;
    length -= n;
  }
}
