/**
 * What comes before and after the kernels, over rows [from, to) of a pass: a row is a run (RUNS) or a row of the minibatch.
 *
 *     forward    addStream       stream += added, and a copy for backward
 *                (the kernels)   n, with residual and ReLU where nothing comes between
 *                finishRows      y = act(n * (1 + scale) + shift + residual) * silu(gate)
 *     backward   (the kernels)   n again, from x and the statistics, to z
 *                startRows       g = dy * silu(gate) * act'(.) * (1 + scale), and the gradients of what was added or multiplied
 *                (the kernels)   dx from g
 *                addGradient     dx += dstream, dstream = dx
 */
import { ACTIVATION, Pass, WALK } from "../pass";
import { demodulate, demodulateRun, modulate, modulateRun, narrow } from "./modulation";
import { add, applyActivation, applyDerivative, multiply } from "./stretch";

/** Values that go through all steps at once, and bytes of the three buffers of them: 12 kB, so that they stay in the first-level cache. */
// @ts-ignore: decorator
@inline const CHUNK: usize = 1024;
// @ts-ignore: decorator
@inline export const STAGE_BYTES: usize = 3 * 4 * CHUNK;

/** Values of a row. */
// @ts-ignore: decorator
@inline function widthOf(p: Pass): usize {
  return p.walk == WALK.COLUMNS ? usize(p.groups) * p.width : p.length;
}

export function addStream(p: Pass, from: usize, to: usize): void {
  const width = widthOf(p);
  const at = (from * width) << 2;
  add(p.stream + at, p.added + at, p.copy ? p.copy + at : 0, (to - from) * width);
}

export function addGradient(p: Pass, from: usize, to: usize): void {
  const width = widthOf(p);
  const at = (from * width) << 2;
  add(p.dx + at, p.dstream + at, p.dstream + at, (to - from) * width);
}

/** `to = n * (1 + scale) + shift` for `width` values from position `j` of row `i` on. */
function modulateAt(p: Pass, n: usize, to: usize, i: usize, j: usize, row: usize, width: usize): void {
  const condition = i / p.perCondition;
  if (p.walk == WALK.RUNS) {
    modulateRun(n, to, load<f32>(p.scale + (condition << 2)), load<f32>(p.shift + (condition << 2)), width);
  } else {
    const at = (condition * row + j) << 2;
    modulate(n, to, p.scale + at, p.shift + at, width);
  }
}

/** `to = silu(gate)`, in a buffer: loops of its own for a product with it would be 3 kB more. */
function gateAt(p: Pass, at: usize, to: usize, width: usize): void {
  memory.copy(to, p.gate + at, width << 2);
  applyActivation(ACTIVATION.SILU, to, width);
}

export function finishRows(p: Pass, from: usize, to: usize, worker: usize): void {
  const row = widthOf(p);
  const room = p.workspace + worker * p.workspaceStride;
  for (let i = from; i < to; i++) {
    for (let j: usize = 0; j < row; j += CHUNK) {
      const width = min(CHUNK, row - j);
      const at = (i * row + j) << 2;
      const y = p.y + at;
      if (p.scale) modulateAt(p, y, y, i, j, row, width);
      if (p.lateResidual) add(y, p.lateResidual + at, 0, width);
      applyActivation(p.late, y, width);
      if (!p.gate) continue;
      gateAt(p, at, room, width);
      multiply(y, room, y, width);
    }
  }
}

/** One stretch of `startRows`; `a`, `b` and `c` are three buffers. */
function startAt(p: Pass, i: usize, j: usize, row: usize, width: usize, a: usize, b: usize, c: usize): void {
  const at = (i * row + j) << 2;
  const bytes = width << 2;
  const z = p.z + at;
  const modulated = p.scale != 0;
  let r = z;
  if (modulated) {
    r = a;
    modulateAt(p, z, r, i, j, row, width);
  }
  if (p.lateResidual) {
    if (!modulated) {
      memory.copy(a, z, bytes);
      r = a;
    }
    add(r, p.lateResidual + at, 0, width);
  }
  let dr = p.dy + at;
  if (p.gate) {
    memory.copy(b, r, bytes);
    applyActivation(p.late, b, width);
    multiply(dr, b, c, width);
    gateAt(p, at, b, width);
    multiply(dr, b, b, width);
    dr = b;
    if (p.dgate) applyDerivative(ACTIVATION.SILU, c, p.gate + at, p.dgate + at, width);
  }
  const g = p.dx + at;
  if (!modulated) {
    applyDerivative(p.late, dr, r, g, width);
    if (p.dresidual) memory.copy(p.dresidual + at, g, bytes);
    return;
  }
  applyDerivative(p.late, dr, r, c, width);
  if (p.dresidual) memory.copy(p.dresidual + at, c, bytes);
  const condition = i / p.perCondition;
  if (p.walk == WALK.RUNS) {
    demodulateRun(c, z, g, load<f32>(p.scale + (condition << 2)), p.sums, width);
  } else {
    const wide = p.sums ? p.sums + (j << 3) : 0;
    const half = ((row + 3) & ~3) << 3;
    demodulate(c, z, g, p.scale + ((condition * row + j) << 2), wide, wide + half, width);
  }
}

/** Rows in order: modulation's sums go over rows that share a condition, which may be in several calls. */
export function startRows(p: Pass, from: usize, to: usize, worker: usize): void {
  const row = widthOf(p);
  const runs = p.walk == WALK.RUNS;
  const half = ((row + 3) & ~3) << 3;
  const a = p.workspace + worker * p.workspaceStride;
  for (let i = from; i < to; i++) {
    if (p.scale && p.sums && i % p.perCondition == 0) memory.fill(p.sums, 0, runs ? 16 : 2 * half);
    for (let j: usize = 0; j < row; j += CHUNK) startAt(p, i, j, row, min(CHUNK, row - j), a, a + 4 * CHUNK, a + 8 * CHUNK);
    if (!p.scale || !p.dscale || (i + 1) % p.perCondition != 0) continue;
    const condition = i / p.perCondition;
    if (runs) {
      store<f32>(p.dscale + (condition << 2), f32(load<f64>(p.sums)));
      store<f32>(p.dshift + (condition << 2), f32(load<f64>(p.sums, 8)));
    } else {
      narrow(p.sums, p.dscale + ((condition * row) << 2), row);
      narrow(p.sums + half, p.dshift + ((condition * row) << 2), row);
    }
  }
}
