import { checkInteger, readOptions } from "../errors.js";
import { type GroupNormOptions, PerGroup } from "./group-norm.js";

/** As of group norm, but `affine` is false by default. */
export type InstanceNormOptions = GroupNormOptions;

/**
 * Instance normalization (Ulyanov, Vedaldi & Lempitsky 2016, arXiv 1607.08022): per example and channel
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the channel's positions. No running
 * statistics are kept: training and evaluation differ in that one position is an error in training.
 */
export class InstanceNorm extends PerGroup {
  /** @throws TypeError, RangeError for a wrong option */
  constructor(channels: number, options?: InstanceNormOptions) {
    checkInteger("InstanceNorm", "channels", channels, 1, 2 ** 28);
    const o = readOptions("InstanceNorm", options, {
      eps: 1e-5,
      affine: false,
      layout: "channels-first",
      activation: "none",
    });
    super(`InstanceNorm(${channels})`, channels, channels, 2, o);
  }
}
