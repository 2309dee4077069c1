/**
 * The kernels of wasm-norm/scaler, in a binary of their own: sums about a pivot and an affine map, for each column.
 *
 *     x, a tile of a row-major matrix, read or mapped in place
 *     +------------------- width -------------------+
 *     |  panel  |  panel  |  panel  |   ...         |   A panel's sums, or its coefficients, stay in registers
 *     |    |    |    |    |         |               |   down all rows of the tile.
 *     |    v    |    v    |         |               |
 *     +---------------------------------------------+
 *      one float64 (or float32) for each column: pivots, sums, squares, counts; means, scales
 *
 * The width is a multiple of 16. For a narrow or odd matrix the caller takes several rows as one, which in memory is the
 * same. Sums are float64 whatever x is, as a column's mean may be 1e6 times its deviation.
 */

/** The first free address: all memory from here on is the caller's. */
export function base(): usize {
  return __heap_base;
}

// @ts-ignore: decorator
@inline function addTo(at: usize, v: v128): void {
  v128.store(at, f64x2.add(v128.load(at), v));
}

/** The i-th two values from `at` on, as float64. Two loads: one and a move of lanes takes a fifth longer (256 x 256: 34, 28 us). */
// @ts-ignore: decorator
@inline function pair<T>(at: usize, i: usize): v128 {
  if (sizeof<T>() == 8) return v128.load(at + 16 * i);
  return f64x2.promote_low_f32x4(v128.load64_zero(at + 8 * i));
}

/** Adds `sum(x - pivot)` and `sum((x - pivot)^2)` of each column to `sums` and `squares`. One NaN makes both NaN. */
// @ts-ignore: decorator
@inline function sums<T>(x: usize, rows: u32, width: u32, pivots: usize, sums: usize, squares: usize): void {
  const size: usize = sizeof<T>();
  const stride = (<usize>width) * size;
  for (const end = x + stride; x < end; x += 8 * size) {
    const p0 = v128.load(pivots);
    const p1 = v128.load(pivots, 16);
    const p2 = v128.load(pivots, 32);
    const p3 = v128.load(pivots, 48);
    let s0 = f64x2.splat(0);
    let s1 = s0;
    let s2 = s0;
    let s3 = s0;
    let q0 = s0;
    let q1 = s0;
    let q2 = s0;
    let q3 = s0;
    let at = x;
    for (let row: u32 = 0; row < rows; row++) {
      const d0 = f64x2.sub(pair<T>(at, 0), p0);
      const d1 = f64x2.sub(pair<T>(at, 1), p1);
      const d2 = f64x2.sub(pair<T>(at, 2), p2);
      const d3 = f64x2.sub(pair<T>(at, 3), p3);
      s0 = f64x2.add(s0, d0);
      s1 = f64x2.add(s1, d1);
      s2 = f64x2.add(s2, d2);
      s3 = f64x2.add(s3, d3);
      q0 = f64x2.add(q0, f64x2.mul(d0, d0));
      q1 = f64x2.add(q1, f64x2.mul(d1, d1));
      q2 = f64x2.add(q2, f64x2.mul(d2, d2));
      q3 = f64x2.add(q3, f64x2.mul(d3, d3));
      at += stride;
    }
    addTo(sums, s0);
    addTo(sums + 16, s1);
    addTo(sums + 32, s2);
    addTo(sums + 48, s3);
    addTo(squares, q0);
    addTo(squares + 16, q1);
    addTo(squares + 32, q2);
    addTo(squares + 48, q3);
    pivots += 64;
    sums += 64;
    squares += 64;
  }
}

/** The same over the values that are numbers; how many they are is added to `counts` (64-bit integers). */
// @ts-ignore: decorator
@inline function countedSums<T>(
  x: usize, rows: u32, width: u32, pivots: usize, sums: usize, squares: usize, counts: usize,
): void {
  const size: usize = sizeof<T>();
  const stride = (<usize>width) * size;
  for (const end = x + stride; x < end; x += 4 * size) {
    const p0 = v128.load(pivots);
    const p1 = v128.load(pivots, 16);
    let s0 = f64x2.splat(0);
    let s1 = s0;
    let q0 = s0;
    let q1 = s0;
    let n0 = s0;
    let n1 = s0;
    let at = x;
    for (let row: u32 = 0; row < rows; row++) {
      const e0 = f64x2.sub(pair<T>(at, 0), p0);
      const e1 = f64x2.sub(pair<T>(at, 1), p1);
      // All ones, which is -1, where there is a number.
      const m0 = f64x2.eq(e0, e0);
      const m1 = f64x2.eq(e1, e1);
      const d0 = v128.and(e0, m0);
      const d1 = v128.and(e1, m1);
      n0 = i64x2.sub(n0, m0);
      n1 = i64x2.sub(n1, m1);
      s0 = f64x2.add(s0, d0);
      s1 = f64x2.add(s1, d1);
      q0 = f64x2.add(q0, f64x2.mul(d0, d0));
      q1 = f64x2.add(q1, f64x2.mul(d1, d1));
      at += stride;
    }
    addTo(sums, s0);
    addTo(sums + 16, s1);
    addTo(squares, q0);
    addTo(squares + 16, q1);
    v128.store(counts, i64x2.add(v128.load(counts), n0));
    v128.store(counts, i64x2.add(v128.load(counts, 16), n1), 16);
    pivots += 32;
    sums += 32;
    squares += 32;
    counts += 32;
  }
}

export function sums32(x: usize, rows: u32, width: u32, pivots: usize, s: usize, squares: usize): void {
  sums<f32>(x, rows, width, pivots, s, squares);
}

export function sums64(x: usize, rows: u32, width: u32, pivots: usize, s: usize, squares: usize): void {
  sums<f64>(x, rows, width, pivots, s, squares);
}

export function countedSums32(
  x: usize, rows: u32, width: u32, pivots: usize, s: usize, squares: usize, counts: usize,
): void {
  countedSums<f32>(x, rows, width, pivots, s, squares, counts);
}

export function countedSums64(
  x: usize, rows: u32, width: u32, pivots: usize, s: usize, squares: usize, counts: usize,
): void {
  countedSums<f64>(x, rows, width, pivots, s, squares, counts);
}

/**
 * In float32 with the mean as the sum of two, of which the second holds what the first lost: `(x - mean) * scale`, or
 * the way back `x * scale + mean`, the small part first.
 */
// @ts-ignore: decorator
@inline function map32(x: v128, mean: v128, lost: v128, scale: v128, back: bool): v128 {
  if (back) return f32x4.add(f32x4.add(f32x4.mul(x, scale), lost), mean);
  return f32x4.mul(f32x4.sub(f32x4.sub(x, mean), lost), scale);
}

// @ts-ignore: decorator
@inline function affine32(
  x: usize, rows: u32, width: u32, means: usize, lost: usize, scales: usize, back: bool,
): void {
  const stride = (<usize>width) << 2;
  for (const end = x + stride; x < end; x += 64) {
    const m0 = v128.load(means);
    const m1 = v128.load(means, 16);
    const m2 = v128.load(means, 32);
    const m3 = v128.load(means, 48);
    const l0 = v128.load(lost);
    const l1 = v128.load(lost, 16);
    const l2 = v128.load(lost, 32);
    const l3 = v128.load(lost, 48);
    const c0 = v128.load(scales);
    const c1 = v128.load(scales, 16);
    const c2 = v128.load(scales, 32);
    const c3 = v128.load(scales, 48);
    let at = x;
    for (let row: u32 = 0; row < rows; row++) {
      const a = v128.load(at);
      const b = v128.load(at, 16);
      const c = v128.load(at, 32);
      const d = v128.load(at, 48);
      v128.store(at, map32(a, m0, l0, c0, back));
      v128.store(at, map32(b, m1, l1, c1, back), 16);
      v128.store(at, map32(c, m2, l2, c2, back), 32);
      v128.store(at, map32(d, m3, l3, c3, back), 48);
      at += stride;
    }
    means += 64;
    lost += 64;
    scales += 64;
  }
}

/** x becomes `(x - mean - lost) * scale`. */
export function standardize32(x: usize, rows: u32, width: u32, means: usize, lost: usize, scales: usize): void {
  affine32(x, rows, width, means, lost, scales, false);
}

/** x becomes `x * scale + lost + mean`. */
export function restore32(x: usize, rows: u32, width: u32, means: usize, lost: usize, scales: usize): void {
  affine32(x, rows, width, means, lost, scales, true);
}

// @ts-ignore: decorator
@inline function map64(x: v128, mean: v128, scale: v128, back: bool): v128 {
  if (back) return f64x2.add(f64x2.mul(x, scale), mean);
  return f64x2.mul(f64x2.sub(x, mean), scale);
}

// @ts-ignore: decorator
@inline function affine64(x: usize, rows: u32, width: u32, means: usize, scales: usize, back: bool): void {
  const stride = (<usize>width) << 3;
  for (const end = x + stride; x < end; x += 64) {
    const m0 = v128.load(means);
    const m1 = v128.load(means, 16);
    const m2 = v128.load(means, 32);
    const m3 = v128.load(means, 48);
    const c0 = v128.load(scales);
    const c1 = v128.load(scales, 16);
    const c2 = v128.load(scales, 32);
    const c3 = v128.load(scales, 48);
    let at = x;
    for (let row: u32 = 0; row < rows; row++) {
      const a = v128.load(at);
      const b = v128.load(at, 16);
      const c = v128.load(at, 32);
      const d = v128.load(at, 48);
      v128.store(at, map64(a, m0, c0, back));
      v128.store(at, map64(b, m1, c1, back), 16);
      v128.store(at, map64(c, m2, c2, back), 32);
      v128.store(at, map64(d, m3, c3, back), 48);
      at += stride;
    }
    means += 64;
    scales += 64;
  }
}

/** x becomes `(x - mean) * scale`. */
export function standardize64(x: usize, rows: u32, width: u32, means: usize, scales: usize): void {
  affine64(x, rows, width, means, scales, false);
}

/** x becomes `x * scale + mean`. */
export function restore64(x: usize, rows: u32, width: u32, means: usize, scales: usize): void {
  affine64(x, rows, width, means, scales, true);
}
