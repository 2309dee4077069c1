/** What the walks work on: `n` examples of `c` channels of `s` positions, and the statistics of each group. */
export interface Norm {
  n: number;
  c: number;
  s: number;
  /** False for RMS norm, which takes no mean. */
  centered: boolean;
  eps: number;
  x: Float32Array;
  dy: Float32Array;
  y: Float32Array;
  dx: Float32Array;
  gamma: Float32Array;
  beta: Float32Array;
  dgamma: Float32Array;
  dbeta: Float32Array;
  mean: Float64Array;
  rstd: Float64Array;
  /** Five arrays of a value a channel, so that no call allocates. */
  work: readonly [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];
}
