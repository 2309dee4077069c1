/** The statistics that batch norm keeps, float32, beside a minibatch's, float64. */
import { demote, high, low } from "./simd/lanes";

/** `rest * old + share * (batch * times)` of four channels, in float64. */
// @ts-ignore: decorator
@inline function mix(old: v128, batch: usize, rest: f64, share: f64, times: f64): v128 {
  const r = f64x2.splat(rest);
  const s = f64x2.splat(share);
  const t = f64x2.splat(times);
  return demote(
    f64x2.add(f64x2.mul(r, low(old)), f64x2.mul(s, f64x2.mul(v128.load(batch), t))),
    f64x2.add(f64x2.mul(r, high(old)), f64x2.mul(s, f64x2.mul(v128.load(batch, 16), t))),
  );
}

// @ts-ignore: decorator
@inline function finite(v: v128): v128 {
  return f32x4.lt(f32x4.abs(v), f32x4.splat(f32(Infinity)));
}

/**
 * Takes a minibatch's mean and variance of `n` channels into the running ones, with the weight `momentum`, the variance times
 * `unbiased`. A channel where either is not finite, or does not fit float32, keeps its own; returns how many do.
 */
export function updateRunning(
  mean: usize, variance: usize, n: usize, momentum: f64, unbiased: f64, runningMean: usize, runningVar: usize,
): u32 {
  let kept: u32 = 0;
  for (let c: usize = 0; c < n; c += 4) {
    const oldMean = v128.load(runningMean);
    const oldVar = v128.load(runningVar);
    const newMean = mix(oldMean, mean, 1 - momentum, momentum, 1);
    const newVar = mix(oldVar, variance, 1 - momentum, momentum, unbiased);
    const fit = v128.and(finite(newMean), finite(newVar));
    v128.store(runningMean, v128.bitselect(newMean, oldMean, fit));
    v128.store(runningVar, v128.bitselect(newVar, oldVar, fit));
    // Lanes beyond the last channel hold anything.
    kept += popcnt<u32>(~i32x4.bitmask(fit) & ((1 << u32(min<usize>(n - c, 4))) - 1));
    mean += 32;
    variance += 32;
    runningMean += 16;
    runningVar += 16;
  }
  return kept;
}
