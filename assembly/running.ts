/** Running statistics: float32 beside the batch's float64. */

/** Widens `n` float32 to float64. */
export function promote(from: usize, to: usize, n: usize): void {
  for (let i: usize = 0; i < n; i++) {
    store<f64>(to, f64(load<f32>(from)));
    from += 4;
    to += 8;
  }
}

/**
 * `running = (1 - momentum) * running + momentum * batch` for mean and variance, the latter times `correction`
 * (m / (m - 1) for the unbiased one). A channel whose batch statistics are not finite, or do not fit float32, keeps
 * its own; returns how many did.
 */
export function updateRunning(
  mean: usize,
  variance: usize,
  n: usize,
  momentum: f64,
  correction: f64,
  runningMean: usize,
  runningVar: usize,
): u32 {
  let skipped: u32 = 0;
  for (let i: usize = 0; i < n; i++) {
    const m = f32((1 - momentum) * f64(load<f32>(runningMean)) + momentum * load<f64>(mean));
    const v = f32(
      (1 - momentum) * f64(load<f32>(runningVar)) + momentum * (load<f64>(variance) * correction),
    );
    if (load<f64>(variance) < Infinity && abs(m) < f32(Infinity) && v < f32(Infinity)) {
      store<f32>(runningMean, m);
      store<f32>(runningVar, v);
    } else skipped++;
    mean += 8;
    variance += 8;
    runningMean += 4;
    runningVar += 4;
  }
  return skipped;
}
