/**
 * Every normalization in float64, written as the papers write it: two passes, sums that carry their own
 * rounding error, one value at a time. It imports nothing from the package that it judges.
 *
 * Batch normalization: Ioffe and Szegedy 2015 (arXiv 1502.03167), algorithms 1 and 2. Layer: Ba et al. 2016
 * (1607.06450). RMS: Zhang and Sennrich 2019 (1910.07467). Group: Wu and He 2018 (1803.08494). Instance:
 * Ulyanov et al. 2016 (1607.08022).
 */

export type Numbers = ArrayLike<number>;

/** Which values share a statistic, and which share a gamma and a beta. */
export interface Geometry {
  readonly size: number;
  readonly groups: number;
  readonly parameters: number;
  /** For each value, the group whose mean and variance normalize it. */
  readonly group: Int32Array;
  /** For each value, its place in gamma and beta. */
  readonly parameter: Int32Array;
}

/**
 * The geometry of a row-major array: a statistic for each cell of `groupAxes` (reduced over all the others), a
 * gamma and a beta for each cell of `parameterAxes`.
 */
export function geometry(
  shape: readonly number[],
  groupAxes: readonly number[],
  parameterAxes: readonly number[],
): Geometry {
  const size = product(shape);
  return {
    size,
    groups: product(groupAxes.map((axis) => shape[axis]!)),
    parameters: product(parameterAxes.map((axis) => shape[axis]!)),
    group: cells(shape, groupAxes, size),
    parameter: cells(shape, parameterAxes, size),
  };
}

export type Family = "batch" | "layer" | "rms" | "group" | "instance";
export type Layout = "channels-last" | "channels-first";

export interface Description {
  readonly family: Family;
  readonly shape: readonly number[];
  /** Batch, group and instance norm. */
  readonly layout?: Layout;
  /** Group norm: how many groups the channels are divided into. */
  readonly groups?: number;
  /** Layer and RMS norm: how many trailing dimensions are normalized together (default 1). */
  readonly trailing?: number;
}

/** The geometry of a layer of the field. */
export function describe({
  family,
  shape,
  layout = "channels-last",
  groups = 1,
  trailing = 1,
}: Description): Geometry {
  const axes = shape.map((_, axis) => axis);
  const channel = layout === "channels-first" ? 1 : shape.length - 1;
  switch (family) {
    case "batch":
      return geometry(shape, [channel], [channel]);
    case "instance":
      return geometry(shape, [0, channel], [channel]);
    case "layer":
    case "rms":
      return geometry(shape, axes.slice(0, shape.length - trailing), axes.slice(shape.length - trailing));
    case "group": {
      // [N, C, ...] is [N, groups, C / groups, ...]: a statistic for each of N x groups
      const split = [...shape];
      split.splice(channel, 1, groups, shape[channel]! / groups);
      return geometry(split, [0, channel], [channel, channel + 1]);
    }
  }
}

function product(sizes: readonly number[]): number {
  return sizes.reduce((a, b) => a * b, 1);
}

/** For each value of a row-major array, the row-major index of its cell on the given axes. */
function cells(shape: readonly number[], axes: readonly number[], size: number): Int32Array {
  const weights = shape.map(() => 0);
  let weight = 1;
  for (const axis of [...axes].sort((a, b) => b - a)) {
    weights[axis] = weight;
    weight *= shape[axis]!;
  }
  const result = new Int32Array(size);
  const index = shape.map(() => 0);
  let cell = 0;
  for (let i = 0; i < size; i++) {
    result[i] = cell;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      cell += weights[axis]!;
      if (++index[axis]! < shape[axis]!) break;
      cell -= weights[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return result;
}

/** For each value, 1 where its row (its position, for channels-first) counts, from a mask with an entry a row. */
export function included(
  shape: readonly number[],
  layout: Layout,
  mask: ArrayLike<number | boolean>,
): Uint8Array {
  const channel = layout === "channels-first" ? 1 : shape.length - 1;
  const rowAxes = shape.map((_, axis) => axis).filter((axis) => axis !== channel);
  return Uint8Array.from(cells(shape, rowAxes, product(shape)), (row) => (mask[row] ? 1 : 0));
}

/**
 * Sums for many groups at once that carry their rounding error along (Neumaier 1974), so that four million
 * values at a mean of a million sigmas keep all of float64's digits.
 */
export class Sums {
  private readonly sum: Float64Array;
  private readonly lost: Float64Array;

  constructor(length: number) {
    this.sum = new Float64Array(length);
    this.lost = new Float64Array(length);
  }

  add(index: number, value: number): void {
    const before = this.sum[index]!;
    const after = before + value;
    this.lost[index]! +=
      Math.abs(before) >= Math.abs(value) ? before - after + value : value - after + before;
    this.sum[index] = after;
  }

  total(): Float64Array {
    // infinities and NaN have no rounding error, and what was carried along beside them is NaN
    return this.sum.map((sum, i) => (Number.isFinite(sum) ? sum + this.lost[i]! : sum));
  }
}

export interface Statistics {
  readonly count: Float64Array;
  readonly mean: Float64Array;
  /** Biased: the mean square about the mean. For RMS norm, about 0. */
  readonly variance: Float64Array;
  readonly rstd: Float64Array;
}

export interface StatisticsOptions {
  readonly eps: number;
  /** RMS norm does not subtract the mean. */
  readonly centered?: boolean | undefined;
  /** For each value, nonzero where it takes part in the statistics. */
  readonly include?: ArrayLike<number> | undefined;
}

/** Mean and variance of each group, in two passes. */
export function statistics(
  x: Numbers,
  { size, groups, group }: Geometry,
  { eps, centered = true, include }: StatisticsOptions,
): Statistics {
  const count = new Float64Array(groups);
  const sums = new Sums(groups);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    count[group[i]!]!++;
    if (centered) sums.add(group[i]!, x[i]!);
  }
  const mean = sums.total().map((sum, g) => (centered ? sum / count[g]! : 0));

  const squares = new Sums(groups);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    const deviation = x[i]! - mean[group[i]!]!;
    squares.add(group[i]!, deviation * deviation);
  }
  const variance = squares.total().map((sum, g) => sum / count[g]!);
  return fixedStatistics(mean, variance, eps, count);
}

/** Statistics that come from elsewhere: evaluation mode's running mean and variance. */
export function fixedStatistics(
  mean: Numbers,
  variance: Numbers,
  eps: number,
  count: Float64Array = new Float64Array(mean.length),
): Statistics {
  const rstd = Float64Array.from(variance, (value) => 1 / Math.sqrt(value + eps));
  return { count, mean: Float64Array.from(mean), variance: Float64Array.from(variance), rstd };
}

export interface ForwardOptions {
  readonly gamma?: Numbers | null | undefined;
  readonly beta?: Numbers | null | undefined;
  /** Added after gamma and beta, before the activation. */
  readonly residual?: Numbers | undefined;
  readonly activation?: "relu" | undefined;
}

export interface Forward {
  readonly y: Float64Array;
  readonly xhat: Float64Array;
}

/** xhat = (x - mu) * rstd; y = gamma * xhat + beta, then the residual and the activation. */
export function forward(
  x: Numbers,
  { size, group, parameter }: Geometry,
  { mean, rstd }: Statistics,
  { gamma, beta, residual, activation }: ForwardOptions = {},
): Forward {
  const y = new Float64Array(size);
  const xhat = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    const g = group[i]!;
    const p = parameter[i]!;
    xhat[i] = (x[i]! - mean[g]!) * rstd[g]!;
    let value = xhat[i]!;
    if (gamma) value *= gamma[p]!;
    if (beta) value += beta[p]!;
    if (residual) value += residual[i]!;
    y[i] = activation === "relu" ? Math.max(0, value) : value;
  }
  return { y, xhat };
}

export interface BackwardOptions {
  readonly gamma?: Numbers | null | undefined;
  /** "batch": the statistics depend on x. "fixed": they do not (evaluation mode, a frozen layer). */
  readonly statistics?: "batch" | "fixed" | undefined;
  readonly centered?: boolean | undefined;
  readonly include?: ArrayLike<number> | undefined;
  /** The output of a forward with ReLU: the gradient passes where it is above 0. */
  readonly activated?: Numbers | undefined;
}

export interface Backward {
  readonly dx: Float64Array;
  /** The gradient that reaches gamma * xhat + beta, and the residual: 0 where a value takes no part. */
  readonly dz: Float64Array;
  readonly dgamma: Float64Array;
  readonly dbeta: Float64Array;
  /** The sums of the sizes of dgamma's and dbeta's terms, which their errors are measured against. */
  readonly dgammaSize: Float64Array;
  readonly dbetaSize: Float64Array;
  /** For each group, the largest |gamma * dz|, which the error of dx is measured against. */
  readonly largest: Float64Array;
}

/**
 * dbeta = sum(dz); dgamma = sum(dz * xhat);
 * dx = rstd * (gamma * dz - mean(gamma * dz) - xhat * mean(gamma * dz * xhat)), the means over the group; RMS
 * norm lacks the first of them, fixed statistics lack both.
 */
export function backward(
  x: Numbers,
  dy: Numbers,
  { size, groups, parameters, group, parameter }: Geometry,
  { count, mean, rstd }: Statistics,
  { gamma, statistics: mode = "batch", centered = true, include, activated }: BackwardOptions = {},
): Backward {
  const dz = new Float64Array(size);
  const dgamma = new Sums(parameters);
  const dbeta = new Sums(parameters);
  const dgammaSize = new Sums(parameters);
  const dbetaSize = new Sums(parameters);
  const sumG = new Sums(groups);
  const sumGXhat = new Sums(groups);
  const largest = new Float64Array(groups);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    dz[i] = activated && activated[i]! <= 0 ? 0 : dy[i]!;
    const k = group[i]!;
    const p = parameter[i]!;
    const xhat = (x[i]! - mean[k]!) * rstd[k]!;
    const g = gamma ? gamma[p]! * dz[i]! : dz[i]!;
    dbeta.add(p, dz[i]!);
    dgamma.add(p, dz[i]! * xhat);
    dbetaSize.add(p, Math.abs(dz[i]!));
    dgammaSize.add(p, Math.abs(dz[i]! * xhat));
    sumG.add(k, g);
    sumGXhat.add(k, g * xhat);
    if (Math.abs(g) > largest[k]! || Number.isNaN(g)) largest[k] = Math.abs(g);
  }
  const meanG = sumG.total().map((sum, k) => (mode === "batch" && centered ? sum / count[k]! : 0));
  const meanGXhat = sumGXhat.total().map((sum, k) => (mode === "batch" ? sum / count[k]! : 0));

  const dx = new Float64Array(size);
  for (let i = 0; i < size; i++) {
    if (include && !include[i]) continue;
    const k = group[i]!;
    const xhat = (x[i]! - mean[k]!) * rstd[k]!;
    const g = gamma ? gamma[parameter[i]!]! * dz[i]! : dz[i]!;
    dx[i] = rstd[k]! * (g - meanG[k]! - xhat * meanGXhat[k]!);
  }
  return {
    dx,
    dz,
    dgamma: dgamma.total(),
    dbeta: dbeta.total(),
    dgammaSize: dgammaSize.total(),
    dbetaSize: dbetaSize.total(),
    largest,
  };
}

export interface Running {
  readonly mean: Numbers;
  readonly variance: Numbers;
  /** How many batches came before. */
  readonly batches: number;
}

export interface RunningUpdate {
  readonly mean: Float64Array;
  readonly variance: Float64Array;
  readonly batches: number;
  /** How many channels kept what they had. */
  readonly skipped: number;
}

/**
 * new = (1 - momentum) * old + momentum * batch, PyTorch's sense of momentum; null is the cumulative average,
 * 1 / batches. The variance is kept unbiased, as in the paper. A channel whose statistics float32 cannot hold
 * as finite numbers keeps what it had.
 */
export function updateRunning(
  running: Running,
  { count, mean, variance }: Statistics,
  momentum: number | null,
): RunningUpdate {
  const batches = running.batches + 1;
  const weight = momentum ?? 1 / batches;
  const next = { mean: Float64Array.from(running.mean), variance: Float64Array.from(running.variance) };
  let skipped = 0;
  for (let c = 0; c < mean.length; c++) {
    const unbiased = (variance[c]! * count[c]!) / (count[c]! - 1);
    if (!Number.isFinite(Math.fround(mean[c]!)) || !Number.isFinite(Math.fround(unbiased))) {
      skipped++;
      continue;
    }
    next.mean[c] = (1 - weight) * running.mean[c]! + weight * mean[c]!;
    next.variance[c] = (1 - weight) * running.variance[c]! + weight * unbiased;
  }
  return { ...next, batches, skipped };
}

/** Central differences of the scalar sum(f(v) * dy) for each v[i]: what a gradient has to be. */
export function centralDifferences(
  f: (values: Float64Array) => Numbers,
  at: Numbers,
  dy: Numbers,
  step: number,
): Float64Array {
  const values = Float64Array.from(at);
  const loss = (): number => {
    const sums = new Sums(1);
    const y = f(values);
    for (let i = 0; i < y.length; i++) sums.add(0, y[i]! * dy[i]!);
    return sums.total()[0]!;
  };
  return Float64Array.from(values, (value, i) => {
    values[i] = value + step;
    const above = loss();
    values[i] = value - step;
    const below = loss();
    values[i] = value;
    return (above - below) / (2 * step);
  });
}
