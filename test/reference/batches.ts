/**
 * What changes the statistics that batch normalization uses in training, in float64: batch renormalization (Ioffe 2017, arXiv
 * 1702.03275, algorithm 1) and ghost batches (Hoffer, Hubara and Soudry 2017, arXiv 1705.08741, algorithm 1).
 */

import type { Geometry, Layout, Numbers, Running, RunningUpdate, Statistics } from "../reference.js";
import * as reference from "../reference.js";

export interface Correction {
  readonly r: Float64Array;
  readonly d: Float64Array;
}

const clip = (value: number, low: number, high: number): number => Math.min(Math.max(value, low), high);

/** r = clip(sigma_B / sigma, 1 / rMax, rMax), d = clip((mu_B - mu) / sigma, -dMax, dMax), from the running statistics before the step. */
export function correction(
  { mean, variance }: Statistics,
  running: Pick<Running, "mean" | "variance">,
  eps: number,
  { rMax, dMax }: { rMax: number; dMax: number },
): Correction {
  const sigma = Float64Array.from(running.variance, (value) => Math.sqrt(value + eps));
  return {
    r: variance.map((value, c) => clip(Math.sqrt(value + eps) / sigma[c]!, 1 / rMax, rMax)),
    d: mean.map((value, c) => clip((value - running.mean[c]!) / sigma[c]!, -dMax, dMax)),
  };
}

export interface Affine {
  readonly gamma: Numbers | null;
  readonly beta: Numbers | null;
}

/** xhat = (x - mu_B) / sigma_B * r + d; y = gamma * xhat + beta. */
export function renormalize(
  x: Numbers,
  { size, group }: Geometry,
  { mean, rstd }: Statistics,
  { r, d }: Correction,
  { gamma, beta }: Affine,
): Float64Array {
  const y = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const c = group[i]!;
    const xhat = (x[i]! - mean[c]!) * rstd[c]! * r[c]! + d[c]!;
    y[i] = xhat * (gamma ? gamma[c]! : 1) + (beta ? beta[c]! : 0);
  }
  return y;
}

/** The paper's gradients, r and d constants: dxhat = gamma * dy; dx by the chain through mu_B and sigma_B. */
export function renormalizeBackward(
  x: Numbers,
  dy: Numbers,
  { size, groups, group }: Geometry,
  { count, mean, rstd }: Statistics,
  { r, d }: Correction,
  { gamma }: Affine,
  include?: ArrayLike<number>,
) {
  const sums = { sigma: new reference.Sums(groups), mu: new reference.Sums(groups) };
  const dgamma = new reference.Sums(groups);
  const dbeta = new reference.Sums(groups);
  const dgammaSize = new Float64Array(groups);
  const dbetaSize = new Float64Array(groups);
  const largest = new Float64Array(groups);
  const dxhat = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    const c = group[i]!;
    dxhat[i] = dy[i]! * (gamma ? gamma[c]! : 1);
    const xhat = (x[i]! - mean[c]!) * rstd[c]! * r[c]! + d[c]!;
    // dsigma_B = sum(dxhat * (x - mu_B) * -r / sigma_B^2), dmu_B = sum(dxhat * -r / sigma_B)
    sums.sigma.add(c, -dxhat[i]! * (x[i]! - mean[c]!) * r[c]! * rstd[c]! * rstd[c]!);
    sums.mu.add(c, -dxhat[i]! * r[c]! * rstd[c]!);
    dgamma.add(c, dy[i]! * xhat);
    dbeta.add(c, dy[i]!);
    dgammaSize[c]! += Math.abs(dy[i]!) * (Math.abs(xhat - d[c]!) + Math.abs(d[c]!));
    dbetaSize[c]! += Math.abs(dy[i]!);
    largest[c] = Math.max(largest[c]!, Math.abs(dxhat[i]! * r[c]!));
  }
  const dsigma = sums.sigma.total();
  const dmu = sums.mu.total();
  const dx = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    const c = group[i]!;
    // dx = dxhat * r / sigma_B + dsigma_B * (x - mu_B) / (m * sigma_B) + dmu_B / m
    dx[i] =
      dxhat[i]! * r[c]! * rstd[c]! +
      (dsigma[c]! * (x[i]! - mean[c]!) * rstd[c]!) / count[c]! +
      dmu[c]! / count[c]!;
  }
  return { dx, dgamma: dgamma.total(), dbeta: dbeta.total(), dgammaSize, dbetaSize, largest };
}

/** Each `ghost` consecutive examples have statistics of their own, each channel one gamma and one beta. */
export function ghostGeometry(shape: readonly number[], layout: Layout, ghost: number): Geometry {
  const split = [shape[0]! / ghost, ghost, ...shape.slice(1)];
  const channel = layout === "channels-first" ? 2 : split.length - 1;
  return reference.geometry(split, [0, channel], [channel]);
}

/** The running statistics take in one ghost batch after the other; those of which nothing counts leave them alone. */
export function updateRunning(
  running: Running,
  all: Statistics,
  channels: number,
  momentum: number | null,
): RunningUpdate {
  let now: RunningUpdate = {
    mean: Float64Array.from(running.mean),
    variance: Float64Array.from(running.variance),
    batches: running.batches,
    skipped: 0,
  };
  for (let from = 0; from < all.mean.length; from += channels) {
    if (all.count[from] === 0) continue;
    const part = (values: Float64Array) => values.slice(from, from + channels);
    const one = {
      count: part(all.count),
      mean: part(all.mean),
      variance: part(all.variance),
      rstd: part(all.rstd),
    };
    const next = reference.updateRunning(now, one, momentum);
    now = { ...next, skipped: now.skipped + next.skipped };
  }
  return now;
}
