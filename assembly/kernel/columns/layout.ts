/**
 * What the columns walk shares with its kernels: strips, and how their sums lie.
 *
 *            strip of 16 columns = one cache line          next strip …
 *          ┌──────┬──────┬──────┬──────┐
 *   row  0 │ f32x4│ f32x4│ f32x4│ f32x4│ ─────► along the row
 *   row  1 │      │      │      │      │
 *   row  2 │  ▼   │  ▼   │  ▼   │  ▼   │   a few rows at a time
 *   row  3 │      │      │      │      │
 *          └──────┴──────┴──────┴──────┘
 *
 * A strip's sums, 320 bytes:
 *
 *     0 ┌────────────────────────┐
 *       │ first sum     16 x f64 │  sum(x - pivot), or sum(dy)
 *   128 │ second sum    16 x f64 │  sum((x - pivot)^2), or sum(dy * (x - mu))
 *   256 │ size          16 x f32 │  the size of the second sum's terms
 *   320 └────────────────────────┘
 */

export namespace STRIP {
  // @ts-ignore: decorator
  @inline export const COLUMNS: usize = 16;
  /** Bytes of a strip in a row. */
  // @ts-ignore: decorator
  @inline export const BYTES: usize = 64;
}

export namespace SUMS {
  // @ts-ignore: decorator
  @inline export const SECOND: usize = 128;
  // @ts-ignore: decorator
  @inline export const SIZE: usize = 256;
  // @ts-ignore: decorator
  @inline export const BYTES: usize = 320;
}

/** Where column `c` has its first sum. */
// @ts-ignore: decorator
@inline export function sumOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS.BYTES + ((c & 15) << 3);
}

/** Where column `c` has its dot products' size. */
// @ts-ignore: decorator
@inline export function sizeOf(sums: usize, c: usize): usize {
  return sums + (c >> 4) * SUMS.BYTES + SUMS.SIZE + ((c & 15) << 2);
}
