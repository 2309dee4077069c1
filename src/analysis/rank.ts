// Statistics of ranks: quantiles, Spearman's correlation, and how sure they are.

/** Spearman's rank correlation with its interval of 95 %. */
export interface Correlation {
  /** Between -1 and 1. */
  rho: number;
  /** The interval's lower end (Fisher's z with the variance of Bonett and Wright 2000). */
  low: number;
  /** Its upper end. */
  high: number;
  /** Pairs that it rests on. */
  pairs: number;
}

/** A median with the interval of 95 % that order statistics give, whatever the distribution. */
export interface Median {
  /** The median itself. */
  median: number;
  /** The interval's lower end; null below 6 values, where no interval reaches 95 %. */
  low: number | null;
  /** Its upper end. */
  high: number | null;
  /** Values that it is the median of. */
  count: number;
}

const sorted = (values: ArrayLike<number>): Float64Array => Float64Array.from(values).sort();

/** The quantile at `p` from 0 to 1, linear between neighbours; NaN of nothing. */
export function quantile(values: ArrayLike<number>, p: number): number {
  return quantileOfSorted(sorted(values), p);
}

/** The first, second and third quartile. */
export function quartiles(values: ArrayLike<number>): [number, number, number] {
  const all = sorted(values);
  return [quantileOfSorted(all, 0.25), quantileOfSorted(all, 0.5), quantileOfSorted(all, 0.75)];
}

function quantileOfSorted(all: Float64Array, p: number): number {
  if (all.length === 0) return Number.NaN;
  const at = p * (all.length - 1);
  const below = Math.floor(at);
  const from = all[below]!;
  return from + (at - below) * ((all[below + 1] ?? from) - from);
}

/** Ranks from 0 on; equal values share the mean of their ranks. */
export function ranks(values: ArrayLike<number>): Float64Array {
  const order = Uint32Array.from({ length: values.length }, (_, i) => i);
  order.sort((a, b) => values[a]! - values[b]!);
  const result = new Float64Array(values.length);
  for (let from = 0, to = 0; from < order.length; from = to) {
    while (to < order.length && values[order[to]!] === values[order[from]!]) to++;
    for (let i = from; i < to; i++) result[order[i]!] = (from + to - 1) / 2;
  }
  return result;
}

/** Spearman's rank correlation; null below 4 pairs and where one side has but one value. */
export function spearman(x: ArrayLike<number>, y: ArrayLike<number>): Correlation | null {
  const pairs = x.length;
  if (pairs < 4) return null;
  const [rx, ry] = [ranks(x), ranks(y)];
  const middle = (pairs - 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < pairs; i++) {
    const [a, b] = [rx[i]! - middle, ry[i]! - middle];
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  if (xx === 0 || yy === 0) return null;
  const rho = Math.max(-1, Math.min(1, xy / Math.sqrt(xx * yy)));
  // At -1 and 1 Fisher's z is infinite, and tanh brings it back: the interval is the point.
  const reach = 1.959964 * Math.sqrt((1 + rho ** 2 / 2) / (pairs - 3));
  return { rho, low: Math.tanh(Math.atanh(rho) - reach), high: Math.tanh(Math.atanh(rho) + reach), pairs };
}

/** The median of some layers' figures, each layer counting once; null of nothing. */
export function medianOf(values: readonly number[]): Median | null {
  const count = values.length;
  if (count === 0) return null;
  const all = sorted(values);
  // The number of values below the median is binomial: `out` may be left out at either end.
  let out = 0;
  let below = 0.5 ** count;
  for (let term = below; below <= 0.025; below += term) term *= (count - out) / ++out;
  const certain = out > 0;
  return {
    median: quantileOfSorted(all, 0.5),
    low: certain ? all[out - 1]! : null,
    high: certain ? all[count - out]! : null,
    count,
  };
}
