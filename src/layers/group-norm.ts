import { checkInteger, fix, rangeError, readOptions } from "../errors.js";
import { type Activation, Layer } from "./layer.js";
import { channelAxis, type Layout, readLayout } from "./layout.js";
import type { Affine } from "./parameters.js";

/** The options of `new GroupNorm`. */
export interface GroupNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether gamma and beta are learned, a value a channel; default both. */
  affine?: Affine;
  /** Default "channels-first". */
  layout?: Layout;
  /** What comes last; default "none". */
  activation?: Activation;
}

/** What group and instance norm share: statistics for each example over groups of channels, gamma and beta for each channel. */
export abstract class PerGroup extends Layer {
  /** Where in a minibatch the channels lie. */
  declare readonly layout: Layout;
  /** For the compiler alone, which else takes a BatchNorm for an InstanceNorm with more to it. */
  declare protected readonly perGroup: true;

  protected constructor(
    who: string,
    groups: number,
    channels: number,
    least: number,
    options: Record<string, unknown>,
  ) {
    const layout = readLayout(who, options.layout);
    const width = channels / groups;
    super(who, channels, options, {
      least,
      masked: false,
      cut: (who, shape) => {
        const { outer, inner } = channelAxis(who, shape, channels, layout);
        if (layout === "channels-first") {
          return { outer, rows: 1, groups, width, length: inner, perElement: false };
        }
        const examples = shape[0]!;
        return {
          outer: examples,
          rows: outer / (examples || 1),
          groups,
          width,
          length: 1,
          perElement: false,
        };
      },
      shapeOf: (who, size) => {
        throw rangeError(who, "a shape: a length does not say it", size);
      },
    });
    fix(this, { layout });
  }
}

/**
 * Group normalization (Wu & He 2018, arXiv 1803.08494): per example and group of channels
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the group's channels and positions, gamma and
 * beta a value a channel. A group of a single value gives exactly beta. Training and evaluation are the same.
 */
export class GroupNorm extends PerGroup {
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
    super(`GroupNorm(${groups}, ${channels})`, groups, channels, 1, o);
    fix(this, { groups });
  }
}
