import { sizeOf } from "../arrays.js";
import { checkInteger, describe, fix, rangeError, readOptions, readShape } from "../errors.js";
import type { Geometry } from "../passes.js";
import { type Activation, type Affine, Layer } from "./layer.js";
import { matrixOf } from "./layout.js";

/** The options of `new LayerNorm`. */
export interface LayerNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine;
  /** What comes last; default "none". */
  activation?: Activation;
}

/**
 * What layer and RMS norm share: statistics for each example over its trailing dimensions, gamma and beta for each
 * position in them.
 */
export abstract class PerExample extends Layer {
  /** The trailing dimensions that are normalized over. */
  declare readonly normalizedShape: readonly number[];
  readonly #rms: boolean;

  protected constructor(
    name: string,
    normalizedShape: unknown,
    rms: boolean,
    options: Record<string, unknown>,
  ) {
    const shape =
      typeof normalizedShape === "number"
        ? [checkInteger(name, "normalizedShape", normalizedShape, 1, 2 ** 28)]
        : readShape(name, normalizedShape);
    if (sizeOf(shape) === 0) throw rangeError(name, "normalizedShape without a 0", shape);
    if (sizeOf(shape) > 2 ** 28)
      throw rangeError(name, `normalizedShape of at most ${2 ** 28} values`, shape);
    super(`${name}(${describe(shape)})`, sizeOf(shape), options.eps, options.affine, options.activation);
    fix(this, { normalizedShape: Object.freeze(shape) });
    this.#rms = rms;
  }

  protected override cut(who: string, shape: readonly number[]): Geometry {
    const { normalizedShape } = this;
    const lead = shape.length - normalizedShape.length;
    if (lead < 0 || normalizedShape.some((extent, i) => extent !== shape[lead + i])) {
      throw rangeError(who, `a shape that ends in ${describe([...normalizedShape])}`, shape);
    }
    const outer = sizeOf(shape.slice(0, lead));
    return { outer, rows: 1, groups: 1, width: 1, length: this.channels, perElement: true, rms: this.#rms };
  }

  protected override shapeOf(who: string, size: number): number[] {
    const [rows] = matrixOf(who, size, this.channels);
    return [rows!, ...this.normalizedShape];
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
