/**
 * The question, measured: do gamma and beta undo the normalization? Ioffe & Szegedy 2015, section 3: gamma = sqrt(var)
 * and beta = mean would, if that were the optimal thing to do.
 */

/** How far gamma and beta stand from undoing the normalization, which is scale 1 and shift 0. */
export interface IdentityGap {
  /** `gamma / sqrt(var + eps)` for each unit. */
  scale: Float32Array;
  /** `(beta - mean) / sqrt(var + eps)` for each unit. */
  shift: Float32Array;
  /** The root mean square of `scale - 1` and `shift` together over all units: `sqrt(mean((scale - 1)^2 + shift^2))`. */
  rms: number;
}

/** Shares of a gradient's energy `sum(dy^2)`, between 0 and 1, for each unit; all 0 where there is no gradient. */
export interface GradientShares {
  /** On the mean: what beta receives, and dx does not. */
  mean: Float32Array;
  /** On xhat: what gamma receives, and dx does not (but for `eps / (var + eps)` of it). */
  xhat: Float32Array;
  /** What is left, which alone reaches dx. */
  rest: Float32Array;
  /** The same for all units together, each weighted by its energy. */
  total: { mean: number; xhat: number; rest: number };
}

const PARTS = ["mean", "xhat", "rest"] as const;

/** Sums over a unit's values of dy. */
export interface GradientSums {
  dy: Float64Array;
  dyXhat: Float64Array;
  dySquared: Float64Array;
}

/** The gamma and beta under which normalizing with these statistics returns its input. */
export function identity(
  mean: ArrayLike<number>,
  variance: ArrayLike<number>,
  eps: number,
): { gamma: Float32Array; beta: Float32Array } {
  return {
    gamma: Float32Array.from(variance, (v) => Math.sqrt(v + eps)),
    beta: Float32Array.from(mean),
  };
}

/** The gap of gamma and beta (null: 1 and 0) under these statistics. */
export function identityGap(
  gamma: ArrayLike<number> | null,
  beta: ArrayLike<number> | null,
  mean: ArrayLike<number>,
  variance: ArrayLike<number>,
  eps: number,
): IdentityGap {
  const n = mean.length;
  const scale = new Float32Array(n);
  const shift = new Float32Array(n);
  let squares = 0;
  for (let c = 0; c < n; c++) {
    const sigma = Math.sqrt(variance[c]! + eps);
    const s = (gamma ? gamma[c]! : 1) / sigma;
    const t = ((beta ? beta[c]! : 0) - mean[c]!) / sigma;
    scale[c] = s;
    shift[c] = t;
    squares += (s - 1) ** 2 + t ** 2;
  }
  return { scale, shift, rms: n === 0 ? 0 : Math.sqrt(squares / n) };
}

/**
 * Splits the energy of dy into its projections on 1 and on xhat and the rest. With frozen statistics (`variance`
 * null) nothing is projected out: all of it reaches dx.
 */
export function gradientShares(
  sums: GradientSums,
  count: number,
  variance: ArrayLike<number> | null,
  eps: number,
): GradientShares {
  const n = sums.dy.length;
  const shares = { mean: new Float32Array(n), xhat: new Float32Array(n), rest: new Float32Array(n) };
  const total = { mean: 0, xhat: 0, rest: 0 };
  let energy = 0;
  for (let c = 0; c < n; c++) {
    const all = sums.dySquared[c]!;
    if (all === 0) continue;
    let mean = 0;
    let xhat = 0;
    if (variance) {
      mean = sums.dy[c]! ** 2 / count;
      // |xhat|^2 is m * var / (var + eps), not m: eps takes its part.
      const length = (count * variance[c]!) / (variance[c]! + eps);
      xhat = length > 0 ? sums.dyXhat[c]! ** 2 / length : 0;
    }
    const rest = Math.max(0, all - mean - xhat);
    const parts = { mean, xhat, rest };
    for (const part of PARTS) {
      shares[part][c] = parts[part] / all;
      total[part] += parts[part];
    }
    energy += all;
  }
  if (energy > 0) for (const part of PARTS) total[part] /= energy;
  return { ...shares, total };
}
