/** The second look at dot products that may not stand as they are. */
import { GRADIENT } from "../../coefficients/gradient";
import { LEAST_DOT, gradientScale, LESS } from "../../coefficients/scales";
import { dotsLanes } from "../../kernel/columns/dots";
import { sizeOf, SUMS, sumOf } from "../../kernel/columns/layout";
import { Pass } from "../../pass";
import { clear } from "../../simd/lanes";
import { BLOCK, EPILOGUE, gradientEpilogueOf, Frame } from "./frame";
import { momentsOfVector } from "./statistics";

/** The dot products of one vector of an example's columns, over all rows or the segments of them. */
function dotsOfVector(
  p: Pass, f: Frame, e: usize, c: usize, block: usize, mu: v128, scale: v128, dyScale: v128, sums: usize, sizes: usize,
): void {
  const stride = f.realStride;
  const lanes = f.real - c;
  const affine = gradientEpilogueOf(p) == EPILOGUE.RELU ? block + BLOCK.AFFINE * f.plane + (c << 2) : 0;
  const x = p.x + e * f.exampleBytes + (c << 2);
  const dy = p.dy + e * f.exampleBytes + (c << 2);
  const bits = p.bits ? p.bits + e * f.exampleBits : 0;
  if (p.segments) {
    for (let i: usize = 0; i < p.segmentCount; i++) {
      const from = load<usize>(p.segments + (i << 3));
      dotsLanes(
        x + from * stride, dy + from * stride, load<usize>(p.segments + (i << 3), 4) - from, stride, lanes, mu, scale, dyScale, sums,
        sizes, affine, f.plane, bits ? bits + from * f.bitStride + (c >> 2) : 0, f.bitStride,
      );
    }
    return;
  }
  const side = f.rows * f.copies;
  if (!bits) {
    dotsLanes(x, dy, p.rows, stride, lanes, mu, scale, dyScale, sums, sizes, affine, f.plane, 0, 0);
    return;
  }
  if (f.copies == 1) dotsLanes(x, dy, side, stride, lanes, mu, scale, dyScale, sums, sizes, 0, f.plane, bits + (c >> 2), f.bitStride);
  else {
    // Rows side by side share bytes of bits: four values' own are brought to a byte of their own.
    for (let row: usize = 0; row < side; row++) {
      let own: u32 = 0;
      const first = (row % f.copies) * f.real + c;
      const from = bits + (row / f.copies) * f.bitStride;
      for (let lane: usize = 0; lane < min<usize>(lanes, 4); lane++) {
        const at = first + lane;
        own |= ((u32(load<u8>(from + (at >> 2))) >> u32(at & 3)) & 1) << u32(lane);
      }
      store<u8>(sizes + 16, own);
      dotsLanes(x + row * stride, dy + row * stride, 1, stride, lanes, mu, scale, dyScale, sums, sizes, 0, f.plane, sizes + 16, 0);
    }
  }
  if (f.rest) {
    const at = side * stride;
    dotsLanes(
      x + at, dy + at, f.rest, stride, lanes, mu, scale, dyScale, sums, sizes, 0, f.plane, bits + f.rows * f.bitStride + (c >> 2),
      f.restBits,
    );
  }
}

/** Where sums of gradients left the range, those columns alone are summed once more, dy scaled. */
function refineDots(p: Pass, f: Frame, e: usize, c: usize, block: usize, at: usize): void {
  const plane = f.plane;
  const head = block + BLOCK.HEAD * plane;
  const record = block + BLOCK.RECORD * plane + (c << 2);
  let open: u32 = 0;
  for (let lane: usize = 0; lane < min<usize>(f.real - c, 4); lane++) {
    const by = gradientScale(load<f64>(at + (lane << 3)), load<f64>(at + (lane << 3), SUMS.SECOND), f64(p.rows));
    store<f32>(head + (lane << 2), f32(by));
    if (by != 1) open |= 1 << u32(lane);
  }
  if (!open) return;
  clear(head + 64, 160);
  // Where the sums were too large, x may be: it is brought down as well.
  const dyScale = v128.load(head);
  const xScale = v128.bitselect(f32x4.splat(LESS), f32x4.splat(1), f32x4.lt(dyScale, f32x4.splat(1)));
  const mu = f32x4.mul(v128.load(record + GRADIENT.MU * plane), xScale);
  const scale = f32x4.mul(v128.load(record + GRADIENT.SCALE * plane), xScale);
  dotsOfVector(p, f, e, c, block, mu, scale, dyScale, head + 64, head + 32);
  for (let lane: usize = 0; lane < 4; lane++) {
    if (!(open & (1 << u32(lane)))) continue;
    const back = f64(load<f32>(head + (lane << 2)));
    const s = load<f64>(head + 64 + (lane << 3)) / back;
    const t = load<f64>(head + 64 + (lane << 3), SUMS.SECOND) / back / (back < 1 ? f64(LESS) : 1);
    // Large values of dy that cancelled do not bear the larger scale: then nothing had vanished.
    if (back > 1 && !(abs(s) + abs(t) < Infinity)) continue;
    store<f64>(at + (lane << 3), s);
    store<f64>(at + (lane << 3), t, SUMS.SECOND);
  }
}

/**
 * Where dy's few large values fall on x near the mean, the mean's own error, up to a fifth of a unit of sigma, is many
 * units of `sum(dy * xhat)`, and likewise where another channel of the group makes its spread: those groups' means are
 * taken once more, in float64 throughout, and their sums corrected.
 */
function sharpenDots(p: Pass, f: Frame, e: usize, block: usize, mean: usize, rstd: usize): void {
  const plane = f.plane;
  const width: usize = p.width;
  const columns = f.real;
  const records = block + BLOCK.RECORD * plane;
  const sums = block + BLOCK.SUMS * plane;
  const head = block + BLOCK.HEAD * plane;
  const x = p.x + e * f.exampleBytes;
  let walked = columns;
  for (let first: usize = 0; first < columns; first += width) {
    const record = records + (first << 2);
    const scale = f64(load<f32>(record + GRADIENT.SCALE * plane));
    const unit = 4 * load<f64>(rstd + (first << 3)) / scale;
    let open = false;
    for (let c = first; c < first + width; c++) {
      if (abs(load<f64>(sumOf(sums, c))) > unit * f64(load<f32>(sizeOf(sums, c)))) open = true;
    }
    if (!open) continue;
    let total: f64 = 0;
    for (let c = first; c < first + width; c++) {
      // A vector's sums may serve several groups.
      const vector = c & ~3;
      if (vector != walked) {
        walked = vector;
        clear(head + 64, 160);
        momentsOfVector(
          p, f, x + (vector << 2), columns - vector, v128.load(records + (vector << 2) + GRADIENT.MU * plane),
          v128.load(records + (vector << 2) + GRADIENT.SCALE * plane), head + 64,
        );
      }
      total += load<f64>(head + 64 + ((c & 3) << 3));
    }
    const muLow = load<f64>(mean + (first << 3)) * scale - f64(load<f32>(record + GRADIENT.MU * plane));
    const off = total / p.count - muLow;
    for (let c = first; c < first + width; c++) {
      const at = sumOf(sums, c);
      const sum = load<f64>(at, SUMS.SECOND) - off * load<f64>(at);
      if (abs(sum) < Infinity) store<f64>(at, sum, SUMS.SECOND);
    }
  }
}

/**
 * Takes sums again that may not stand as they are, by the rules of `refineDots` and `sharpenDots`; the latter where
 * means are `rounded`: those of the minibatch itself.
 */
export function settleDots(p: Pass, f: Frame, e: usize, rounded: bool, block: usize, mean: usize, rstd: usize): void {
  const plane = f.plane;
  const sums = block + BLOCK.SUMS * plane;
  const least = f64x2.splat(f64(p.rows) * LEAST_DOT);
  let settled = true;
  for (let c: usize = 0; c < f.real; c += 4) {
    const record = block + BLOCK.RECORD * plane + (c << 2);
    const at = sumOf(sums, c);
    const sizes = sizeOf(sums, c);
    let fine = true;
    for (let half: usize = 0; half < 2; half++) {
      const from = at + (half << 4);
      const s = f64x2.abs(v128.load(from));
      const t = f64x2.abs(v128.load(from, SUMS.SECOND));
      const size = f64x2.promote_low_f32x4(v128.load64_zero(sizes + (half << 3)));
      const scale = f64x2.promote_low_f32x4(v128.load64_zero(record + GRADIENT.SCALE * plane + (half << 3)));
      const near = f64x2.le(
        f64x2.mul(f64x2.mul(s, scale), f64x2.splat(0.25)), f64x2.mul(size, v128.load(rstd + (c << 3) + (half << 4))),
      );
      const inRange = v128.and(f64x2.ge(t, least), f64x2.lt(f64x2.add(s, t), f64x2.splat(Infinity)));
      if (!i64x2.all_true(v128.and(near, inRange))) fine = false;
    }
    if (fine) continue;
    settled = false;
    refineDots(p, f, e, c, block, at);
  }
  if (!settled && rounded) sharpenDots(p, f, e, block, mean, rstd);
}
