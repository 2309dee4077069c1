import { checkInteger, fix, readOptions } from "../errors.js";
import { type GroupNormOptions, perGroup } from "./group-norm.js";
import { type Layout, readLayout } from "./layout.js";
import { Tracking, type TrackingOptions } from "./tracking.js";

/** As of group norm, but `affine` is false by default; and running statistics, if they are to be kept. */
export type InstanceNormOptions = GroupNormOptions & TrackingOptions;

/**
 * Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016, arXiv 1607.08022): per example and channel
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the channel's positions, in evaluation too
 * unless running statistics are kept: then these take in the average over examples, as PyTorch's. One position is an error
 * in training.
 */
export class InstanceNorm extends Tracking {
  /** How many channels a minibatch has. */
  declare readonly channels: number;
  /** Where in a minibatch they lie. */
  declare readonly layout: Layout;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(channels: number, options?: InstanceNormOptions) {
    checkInteger("InstanceNorm", "channels", channels, 1, 2 ** 28);
    const who = `InstanceNorm(${channels})`;
    const o = readOptions(who, options, {
      eps: 1e-5,
      momentum: 0.1,
      affine: false,
      trackRunningStats: false,
      runningVariance: "unbiased",
      layout: "channels-first",
      activation: "none",
    });
    const layout = readLayout(who, o.layout);
    super(who, channels, o, perGroup(channels, channels, layout, 2, false));
    fix(this, { channels, layout });
  }
}
