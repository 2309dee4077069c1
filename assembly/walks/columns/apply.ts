/** The second halves down columns: y from x, or dx from x and dy, by the coefficients of a block. */
import { Again, Either, Gate, Kept, Open } from "../../epilogues/backward";
import { Added, Epilogue, Plain } from "../../epilogues/forward";
import { affineAlong, affineLanes, affineStrips } from "../../kernel/columns/affine";
import { frozenStrips, gradientAlong, gradientLanes, gradientStrips } from "../../kernel/columns/gradient";
import { STRIP } from "../../kernel/columns/layout";
import { BLOCK, EPILOGUE } from "./frame";
import { alike } from "./sums";

/**
 * Bytes of the rows that a second pass takes in order: from the last such chunk back, as what was read last is the
 * likeliest to be cached; single rows in reverse would leave the prefetch idle (32768 x 256: 8 times slower), and chunks of
 * 256 kB cost it a tenth (4096 x 1024, affine pass: 0.96 ms, 0.88).
 */
// @ts-ignore: decorator
@inline const CHUNK: usize = 2 << 20;

/**
 * Rows are written a few side by side, coefficients loaded once: eight, or four where rows share their place in the first-level
 * cache. Far arrays are taken in the order of their addresses, whose prefetch is worth more than the loads of coefficients saved
 * (32768 x 256: 2.1 ms for one row at a time, 8.3 for four; 32768 x 64: 0.43 for two, 0.65 for one, 0.54 for eight), as long as a
 * row's coefficients and values fit the first-level cache: up to LONGEST bytes of a row, or half of that backward, which has seven
 * streams (8192 x 2048: 13.6 ms by single rows, 10.5 by four). ALONG bytes of rows are left to one call of a kernel, which costs
 * as much as five vectors (25088 x 128, evaluation: 0.71 ms by a call for each row, 0.56).
 */
// @ts-ignore: decorator
@inline const LONGEST: usize = 8192;
// @ts-ignore: decorator
@inline const ALONG: usize = 64 << 10;

// @ts-ignore: decorator
@inline function affine<E extends Epilogue>(
  along: bool, relu: bool, x: usize, y: usize, rows: usize, stride: usize, strips: usize, record: usize, plane: usize, residual: usize, bits: usize,
  bitStride: usize,
): void {
  if (along) affineAlong<E>(relu, x, y, rows, stride, strips, record, plane, residual, bits, bitStride);
  else affineStrips<E>(relu, x, y, rows, stride, strips, record, plane, residual, bits, bitStride);
}

/** Writes y for `rows` rows, from the last chunk back. `far` is whether they come from memory. */
export function applyAffine(
  relu: bool, far: bool, x: usize, y: usize, rows: usize, stride: usize, columns: usize, block: usize, plane: usize, residual: usize,
  bits: usize, bitStride: usize,
): void {
  const records = block + BLOCK.RECORD * plane;
  const careful = block + BLOCK.CAREFUL * plane;
  const strips = columns / STRIP.COLUMNS;
  // Asked for each row, it would take a tenth of the time.
  const start = alike(careful, 0, strips);
  const along = far && stride <= LONGEST;
  const side: usize = along ? ALONG / stride + 1 : stride > LONGEST || (stride & 4095) == 0 ? 4 : 8;
  const chunk = CHUNK / stride + side;
  for (let end = rows, first = end; end > 0; end = first) {
    first = end > chunk ? end - chunk : 0;
    for (let row = first; row < end; row += side) {
      const group = min(end - row, side);
      let c: usize = 0;
      while (c < columns) {
        const at = row * stride + (c << 2);
        const record = records + (c << 2);
        const add = residual ? residual + at : 0;
        const bit = bits ? bits + row * bitStride + (c >> 2) : 0;
        if (c < strips * STRIP.COLUMNS && !load<u8>(careful + c / STRIP.COLUMNS)) {
          const n = c == 0 ? start : alike(careful, c / STRIP.COLUMNS, strips);
          if (add || bit) affine<Added>(along, relu, x + at, y + at, group, stride, n, record, plane, add, bit, bitStride);
          else affine<Plain>(along, relu, x + at, y + at, group, stride, n, record, plane, 0, 0, 0);
          c += n * STRIP.COLUMNS;
        } else {
          affineLanes(relu, x + at, y + at, group, stride, columns - c, record, plane, add, bit, bitStride);
          c += 4;
        }
      }
    }
  }
}

// @ts-ignore: decorator
@inline function gradient<G extends Gate>(
  along: bool, frozen: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, strips: usize, record: usize, affine: usize,
  plane: usize, dresidual: usize, bits: usize, bitStride: usize,
): void {
  if (along) gradientAlong<G>(x, dy, dx, rows, stride, strips, record, affine, plane, dresidual, bits, bitStride);
  else if (frozen) frozenStrips<G>(x, dy, dx, rows, stride, strips, record, affine, plane, dresidual, bits, bitStride);
  else if (!changetype<G>(0).masks()) gradientStrips<G>(x, dy, dx, rows, stride, strips, record, affine, plane, 0, 0, 0);
  else if (affine) gradientStrips<Again>(x, dy, dx, rows, stride, strips, record, affine, plane, dresidual, 0, 0);
  else gradientStrips<Kept>(x, dy, dx, rows, stride, strips, record, affine, plane, dresidual, bits, bitStride);
}

/** Writes dx, and dy as ReLU let it through to `dresidual`, in the same order. */
export function applyGradient(
  epilogue: u32, frozen: bool, far: bool, x: usize, dy: usize, dx: usize, rows: usize, stride: usize, columns: usize, block: usize,
  plane: usize, dresidual: usize, bits: usize, bitStride: usize,
): void {
  const records = block + BLOCK.RECORD * plane;
  const careful = block + BLOCK.CAREFUL * plane;
  const affines = epilogue == EPILOGUE.RELU ? block + BLOCK.AFFINE * plane : 0;
  const strips = columns / STRIP.COLUMNS;
  const start = alike(careful, 0, strips);
  const along = far && stride <= LONGEST / 2 && !frozen;
  const side: usize = along ? ALONG / stride + 1 : stride > LONGEST / 2 || (stride & 4095) == 0 ? 4 : 8;
  const chunk = CHUNK / stride + side;
  for (let end = rows, first = end; end > 0; end = first) {
    first = end > chunk ? end - chunk : 0;
    for (let row = first; row < end; row += side) {
      const group = min(end - row, side);
      let c: usize = 0;
      while (c < columns) {
        const at = row * stride + (c << 2);
        const record = records + (c << 2);
        const passed = dresidual ? dresidual + at : 0;
        const bit = bits ? bits + row * bitStride + (c >> 2) : 0;
        const affine = affines ? affines + (c << 2) : 0;
        if (c < strips * STRIP.COLUMNS && !load<u8>(careful + c / STRIP.COLUMNS)) {
          const n = c == 0 ? start : alike(careful, c / STRIP.COLUMNS, strips);
          if (epilogue == EPILOGUE.PLAIN) {
            gradient<Open>(along, frozen, x + at, dy + at, dx + at, group, stride, n, record, 0, plane, 0, 0, 0);
          } else {
            gradient<Either>(
              along, frozen, x + at, dy + at, dx + at, group, stride, n, record, affine, plane, passed, bit, bitStride,
            );
          }
          c += n * STRIP.COLUMNS;
        } else {
          gradientLanes(
            frozen, x + at, dy + at, dx + at, group, stride, columns - c, record, affine, plane, passed, bit, bitStride,
          );
          c += 4;
        }
      }
    }
  }
}
