/** Sums of columns: of a tile's rows, of tiles together, of rows side by side. */
import { Again, Kept, Open } from "../../epilogues/backward";
import { readAlong } from "../../far";
import { DOT_ROWS, dotsLanes, dotsStrips } from "../../kernel/columns/dots";
import { sizeOf, STRIP, SUMS, sumOf } from "../../kernel/columns/layout";
import { GROUPS, momentsApart, momentsLanes, momentsStrips, MOMENT_ROWS } from "../../kernel/columns/moments";
import { GRADIENT } from "../../coefficients/gradient";
import { BLOCK, EPILOGUE } from "./frame";

/** Adds the moments of `rows` rows about the pivots of a block, a vector of columns at a time, from column `from` on. */
function momentsByLanes(from: usize, x: usize, rows: usize, stride: usize, columns: usize, pivots: usize, slot: usize): void {
  for (let c = from; c < columns; c += 4) {
    momentsLanes(x + (c << 2), rows, stride, columns - c, v128.load(pivots + (c << 2)), f32x4.splat(1), sumOf(slot, c));
  }
}

/** Adds the moments of `rows` neighbouring rows. `held` is room for two planes of zeros; `fast` whether strips may be summed in float32. */
export function addMoments(
  fast: bool, far: bool, x: usize, rows: usize, stride: usize, columns: usize, pivots: usize, held: usize, plane: usize, slot: usize,
): void {
  const strips: usize = fast ? columns / STRIP.COLUMNS : 0;
  const whole = strips * STRIP.COLUMNS;
  while (rows > 0) {
    const n = min(rows, MOMENT_ROWS);
    const bytes = n * stride;
    if (far) readAlong(x, bytes);
    let done: usize = 0;
    if (strips) {
      done = n & ~3;
      // A single group of eight is added to zeros.
      const pairs = n >> 3;
      if (pairs) momentsStrips(x, pairs, stride, strips, pivots, held, plane, slot);
      const groups = (n & 7) >> 2;
      if (groups) momentsApart(x + (n & ~7) * stride, 1, 0, stride, strips, pivots, held, plane, slot);
      if (done && whole != columns) momentsByLanes(whole, x, done, stride, columns, pivots, slot);
    }
    if (n != done) momentsByLanes(0, x + done * stride, n - done, stride, columns, pivots, slot);
    x += bytes;
    rows -= n;
  }
}

/** The same of `rows` rows at each of four places, `apart` bytes from each other. */
export function addMomentsApart(
  x: usize, rows: usize, apart: usize, stride: usize, columns: usize, pivots: usize, held: usize, plane: usize, slot: usize,
): void {
  const strips = columns / STRIP.COLUMNS;
  const whole = strips * STRIP.COLUMNS;
  while (rows > 0) {
    const n = min(rows, GROUPS);
    momentsApart(x, n, stride, apart, strips, pivots, held, plane, slot);
    for (let row: usize = 0; row < n && whole != columns; row++) {
      momentsByLanes(whole, x + row * stride, 4, apart, columns, pivots, slot);
    }
    x += n * stride;
    rows -= n;
  }
}

/** What dot products are taken of: addresses of the rows, and how a block judges them. */
// @ts-ignore: decorator
@inline function strips(
  epilogue: u32, x: usize, dy: usize, groups: usize, apart: usize, n: usize, record: usize, affine: usize, plane: usize, slot: usize,
  bits: usize, bitApart: usize,
): void {
  if (epilogue == EPILOGUE.PLAIN) dotsStrips<Open>(x, dy, groups, apart, n, record, 0, plane, slot, 0, 0);
  else if (bits) dotsStrips<Kept>(x, dy, groups, apart, n, record, 0, plane, slot, bits, bitApart);
  else dotsStrips<Again>(x, dy, groups, apart, n, record, affine, plane, slot, 0, 0);
}

function dotsByLanes(
  from: usize, epilogue: u32, x: usize, dy: usize, rows: usize, stride: usize, columns: usize, block: usize, plane: usize, slot: usize,
  bits: usize, bitStride: usize,
): void {
  const record = block + BLOCK.RECORD * plane;
  const affine = epilogue == EPILOGUE.RELU ? block + BLOCK.AFFINE * plane : 0;
  for (let c = from; c < columns; c += 4) {
    const at = c << 2;
    dotsLanes(
      x + at, dy + at, rows, stride, columns - c, v128.load(record + at), v128.load(record + at + GRADIENT.SCALE * plane),
      f32x4.splat(1), sumOf(slot, c), sizeOf(slot, c), affine ? affine + at : 0, plane, bits ? bits + (c >> 2) : 0, bitStride,
    );
  }
}

/** Adds the dot products of `rows` neighbouring rows. `fast` is whether no column needs scales. */
export function addDots(
  fast: bool, far: bool, epilogue: u32, x: usize, dy: usize, rows: usize, stride: usize, columns: usize, block: usize, plane: usize,
  slot: usize, bits: usize, bitStride: usize,
): void {
  const n = fast ? columns / STRIP.COLUMNS : 0;
  const whole = n * STRIP.COLUMNS;
  // Sixteen rows that share their place in the first-level cache push each other out of its twelve ways (256 x 1024: 114 us, 57 by
  // eight rows); else eight take a tenth longer (300 x 3000).
  const most: usize = stride & 4095 ? DOT_ROWS : DOT_ROWS / 2;
  while (rows > 0) {
    const some = min(rows, most);
    const bytes = some * stride;
    if (far) {
      readAlong(x, bytes);
      readAlong(dy, bytes);
    }
    const groups = n ? some >> 2 : 0;
    const grouped = groups << 2;
    if (groups) {
      strips(
        epilogue, x, dy, groups, stride, n, block + BLOCK.RECORD * plane, block + BLOCK.AFFINE * plane, plane, slot, bits, bitStride,
      );
      if (whole != columns) dotsByLanes(whole, epilogue, x, dy, grouped, stride, columns, block, plane, slot, bits, bitStride);
    }
    if (some != grouped) {
      const skip = grouped * stride;
      dotsByLanes(
        0, epilogue, x + skip, dy + skip, some - grouped, stride, columns, block, plane, slot, bits ? bits + grouped * bitStride : 0,
        bitStride,
      );
    }
    x += bytes;
    dy += bytes;
    if (bits) bits += some * bitStride;
    rows -= some;
  }
}

/** The same of `rows` rows at each of four places, `apart` bytes from each other. */
export function addDotsApart(
  epilogue: u32, x: usize, dy: usize, rows: usize, apart: usize, stride: usize, columns: usize, block: usize, plane: usize, slot: usize,
  bits: usize, bitApart: usize, bitStride: usize,
): void {
  const n = columns / STRIP.COLUMNS;
  const whole = n * STRIP.COLUMNS;
  for (; rows > 0; rows--) {
    strips(epilogue, x, dy, 1, apart, n, block + BLOCK.RECORD * plane, block + BLOCK.AFFINE * plane, plane, slot, bits, bitApart);
    if (whole != columns) dotsByLanes(whole, epilogue, x, dy, 4, apart, columns, block, plane, slot, bits, bitApart);
    x += stride;
    dy += stride;
    if (bits) bits += bitStride;
  }
}

/** Adds a tile's sums to an example's. */
export function addSlot(sums: usize, slot: usize, columns: usize): void {
  for (let c: usize = 0; c < columns; c += STRIP.COLUMNS) {
    for (let at: usize = 0; at < SUMS.SIZE; at += 32) {
      const a = v128.load(slot + at);
      const b = v128.load(slot + at, 16);
      v128.store(sums + at, f64x2.add(v128.load(sums + at), a));
      v128.store(sums + at, f64x2.add(v128.load(sums + at, 16), b), 16);
    }
    for (let at = SUMS.SIZE; at < SUMS.BYTES; at += 16) {
      v128.store(sums + at, f32x4.add(v128.load(sums + at), v128.load(slot + at)));
    }
    sums += SUMS.BYTES;
    slot += SUMS.BYTES;
  }
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
      second += load<f64>(from, SUMS.SECOND);
      size += load<f32>(sizeOf(sums, c + i * columns));
    }
    store<f64>(to, first);
    store<f64>(to, second, SUMS.SECOND);
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

/** Adds to a strip's flag, whether it needs lanes, that of the forward's coefficients, half a plane on. */
export function eitherFlag(flags: usize, plane: usize, columns: usize): void {
  for (let c: usize = 0; c < columns; c += STRIP.COLUMNS) {
    const at = flags + (c >> 4);
    store<u8>(at, load<u8>(at) | load<u8>(at + (plane >> 1)));
  }
}
