/**
 * One row on its way through the kernels: where its operands lie and what its coefficients are. It lies at the front of a
 * thread's workspace:
 *
 *     0 ┌──────────┬──────────┬──────────┬──────────┐
 *       │ x        │ y        │ dy       │ dx       │  the row's operands
 *    16 │ residual │ g        │ bits     │ floor    │
 *    32 │ gamma    │ beta     │ gammaStep│ betaStep │  all rows' parameters
 *    48 │ dgamma   │ dbeta    │ bytes    │ −        │
 *    64 │ mu       │ rstd     │ shift    │ p        │  float32 coefficients
 *    80 │ q        │ r        │ sum1           f64  │
 *    96 │ sum2           f64  │ −                   │
 *   128 ├──────────┴──────────┼─────────────────────┤
 *       │ 1 1 1 1 1 1 1 1     │ 0 0 0 0 0 0 0 0     │  in place of gamma and beta
 *   192 └─────────────────────┴─────────────────────┘
 *
 *     xhat = (x - mu) * rstd + shift            shift has what the mean loses as a float32
 *     dx = p * (g * gamma) + (q * (x - mu) + r)
 *
 * An operand that a call lacks is a constant vector pair, at which the offset is masked away: its step is 0 instead of -1. So one
 * loop serves all calls, and nothing is filled with ones.
 */
@unmanaged
export class Row {
  x: usize;
  y: usize;
  dy: usize;
  dx: usize;
  residual: usize;
  /** Where the gradient before the activation goes, and dx's kernel finds it. */
  g: usize;
  /** A byte for every four values. */
  bits: usize;
  /** 0 with ReLU, -Infinity without. */
  floor: f32;
  gamma: usize;
  beta: usize;
  gammaStep: usize;
  betaStep: usize;
  /** Sums of a few rows, float32. */
  dgamma: usize;
  dbeta: usize;
  /** The row's length. */
  bytes: usize;
  reserved: usize;
  mu: f32;
  rstd: f32;
  shift: f32;
  p: f32;
  q: f32;
  r: f32;
  /** `sum(gamma * g)` and `sum(gamma * g * xhat)`. */
  sum1: f64;
  sum2: f64;
}

/** Byte offsets behind a row: the constants, and the end. */
export namespace ROW {
  // @ts-ignore: decorator
  @inline export const ONES: usize = 128;
  // @ts-ignore: decorator
  @inline export const ZEROS: usize = 160;
  // @ts-ignore: decorator
  @inline export const BYTES: usize = 192;
}

/** A row's last vector overlaps the one before by so many lanes. */
// @ts-ignore: decorator
@inline export function overlap(at: usize, bytes: usize): u32 {
  return at + 16 > bytes ? u32(at + 16 - bytes) >> 2 : 0;
}

/** The lanes from `skip` on. */
// @ts-ignore: decorator
@inline export function from(skip: u32): v128 {
  return i32x4.ge_s(i32x4(0, 1, 2, 3), i32x4.splat(skip));
}
