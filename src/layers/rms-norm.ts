import type { Activation } from "../engine/activation.js";
import { checkBoolean, checkWord, fix, readOptions } from "../errors.js";
import { PerExample } from "./layer-norm.js";

/** The options of `new RMSNorm`. */
export interface RMSNormOptions {
  /** Added to the mean square; default 1e-6. */
  eps?: number | undefined;
  /** Whether gamma is learned (there is no beta); default true. */
  affine?: boolean | undefined;
  /** Whether gamma is stored about 0: what multiplies is `1 + gamma` (Gemma); default false. */
  zeroCenteredGamma?: boolean | undefined;
  /**
   * When a minibatch of 16 bits is rounded: "once", what comes out; "llama" also the normalized values, before gamma multiplies them, as
   * the Hugging Face models do whose figures are to be met; default "once".
   */
  casting?: "once" | "llama" | undefined;
  /** What comes last; default "none". */
  activation?: Activation | undefined;
}

/**
 * RMS normalization (Zhang & Sennrich 2019, arXiv 1910.07467): per example `y = gamma * x / sqrt(mean(x^2) + eps)`, the
 * mean over its trailing dimensions, gamma a value for each position there. Training and evaluation are the same.
 */
export class RMSNorm extends PerExample {
  /** When a minibatch of 16 bits is rounded. */
  declare readonly casting: "once" | "llama";

  /** @param normalizedShape the trailing dimensions, or the last one alone. @throws TypeError, RangeError */
  constructor(normalizedShape: number | readonly number[], options?: RMSNormOptions) {
    const o = readOptions("RMSNorm", options, {
      eps: 1e-6,
      affine: true,
      zeroCenteredGamma: false,
      casting: "once",
      activation: "none",
    });
    const casting = checkWord("RMSNorm", "casting", o.casting, "once", "llama");
    const gamma = checkBoolean("RMSNorm", "affine", o.affine);
    super("RMSNorm", normalizedShape, true, { ...o, affine: { gamma, beta: false } }, "channels-last");
    fix(this, { casting });
  }
}
