// Statistics of time series and the gradient through their normalization, in float64:
//
//     [outer, time, features]    a series is one feature of one window: time steps that lie `features` values apart

/** Windows of series. */
export interface Windows {
  outer: number;
  time: number;
  features: number;
}

/** Mean and `sqrt(var + eps)` of each series, `[outer, features]`. */
export function seriesStatistics(
  x: Float32Array,
  { outer, time, features }: Windows,
  eps: number,
): { mean: Float64Array; deviation: Float64Array } {
  const mean = new Float64Array(outer * features);
  const deviation = new Float64Array(outer * features);
  for (let window = 0; window < outer; window++) {
    for (let c = 0; c < features; c++) {
      const first = window * time * features + c;
      const end = first + time * features;
      // About the first value: a constant series has exactly that mean.
      const pivot = x[first]!;
      let sum = 0;
      for (let i = first; i < end; i += features) sum += x[i]! - pivot;
      const mu = pivot + sum / time;
      let squares = 0;
      for (let i = first; i < end; i += features) squares += (x[i]! - mu) ** 2;
      mean[window * features + c] = mu;
      deviation[window * features + c] = Math.sqrt(squares / time + eps);
    }
  }
  return { mean, deviation };
}

/** What the gradient goes by. */
interface Through {
  mean: Float64Array;
  deviation: Float64Array;
  gamma: ArrayLike<number>;
  /** Whether mean and deviation are constants. */
  detach: boolean;
  /** What comes back for mean and deviation from where else they were used. */
  meanGrad: Float64Array | undefined;
  deviationGrad: Float64Array | undefined;
}

/** The gradient of `y = (x - mean) / deviation * gamma + beta`. */
export function seriesBackward(
  x: Float32Array,
  dy: Float32Array,
  { outer, time, features }: Windows,
  { mean, deviation, gamma, detach, meanGrad, deviationGrad }: Through,
): { dx: Float32Array; dgamma: Float64Array; dbeta: Float64Array } {
  const dx = new Float32Array(x.length);
  const dgamma = new Float64Array(features);
  const dbeta = new Float64Array(features);
  for (let window = 0; window < outer; window++) {
    for (let c = 0; c < features; c++) {
      const series = window * features + c;
      const [mu, s] = [mean[series]!, deviation[series]!];
      const first = window * time * features + c;
      const end = first + time * features;
      let sumDy = 0;
      let sumDyXhat = 0;
      for (let i = first; i < end; i += features) {
        sumDy += dy[i]!;
        sumDyXhat += (dy[i]! * (x[i]! - mu)) / s;
      }
      dbeta[c]! += sumDy;
      dgamma[c]! += sumDyXhat;
      const scale = gamma[c]! / s;
      // Through the mean all steps get the same, through the deviation each as much as it stands from the mean.
      const shift = detach ? 0 : ((meanGrad?.[series] ?? 0) - scale * sumDy) / time;
      const spread = detach ? 0 : ((deviationGrad?.[series] ?? 0) - scale * sumDyXhat) / time;
      for (let i = first; i < end; i += features) {
        dx[i] = scale * dy[i]! + shift + spread * ((x[i]! - mu) / s);
      }
    }
  }
  return { dx, dgamma, dbeta };
}
