/** Batch norm with channels first: a group is the planes of a channel, `n` runs of `s` values `c * s` apart. */
import type { Norm } from "./norm.ts";

export function forward(norm: Norm): void {
  const { n, c, s, x, mean, rstd, eps } = norm;
  for (let j = 0; j < c; j++) {
    let sum = 0;
    for (let i = 0; i < n; i++) {
      for (let at = (i * c + j) * s, end = at + s; at < end; at++) sum += x[at]!;
    }
    const mu = sum / (n * s);
    let squares = 0;
    for (let i = 0; i < n; i++) {
      for (let at = (i * c + j) * s, end = at + s; at < end; at++) {
        const d = x[at]! - mu;
        squares += d * d;
      }
    }
    mean[j] = mu;
    rstd[j] = 1 / Math.sqrt(squares / (n * s) + eps);
  }
  normalize(norm);
}

export function normalize({ n, c, s, x, y, gamma, beta, mean, rstd }: Norm): void {
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < c; j++) {
      const mu = mean[j]!;
      const scale = rstd[j]! * gamma[j]!;
      const shift = beta[j]!;
      for (const end = at + s; at < end; at++) y[at] = (x[at]! - mu) * scale + shift;
    }
  }
}

export function backward({ n, c, s, x, dy, dx, gamma, dgamma, dbeta, mean, rstd }: Norm): void {
  const m = n * s;
  for (let j = 0; j < c; j++) {
    const mu = mean[j]!;
    let sumDy = 0;
    let sumDyX = 0;
    for (let i = 0; i < n; i++) {
      for (let at = (i * c + j) * s, end = at + s; at < end; at++) {
        const g = dy[at]!;
        sumDy += g;
        sumDyX += g * (x[at]! - mu);
      }
    }
    dbeta[j] = sumDy;
    dgamma[j] = sumDyX * rstd[j]!;
    const p = gamma[j]! * rstd[j]!;
    const q = (-p * rstd[j]! * rstd[j]! * sumDyX) / m;
    const r = (-p * sumDy) / m;
    for (let i = 0; i < n; i++) {
      for (let at = (i * c + j) * s, end = at + s; at < end; at++) {
        dx[at] = p * dy[at]! + q * (x[at]! - mu) + r;
      }
    }
  }
}
