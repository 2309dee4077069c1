// Batch normalization in training as one writes it in plain JavaScript: by rows, sums in float64 (JavaScript's own
// numbers), no allocation. Ioffe & Szegedy 2015, algorithm 1 and the gradients of section 3.

/** What the forward pass leaves to the backward pass; a value a unit. */
export interface Saved {
  mean: Float64Array;
  rstd: Float64Array;
  dbeta: Float64Array;
  dgamma: Float64Array;
}

export function saved(units: number): Saved {
  const zeros = () => new Float64Array(units);
  return { mean: zeros(), rstd: zeros(), dbeta: zeros(), dgamma: zeros() };
}

/** y [rows, units] of x [rows, units]. */
export function forward(
  x: Float32Array,
  y: Float32Array,
  gamma: Float32Array,
  beta: Float32Array,
  s: Saved,
): void {
  const units = gamma.length;
  const rows = x.length / units;
  const { mean, rstd } = s;
  mean.fill(0);
  rstd.fill(0);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < units; c++) mean[c]! += x[i * units + c]!;
  }
  for (let c = 0; c < units; c++) mean[c]! /= rows;
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < units; c++) {
      const d = x[i * units + c]! - mean[c]!;
      rstd[c]! += d * d;
    }
  }
  for (let c = 0; c < units; c++) rstd[c] = 1 / Math.sqrt(rstd[c]! / rows + 1e-5);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < units; c++) {
      y[i * units + c] = gamma[c]! * (x[i * units + c]! - mean[c]!) * rstd[c]! + beta[c]!;
    }
  }
}

/** dx [rows, units] of dy [rows, units], after `forward` of x. */
export function backward(
  x: Float32Array,
  dy: Float32Array,
  dx: Float32Array,
  gamma: Float32Array,
  s: Saved,
): void {
  const units = gamma.length;
  const rows = x.length / units;
  const { mean, rstd, dbeta, dgamma } = s;
  dbeta.fill(0);
  dgamma.fill(0);
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < units; c++) {
      const d = dy[i * units + c]!;
      dbeta[c]! += d;
      dgamma[c]! += d * (x[i * units + c]! - mean[c]!) * rstd[c]!;
    }
  }
  for (let i = 0; i < rows; i++) {
    for (let c = 0; c < units; c++) {
      const xhat = (x[i * units + c]! - mean[c]!) * rstd[c]!;
      dx[i * units + c] =
        gamma[c]! * rstd[c]! * (dy[i * units + c]! - (dbeta[c]! + xhat * dgamma[c]!) / rows);
    }
  }
}
