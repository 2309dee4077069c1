import { sizeOf } from "../arrays.js";
import type { Activation } from "../engine/activation.js";
import { checkBoolean, checkInteger, describe, fix, rangeError, readOptions, readShape } from "../errors.js";
import { Layer } from "./layer.js";
import { channelAxis, type Layout, matrixOf, readLayout } from "./layout.js";
import type { Affine } from "./parameters.js";

/** The options of `new LayerNorm`. */
export interface LayerNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine | undefined;
  /** Whether gamma is stored about 0: what multiplies is `1 + gamma` (Gemma, Transformer Engine); default false. */
  zeroCenteredGamma?: boolean | undefined;
  /**
   * "channels-first": `normalizedShape` is a number C, and statistics are over C at each position of `[N, C, ...]` (ConvNeXt);
   * default "channels-last".
   */
  layout?: Layout | undefined;
  /** What comes last; default "none". */
  activation?: Activation | undefined;
}

/**
 * What layer and RMS norm share: statistics for each example over its trailing dimensions, gamma and beta for each
 * position in them.
 */
export abstract class PerExample extends Layer {
  /** The trailing dimensions that are normalized over. */
  declare readonly normalizedShape: readonly number[];
  /** Where the normalized dimension lies. */
  declare readonly layout: Layout;
  /** Whether what multiplies is `1 + gamma`. */
  declare readonly zeroCenteredGamma: boolean;

  protected constructor(
    name: string,
    normalizedShape: unknown,
    rms: boolean,
    options: Record<string, unknown>,
    layout: Layout,
  ) {
    const shape =
      typeof normalizedShape === "number"
        ? [checkInteger(name, "normalizedShape", normalizedShape)]
        : readShape(name, normalizedShape);
    const length = checkInteger(name, "the product of normalizedShape", sizeOf(shape), 1, 2 ** 28);
    const first = layout === "channels-first";
    if (first && shape.length !== 1)
      throw rangeError(name, "normalizedShape to be a number for channels-first", shape);
    const centered = checkBoolean(name, "zeroCenteredGamma", options.zeroCenteredGamma);
    super(`${name}(${describe(shape)})`, length, options, {
      least: 1,
      rows: shape.length,
      streamed: true,
      gammaOffset: centered ? 1 : 0,
      casting: options.casting === "llama",
      cut: (who, whole) => {
        if (first) {
          const { outer, inner } = channelAxis(who, whole, length, layout);
          const turned = outer;
          return {
            outer: outer * inner,
            rows: 1,
            groups: 1,
            width: 1,
            length,
            perElement: true,
            rms,
            turned,
          };
        }
        const lead = whole.length - shape.length;
        if (lead < 0 || shape.some((extent, i) => extent !== whole[lead + i])) {
          throw rangeError(who, `a shape that ends in ${describe([...shape])}`, whole);
        }
        const outer = sizeOf(whole.slice(0, lead));
        return { outer, rows: 1, groups: 1, width: 1, length, perElement: true, rms };
      },
      shapeOf: (who, size) => {
        if (first) throw rangeError(who, "a shape: a length does not say it", size);
        return [matrixOf(who, size, length)[0]!, ...shape];
      },
    });
    fix(this, { normalizedShape: Object.freeze(shape), layout, zeroCenteredGamma: centered });
  }
}

/**
 * Layer normalization (Ba, Kiros & Hinton 2016, arXiv 1607.06450): per example
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over its trailing dimensions, gamma and beta a
 * value for each position there. Training and evaluation are the same.
 */
export class LayerNorm extends PerExample {
  /** @param normalizedShape the trailing dimensions, or the last one alone. @throws TypeError, RangeError */
  constructor(normalizedShape: number | readonly number[], options?: LayerNormOptions) {
    const o = readOptions("LayerNorm", options, {
      eps: 1e-5,
      affine: true,
      zeroCenteredGamma: false,
      layout: "channels-last",
      activation: "none",
    });
    super("LayerNorm", normalizedShape, false, o, readLayout("LayerNorm", o.layout));
  }
}
