import type { Activation } from "../engine/activation.js";
import { checkInteger, fix, rangeError, readOptions } from "../errors.js";
import type { Family } from "./core.js";
import { Layer } from "./layer.js";
import { channelAxis, type Layout, readLayout } from "./layout.js";
import type { Affine } from "./parameters.js";

/** The options of `new GroupNorm`. */
export interface GroupNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Whether gamma and beta are learned, a value a channel; default both. */
  affine?: Affine | undefined;
  /** Default "channels-first". */
  layout?: Layout | undefined;
  /** What comes last; default "none". */
  activation?: Activation | undefined;
}

/** How group and instance norm cut a minibatch: statistics for each example over groups of channels, gamma and beta for each channel. */
export function perGroup(
  groups: number,
  channels: number,
  layout: Layout,
  least: number,
  streamed: boolean,
): Family {
  const width = channels / groups;
  return {
    least,
    streamed,
    cut: (who, shape) => {
      const { outer, inner } = channelAxis(who, shape, channels, layout);
      if (layout === "channels-first")
        return { outer, rows: 1, groups, width, length: inner, perElement: false };
      const examples = shape[0]!;
      const rows = outer / (examples || 1);
      return { outer: examples, rows, groups, width, length: 1, perElement: false };
    },
    shapeOf: (who, size) => {
      throw rangeError(who, "a shape: a length does not say it", size);
    },
  };
}

/**
 * Group normalization (Wu & He 2018, arXiv 1803.08494): per example and group of channels
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the group's channels and positions, gamma and
 * beta a value a channel. A group of a single value gives exactly beta. Training and evaluation are the same.
 */
export class GroupNorm extends Layer {
  /** Where in a minibatch the channels lie. */
  declare readonly layout: Layout;
  /** How many groups the channels make. */
  declare readonly groups: number;

  /** @throws TypeError, RangeError, also where the groups do not divide the channels */
  constructor(groups: number, channels: number, options?: GroupNormOptions) {
    checkInteger("GroupNorm", "channels", channels, 1, 2 ** 28);
    checkInteger("GroupNorm", "groups", groups, 1, channels);
    if (channels % groups) throw rangeError("GroupNorm", `groups to divide ${channels} channels`, groups);
    const o = readOptions("GroupNorm", options, {
      eps: 1e-5,
      affine: true,
      layout: "channels-first",
      activation: "none",
    });
    const who = `GroupNorm(${groups}, ${channels})`;
    const layout = readLayout(who, o.layout);
    super(who, channels, o, perGroup(groups, channels, layout, 1, true));
    fix(this, { groups, layout });
  }
}
