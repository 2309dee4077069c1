/**
 * Normalization down the columns of [outer, rows, groups * width]: a statistic for each of `groups` groups of `width`
 * adjacent columns, gamma and beta for each column. Batch norm is outer = 1, width = 1; instance norm channels-last
 * has an outer for each example; group norm channels-last a width of channels / groups.
 *
 *   wide: k = 1                          narrow: k rows side by side make a row of whole strips
 *   ┌──────────────────────────┐         ┌───────────────────────────────┐
 *   │ row 0                    │         │ row 0 │ row 1 │ …   │ row k-1 │  rows / k
 *   │ row 1                    │         │ row k │  …                    │
 *   └──────────────────────────┘         └───────┴───────────────────────┘  + rows % k, by lanes
 *
 * Arrays with a value for each group or column have room for the next multiple of 16 values; what lies there is free
 * to change. `segments` is 0, or pairs of row numbers [from, to) that alone take part in the statistics.
 */
import { GRADIENT } from "../coefficients";
import { FAR, readAlong } from "../far";
import {
  affineLanes, affineStrips, dotsLanes, dotsStrips, FEW, gradientLanes, gradientStrips, momentsLanes, momentsStrips,
  SIZES, STRIP, SUMS_BYTES, TILE,
} from "../kernel/columns";

/** Narrower rows are laid side by side. */
// @ts-ignore: decorator
@inline const NARROW: usize = 64;

/**
 * Values of a plane: whole strips, and one more, so that planes of a power of two do not share their place in the first-level
 * cache (1568 x 2048, evaluation: 0.78 ms, 0.65), and what is written behind the last column meets nothing.
 */
// @ts-ignore: decorator
@inline export function padded(columns: usize): usize {
  return (columns + (2 * STRIP - 1)) & ~(STRIP - 1);
}

/**
 * Where the records' planes begin: `at`, or up to 2688 bytes on for long rows, whose coefficients take up to twice as long to read
 * where they lie less than 832 bytes behind x or y within a page, or 512 before (1568 x 2048, evaluation: 0.57 ms, 1.14; 2048 x
 * 1024, dx: 0.53, 1.10). Rows of 64 columns do not ask.
 */
// @ts-ignore: decorator
@inline export function clearOf(at: usize, plane: usize, x: usize, y: usize): usize {
  for (let tries = plane >> 9; tries > 0; tries--) {
    if (((at - x + 512) & 4095) >= 1344 && ((at - y + 512) & 4095) >= 1344) break;
    at += 448;
  }
  return at;
}

/** How many rows lie side by side; one where `unlike` (segments, bits) gives rows a meaning of their own. */
export function sideBySide(rows: usize, columns: usize, unlike: usize): usize {
  if (unlike != 0 || columns >= NARROW || (columns & (STRIP - 1)) == 0) return 1;
  const k = STRIP >> ctz(columns);
  return rows >= 2 * k ? k : 1;
}

/**
 * The scratch: a head for one vector's second look, then arrays with room for all columns: pivots, sums, records, how careful they
 * are, and copies for columns of what groups have; up to 96 bytes for each. Where rows lie side by side, these are up to 1024.
 */
// @ts-ignore: decorator
@inline export const HEAD: usize = 256;

/** Where column `c` has its first sum; the second lies 128 bytes on. */
// @ts-ignore: decorator
@inline export function sumOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS_BYTES + ((c & 15) << 3);
}

/** Where column `c` has its dot products' size. */
export function sizeOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS_BYTES + SIZES + ((c & 15) << 2);
}

/** Adds the sums of the k copies of each column. */
export function foldCopies(sums: usize, columns: usize, k: usize): void {
  for (let c: usize = 0; c < columns; c++) {
    const to = sumOf(sums, c);
    let first: f64 = 0;
    let second: f64 = 0;
    let size: f32 = 0;
    for (let i: usize = 0; i < k; i++) {
      const from = sumOf(sums, c + i * columns);
      first += load<f64>(from);
      second += load<f64>(from, 128);
      size += load<f32>(sizeOf(sums, c + i * columns));
    }
    store<f64>(to, first);
    store<f64>(to, second, 128);
    store<f32>(sizeOf(sums, c), size);
  }
}

/**
 * `k` copies, side by side, of a value for each group, repeated for each of its `width` columns, and up to three times more
 * behind the last, so that no vector has a lane of its own to take care of.
 */
export function spread(from: usize, groups: usize, width: usize, k: usize, to: usize): void {
  for (; k > 0; k--) {
    for (let g: usize = 0; g < groups; g++) {
      const value = v128.load64_splat(from + (g << 3));
      for (let c: usize = 0; c < width + 3; c += 2) v128.store(to + (c << 3), value);
      to += width << 3;
    }
  }
}

/** `k` copies, side by side, of `columns` float32. */
export function repeat(from: usize, columns: usize, k: usize, to: usize): void {
  for (; k > 0; k--) {
    memory.copy(to, from, columns << 2);
    to += columns << 2;
  }
}

/** How many strips from `strip` on share its carefulness. */
export function alike(careful: usize, strip: usize, strips: usize): usize {
  const flag = load<u8>(careful + strip);
  let end = strip + 1;
  while (end < strips && load<u8>(careful + end) == flag) end++;
  return end - strip;
}

/**
 * Far rows up to so many bytes are summed four at a time that lie a quarter of all rows apart: four sequences, each in the
 * order of its addresses, which the prefetch follows while they are summed (262144 x 64, dot products: 4.9 ms, 5.8 by tiles
 * that are read along first; 16384 x 512: 2.6, 3.2). The sums of longer rows leave the first-level cache (8192 x 4096, moments:
 * 11.5 ms, 8.1).
 */
// @ts-ignore: decorator
@inline const SHORT: usize = 4096;

/**
 * Whether a minibatch of `bytes` comes from memory, by FAR: x and y count three times, x, dy and dx four times as much. Inlined,
 * as a call's text takes 12 bytes more.
 */
// @ts-ignore: decorator
@inline function isFar(bytes: usize, dy: usize): bool {
  return bytes >= (dy ? FAR / 4 : FAR / 3);
}

/** Adds the sums of `rows` rows from column `from` on, a vector of columns at a time; the rest is as in `addRows`. */
function addLanes(
  from: usize, x: usize, dy: usize, rows: usize, stride: usize, columns: usize, records: usize, plane: usize, sums: usize,
  bits: usize, bitStride: usize,
): void {
  for (let c = from; c < columns; c += 4) {
    const at = x + (c << 2);
    const record = records + (c << 2);
    const near = v128.load(record);
    if (dy) {
      dotsLanes(
        at, dy + (c << 2), rows, stride, columns - c, near, v128.load(record + GRADIENT.SCALE * plane), f32x4.splat(1),
        sumOf(sums, c), sizeOf(sums, c), bits ? bits + (c >> 2) : 0, bitStride,
      );
    } else momentsLanes(at, rows, stride, columns - c, near, f32x4.splat(1), sumOf(sums, c));
  }
}

/**
 * Adds the sums of `groups` groups of four rows, `apart` bytes from each other, `next` bytes from group to group; dot products of
 * more than one group where that is four times `apart`.
 */
// @ts-ignore: decorator
@inline function addGroups(
  strips: usize, x: usize, dy: usize, groups: usize, next: usize, apart: usize, records: usize, plane: usize, sums: usize,
): void {
  if (dy) dotsStrips(x, dy, groups, apart, strips, records, sums);
  else momentsStrips(x, groups, next, apart, strips, records, plane, sums);
}

/**
 * Adds to the sums, for `rows` rows or the segments of them, x's moments about the pivots at `records`, where dy is 0, or else
 * dy's dot products by GRADIENT planes. `fast` is whether whole strips may take their kernels.
 */
export function addRows(
  fast: bool, x: usize, dy: usize, rows: usize, stride: usize, columns: usize, segments: usize, segmentCount: usize,
  records: usize, plane: usize, sums: usize, bits: usize, bitStride: usize,
): void {
  if (segments) {
    for (; segmentCount > 0; segmentCount--) {
      const from = load<usize>(segments);
      const skip = from * stride;
      addRows(
        fast, x + skip, dy ? dy + skip : 0, load<usize>(segments, 4) - from, stride, columns, 0, 0, records, plane, sums,
        bits ? bits + from * bitStride : 0, bitStride,
      );
      segments += 8;
    }
    return;
  }
  const strips: usize = fast ? columns / STRIP : 0;
  const far = isFar(rows * stride, dy);
  // Dot products of 16 rows that share their place in the first-level cache push each other out of its twelve ways (256 x 1024:
  // 114 us, 57 by eight rows); else eight take a tenth longer (300 x 3000). Moments take any number: twice what they hold.
  const tile: usize = !dy ? 8 * FEW : stride & 4095 ? TILE : TILE / 2;
  const whole = strips * STRIP;
  // One less than a quarter, as powers of two would share their place in the caches (a tenth).
  const quarter = far && strips != 0 && stride <= SHORT ? (rows >> 2) - 1 : 0;
  const apart = quarter * stride;
  for (let left = quarter; left > 0; ) {
    const n = dy ? 1 : min(left, FEW);
    left -= n;
    addGroups(strips, x, dy, n, stride, apart, records, plane, sums);
    for (let row = n; row > 0 && whole != columns; row--) {
      addLanes(whole, x + (row - 1) * stride, dy, 4, apart, columns, records, plane, sums, 0, 0);
    }
    x += n * stride;
    if (dy) dy += stride;
  }
  x += 3 * apart;
  if (dy) dy += 3 * apart;
  rows -= 4 * quarter;
  while (rows > 0) {
    const n = min(rows, tile);
    const bytes = n * stride;
    if (far) {
      readAlong(x, bytes);
      if (dy) readAlong(dy, bytes);
    }
    const groups = strips ? n >> 2 : 0;
    const grouped = groups << 2;
    const skip = grouped * stride;
    if (groups) {
      addGroups(strips, x, dy, groups, stride << 2, stride, records, plane, sums);
      if (whole != columns) addLanes(whole, x, dy, grouped, stride, columns, records, plane, sums, 0, 0);
    }
    if (n != grouped) {
      addLanes(0, x + skip, dy ? dy + skip : 0, n - grouped, stride, columns, records, plane, sums, bits, bitStride);
    }
    x += bytes;
    if (dy) dy += bytes;
    if (bits) bits += n * bitStride;
    rows -= n;
  }
}

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
 * (32768 x 256: 2.1 ms for one row at a time, 8.3 for four, 7.3 for eight that were read along before; 32768 x 64: 0.43 for two,
 * 0.65 for one, 0.54 for eight), as long as a row's coefficients and values fit the first-level cache: up to LONGEST bytes of a
 * row, or half of that backward, which has seven streams (8192 x 2048: 13.6 ms by single rows, 10.5 by four). ALONG bytes of
 * rows are left to one call of a kernel, which costs as much as five vectors (25088 x 128, evaluation: 0.71 ms by a call for each
 * row, 0.56).
 */
// @ts-ignore: decorator
@inline const LONGEST: usize = 8192;
// @ts-ignore: decorator
@inline const ALONG: usize = 64 << 10;

/**
 * Writes y from x by AFFINE planes, or dx from x and dy by GRADIENT planes, to `to`, for `rows` rows, from the last chunk
 * back. A dy of 0 says which; `add` is the residual, or where its gradient goes.
 */
export function applyPlanes(
  frozen: bool, x: usize, dy: usize, to: usize, rows: usize, stride: usize, columns: usize, records: usize, plane: usize,
  careful: usize, add: usize, bits: usize, bitStride: usize,
): void {
  const strips = columns / STRIP;
  // Asked for each row, it would take a tenth of the time.
  const start = alike(careful, 0, strips);
  const bytes = rows * stride;
  const longest = dy ? LONGEST / 2 : LONGEST;
  const far = isFar(bytes, dy) && stride <= longest;
  const along = far && !(add | bits) && !frozen;
  // Far rows with a residual or bits: as many side by side as 512 bytes hold, or one.
  const side: usize = far ? (along ? ALONG : 511) / stride + 1 : stride > longest || (stride & 4095) == 0 ? 4 : 8;
  const chunk = CHUNK / stride + side;
  for (let end = rows, first = end; end > 0; end = first) {
    first = end > chunk ? end - chunk : 0;
    for (let row = first; row < end; row += side) {
      const group = min(end - row, side);
      let c: usize = 0;
      while (c < columns) {
        const at = row * stride + (c << 2);
        const record = records + (c << 2);
        const extra = add ? add + at : 0;
        const bit = bits ? bits + row * bitStride + (c >> 2) : 0;
        if (c < strips * STRIP && !load<u8>(careful + c / STRIP)) {
          const n = c == 0 ? start : alike(careful, c / STRIP, strips);
          if (dy) gradientStrips(frozen, along, x + at, dy + at, to + at, group, stride, n, record, plane, extra, bit, bitStride);
          else affineStrips(along, x + at, to + at, group, stride, n, record, plane, extra, bit, bitStride);
          c += n * STRIP;
        } else {
          const lanes = columns - c;
          if (dy) gradientLanes(frozen, x + at, dy + at, to + at, group, stride, lanes, record, plane, extra, bit, bitStride);
          else affineLanes(x + at, to + at, group, stride, lanes, record, plane, extra, bit, bitStride);
          c += 4;
        }
      }
    }
  }
}
