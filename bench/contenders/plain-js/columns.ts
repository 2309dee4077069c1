/** Batch norm with channels last: a group is a column of an [n, c] matrix; rows are the outer loop. */
import type { Norm } from "./norm.ts";

export function forward(norm: Norm): void {
  const { n, c, x, mean, rstd, eps } = norm;
  for (let j = 0; j < c; j++) mean[j] = rstd[j] = 0;
  for (let i = 0, at = 0; i < n; i++) for (let j = 0; j < c; j++, at++) mean[j]! += x[at]!;
  for (let j = 0; j < c; j++) mean[j]! /= n;
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < c; j++, at++) {
      const d = x[at]! - mean[j]!;
      rstd[j]! += d * d;
    }
  }
  for (let j = 0; j < c; j++) rstd[j] = 1 / Math.sqrt(rstd[j]! / n + eps);
  normalize(norm);
}

export function normalize({ n, c, x, y, gamma, beta, mean, rstd, work: [scale] }: Norm): void {
  for (let j = 0; j < c; j++) scale[j] = rstd[j]! * gamma[j]!;
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < c; j++, at++) y[at] = (x[at]! - mean[j]!) * scale[j]! + beta[j]!;
  }
}

export function backward({ n, c, x, dy, dx, gamma, dgamma, dbeta, mean, rstd, work }: Norm): void {
  // dx = p dy + q (x - mu) + r, with a p, q and r for each column
  const [sumDy, sumDyX, p, q, r] = work;
  for (let j = 0; j < c; j++) sumDy[j] = sumDyX[j] = 0;
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < c; j++, at++) {
      const g = dy[at]!;
      sumDy[j]! += g;
      sumDyX[j]! += g * (x[at]! - mean[j]!);
    }
  }
  for (let j = 0; j < c; j++) {
    dbeta[j] = sumDy[j]!;
    dgamma[j] = sumDyX[j]! * rstd[j]!;
    p[j] = gamma[j]! * rstd[j]!;
    q[j] = (-p[j]! * rstd[j]! * rstd[j]! * sumDyX[j]!) / n;
    r[j] = (-p[j]! * sumDy[j]!) / n;
  }
  for (let i = 0, at = 0; i < n; i++) {
    for (let j = 0; j < c; j++, at++) dx[at] = p[j]! * dy[at]! + q[j]! * (x[at]! - mean[j]!) + r[j]!;
  }
}
