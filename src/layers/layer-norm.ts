import { sizeOf } from "../arrays.js";
import { checkInteger, describe, fix, rangeError, readOptions, readShape } from "../errors.js";
import { type Activation, Layer } from "./layer.js";
import { matrixOf } from "./layout.js";
import type { Affine } from "./parameters.js";

/** The options of `new LayerNorm`. */
export interface LayerNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine | undefined;
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

  protected constructor(
    name: string,
    normalizedShape: unknown,
    rms: boolean,
    options: Record<string, unknown>,
  ) {
    const shape =
      typeof normalizedShape === "number"
        ? [checkInteger(name, "normalizedShape", normalizedShape)]
        : readShape(name, normalizedShape);
    const length = checkInteger(name, "the product of normalizedShape", sizeOf(shape), 1, 2 ** 28);
    super(`${name}(${describe(shape)})`, length, options, {
      least: 1,
      masked: false,
      cut: (who, whole) => {
        const lead = whole.length - shape.length;
        if (lead < 0 || shape.some((extent, i) => extent !== whole[lead + i])) {
          throw rangeError(who, `a shape that ends in ${describe([...shape])}`, whole);
        }
        const outer = sizeOf(whole.slice(0, lead));
        return { outer, rows: 1, groups: 1, width: 1, length, perElement: true, rms };
      },
      shapeOf: (who, size) => [matrixOf(who, size, length)[0]!, ...shape],
    });
    fix(this, { normalizedShape: Object.freeze(shape) });
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
    super(
      "LayerNorm",
      normalizedShape,
      false,
      readOptions("LayerNorm", options, { eps: 1e-5, affine: true, activation: "none" }),
    );
  }
}
