/**
 * `y = epilogue((x - mu) * a + b)` along a run. `record` is the run's lane of the planes of coefficients.ts. Runs that need scales
 * are scaled.ts's.
 */
import { AFFINE } from "../../coefficients/affine";
import { clamp, Epilogue, floorOf } from "../../epilogues/forward";
import { loadTail, storeTail } from "../../simd/lanes";
import { STEP } from "./moments";

export function affineRun<E extends Epilogue>(
  relu: bool, x: usize, y: usize, length: usize, record: usize, plane: usize, residual: usize, bits: usize,
): void {
  const e = changetype<E>(0);
  const floor = floorOf(relu);
  const mu = v128.load32_splat(record + AFFINE.MU * plane);
  const a = v128.load32_splat(record + AFFINE.A * plane);
  const b = v128.load32_splat(record + AFFINE.B * plane);
  for (let steps = length / STEP; steps > 0; steps--) {
    const d0 = f32x4.sub(v128.load(x), mu);
    const d1 = f32x4.sub(v128.load(x, 16), mu);
    const d2 = f32x4.sub(v128.load(x, 32), mu);
    const d3 = f32x4.sub(v128.load(x, 48), mu);
    const y0 = e.affine(d0, a, b, residual, 0);
    const y1 = e.affine(d1, a, b, residual, 16);
    const y2 = e.affine(d2, a, b, residual, 32);
    const y3 = e.affine(d3, a, b, residual, 48);
    e.note(y0, bits, 0, 0);
    e.note(y1, bits, 1, 0);
    e.note(y2, bits, 2, 0);
    e.note(y3, bits, 3, 0);
    v128.store(y, clamp(y0, floor));
    v128.store(y, clamp(y1, floor), 16);
    v128.store(y, clamp(y2, floor), 32);
    v128.store(y, clamp(y3, floor), 48);
    x += 4 * STEP;
    y += 4 * STEP;
    if (residual) residual += 4 * STEP;
    if (bits) bits += 4;
  }
  for (length &= STEP - 1; length > 0; length -= min<usize>(length, 4)) {
    const v = e.tail(f32x4.sub(loadTail(x, length), mu), a, b, residual, length);
    e.note(v, bits, 0, 0);
    storeTail(y, length, clamp(v, floor));
    x += 16;
    y += 16;
    if (residual) residual += 16;
    if (bits) bits++;
  }
}
