/**
 * Transposition of [examples, rows, columns] to [examples, columns, rows], by blocks of 16 x 16: a block's lines are read and written
 * whole while they are in the first-level cache.
 */

/** Rows and columns of a block. */
// @ts-ignore: decorator
@inline const BLOCK: usize = 16;

/** Four vectors of four rows become four of four columns. */
// @ts-ignore: decorator
@inline function turn(from: usize, stride: usize, to: usize, apart: usize): void {
  const a = v128.load(from);
  const b = v128.load(from + stride);
  const c = v128.load(from + 2 * stride);
  const d = v128.load(from + 3 * stride);
  const ab = v128.shuffle<i32>(a, b, 0, 4, 1, 5);
  const cd = v128.shuffle<i32>(c, d, 0, 4, 1, 5);
  const ab2 = v128.shuffle<i32>(a, b, 2, 6, 3, 7);
  const cd2 = v128.shuffle<i32>(c, d, 2, 6, 3, 7);
  v128.store(to, v128.shuffle<i64>(ab, cd, 0, 2));
  v128.store(to + apart, v128.shuffle<i64>(ab, cd, 1, 3));
  v128.store(to + 2 * apart, v128.shuffle<i64>(ab2, cd2, 0, 2));
  v128.store(to + 3 * apart, v128.shuffle<i64>(ab2, cd2, 1, 3));
}

function block(from: usize, to: usize, r0: usize, r1: usize, c0: usize, c1: usize, rows: usize, columns: usize): void {
  const stride = columns << 2;
  const apart = rows << 2;
  let r = r0;
  for (; r + 4 <= r1; r += 4) {
    let c = c0;
    for (; c + 4 <= c1; c += 4) turn(from + r * stride + (c << 2), stride, to + c * apart + (r << 2), apart);
    for (; c < c1; c++) {
      for (let i = r; i < r + 4; i++) store<u32>(to + c * apart + (i << 2), load<u32>(from + i * stride + (c << 2)));
    }
  }
  for (; r < r1; r++) {
    for (let c = c0; c < c1; c++) store<u32>(to + c * apart + (r << 2), load<u32>(from + r * stride + (c << 2)));
  }
}

export function transpose(from: usize, to: usize, examples: usize, rows: usize, columns: usize): void {
  for (; examples > 0; examples--) {
    for (let r: usize = 0; r < rows; r += BLOCK) {
      for (let c: usize = 0; c < columns; c += BLOCK) {
        block(from, to, r, min(r + BLOCK, rows), c, min(c + BLOCK, columns), rows, columns);
      }
    }
    from += (rows * columns) << 2;
    to += (rows * columns) << 2;
  }
}
