/**
 * What a thread needs for a tile lies in its workspace:
 *
 *     0 ┌─────────────────────┐
 *       │ the row             │  kernel/row.ts
 *   192 │ two float64 sums    │
 *   256 │ GROUP rows' records │  mu, rstd, shift, whether they are in range
 *   512 ├─────────────────────┤
 *       │ sums for dgamma     │  float32, a value a position
 *       │ sums for dbeta      │
 *       │ a row of gradients  │  where no one else has room for them
 *       └─────────────────────┘
 */
import { ROW, Row } from "../../kernel/row";
import { Pass } from "../../pass";

/** Rows whose parameters' sums stay in float32: a sum passes 15 roundings. */
// @ts-ignore: decorator
@inline export const GROUP: usize = 16;

/** Byte offsets in the workspace. */
export namespace WORK {
  // @ts-ignore: decorator
  @inline export const SUMS: usize = ROW.BYTES;
  // @ts-ignore: decorator
  @inline export const RECORDS: usize = 256;
  // @ts-ignore: decorator
  @inline export const PARAMETERS: usize = 512;
}

/** Bytes of a float32 row in whole vectors. */
// @ts-ignore: decorator
@inline export function room(length: usize): usize {
  return (length * 4 + 15) & ~15;
}

/** A row that has all that is the same for a pass's rows. */
export function prepare(pass: Pass, work: usize): Row {
  const row = changetype<Row>(work);
  v128.store(work, f32x4.splat(1), ROW.ONES);
  v128.store(work, f32x4.splat(1), ROW.ONES + 16);
  v128.store(work, f32x4.splat(0), ROW.ZEROS);
  v128.store(work, f32x4.splat(0), ROW.ZEROS + 16);
  row.gamma = pass.gamma ? pass.gamma : work + ROW.ONES;
  row.beta = pass.beta ? pass.beta : work + ROW.ZEROS;
  row.gammaStep = pass.gamma ? ~0 : 0;
  row.betaStep = pass.beta ? ~0 : 0;
  row.bytes = pass.length << 2;
  return row;
}

/** What float32 needs of the row's statistics. */
// @ts-ignore: decorator
@inline export function setStatistics(row: Row, mean: f64, rstd: f64): void {
  row.mu = f32(mean);
  row.rstd = f32(rstd);
  row.shift = f32((f64(row.mu) - mean) * rstd);
}
