/** Layer and RMS norm: a group is a row of an [n, c] matrix. */
import type { Norm } from "./norm.ts";

export function forward({ n, c, centered, eps, x, y, gamma, beta, mean, rstd }: Norm): void {
  for (let i = 0; i < n; i++) {
    const start = i * c;
    let mu = 0;
    if (centered) {
      for (let j = 0; j < c; j++) mu += x[start + j]!;
      mu /= c;
    }
    let squares = 0;
    for (let j = 0; j < c; j++) {
      const d = x[start + j]! - mu;
      squares += d * d;
    }
    const scale = 1 / Math.sqrt(squares / c + eps);
    for (let j = 0; j < c; j++) y[start + j] = (x[start + j]! - mu) * scale * gamma[j]! + beta[j]!;
    mean[i] = mu;
    rstd[i] = scale;
  }
}

export function backward(norm: Norm): void {
  const { n, c, centered, x, dy, dx, gamma, dgamma, dbeta, mean, rstd, work } = norm;
  const [sumDy, sumDyXhat] = work;
  for (let j = 0; j < c; j++) sumDy[j] = sumDyXhat[j] = 0;
  for (let i = 0; i < n; i++) {
    const start = i * c;
    const mu = mean[i]!;
    const scale = rstd[i]!;
    let sumG = 0;
    let sumGXhat = 0;
    for (let j = 0; j < c; j++) {
      const xhat = (x[start + j]! - mu) * scale;
      const d = dy[start + j]!;
      const g = d * gamma[j]!;
      sumDy[j]! += d;
      sumDyXhat[j]! += d * xhat;
      sumG += g;
      sumGXhat += g * xhat;
    }
    const meanG = centered ? sumG / c : 0;
    const meanGXhat = sumGXhat / c;
    for (let j = 0; j < c; j++) {
      const xhat = (x[start + j]! - mu) * scale;
      dx[start + j] = scale * (dy[start + j]! * gamma[j]! - meanG - xhat * meanGXhat);
    }
  }
  for (let j = 0; j < c; j++) {
    dgamma[j] = sumDyXhat[j]!;
    dbeta[j] = sumDy[j]!;
  }
}

/** These families have no running statistics: their evaluation forward is their training forward. */
export const normalize = forward;
