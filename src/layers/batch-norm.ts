import {
  type GradientShares,
  gradientShares,
  type IdentityGap,
  identity,
  identityGap,
} from "../analysis/gap.js";
import { copyInto } from "../arrays.js";
import type { Activation } from "../engine/activation.js";
import type { Minibatch } from "../engine/operand.js";
import { checkInteger, checkWord, fix, rangeError, readOptions, typeError } from "../errors.js";
import { checkWhole, gradientSums } from "./gradient-sums.js";
import { coreOf, useOf } from "./layer.js";
import { channelAxis, type Layout, matrixOf, readLayout } from "./layout.js";
import type { Affine } from "./parameters.js";
import { Renorm, type RenormOptions } from "./renorm.js";
import { Tracking, type TrackingOptions } from "./tracking.js";

/** The options of `new BatchNorm`. */
export interface BatchNormOptions extends TrackingOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine | undefined;
  /** Default "channels-last". */
  layout?: Layout | undefined;
  /** What comes last, after the residual; default "none". */
  activation?: Activation | undefined;
  /** Batch renormalization (Ioffe 2017, arXiv 1702.03275) with these bounds; default none. */
  renorm?: RenormOptions | null | undefined;
  /** How many consecutive examples share their statistics in training (ghost batches, Hoffer et al. 2017); default all. */
  virtualBatchSize?: number | null | undefined;
}

/** Which statistics: the last training minibatch's, or the running ones. */
export type StatisticsSource = "batch" | "running";

/**
 * Batch normalization (Ioffe & Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2): per channel
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the minibatch in training, running
 * estimates in evaluation. Running statistics follow PyTorch: `new = (1 - momentum) * old + momentum * batch`, the
 * variance unbiased.
 *
 * With `renorm` (Ioffe 2017, arXiv 1702.03275, algorithm 1) training gives `gamma * (xhat * r + d) + beta`, where
 * `r = sigmaB / sigma` and `d = (muB - mu) / sigma`, within bounds, lead from the minibatch's statistics to the running ones as
 * they were before it; sigma is `sqrt(var + eps)`. Backward takes r and d as constants.
 *
 * With `virtualBatchSize` (Hoffer, Hubara & Soudry 2017, arXiv 1705.08741) training normalizes each so many consecutive examples
 * by their own statistics, and the running ones take in one after the other. The number of examples must be a multiple of it, as in
 * TensorFlow.
 */
export class BatchNorm extends Tracking {
  /** How many channels a minibatch has. */
  declare readonly features: number;
  /** Where in a minibatch they lie. */
  declare readonly layout: Layout;
  /** The bounds of batch renormalization, which may be set; null without. */
  declare readonly renorm: Renorm | null;
  /** How many consecutive examples share their statistics in training; null for all. */
  declare readonly virtualBatchSize: number | null;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(features: number, options?: BatchNormOptions) {
    checkInteger("BatchNorm", "features", features, 0, 2 ** 28);
    const who = `BatchNorm(${features})`;
    const o = readOptions(who, options, {
      eps: 1e-5,
      momentum: 0.1,
      affine: true,
      trackRunningStats: true,
      runningVariance: "unbiased",
      layout: "channels-last",
      activation: "none",
      renorm: null,
      virtualBatchSize: null,
    });
    const layout = readLayout(who, o.layout);
    const size =
      o.virtualBatchSize === null ? null : checkInteger(who, "virtualBatchSize", o.virtualBatchSize, 1);
    const renorm = o.renorm === null ? null : new Renorm(who, o.renorm);
    if (renorm && !o.trackRunningStats)
      throw typeError(who, "no renorm without the running statistics that it corrects towards", o.renorm);
    if (renorm && size !== null)
      throw typeError(
        who,
        "no virtualBatchSize with renorm, which takes away the noise that it is to bring",
        size,
      );
    super(who, features, o, {
      least: 2,
      streamed: false,
      virtual: size !== null,
      renorm: renorm ?? undefined,
      cut: (who, shape, training) => {
        const { outer: rows, inner: length } = channelAxis(who, shape, features, layout);
        const outer = training && size !== null ? shape[0]! / size : 1;
        if (!Number.isInteger(outer))
          throw rangeError(who, `a multiple of virtualBatchSize ${size} examples`, shape);
        return {
          outer,
          rows: outer ? rows / outer : rows,
          groups: features,
          width: 1,
          length,
          perElement: false,
        };
      },
      shapeOf: (who, size) => {
        if (layout === "channels-first") throw rangeError(who, "a shape: a length does not say it", size);
        return matrixOf(who, size, features);
      },
    });
    fix(this, { features, layout, renorm, virtualBatchSize: size });
  }

  /**
   * Sets gamma and beta to sqrt(var + eps) and the mean, so that forward returns its input: for the last training
   * minibatch ("batch"), or in evaluation mode for any ("running").
   *
   * @throws TypeError without gamma and beta; Error without the statistics; RangeError for those of several virtual batches
   */
  recoverIdentity(from: StatisticsSource = "batch"): void {
    const who = useOf(this, "recoverIdentity");
    const { mean, variance } = this.#statistics(who, from);
    const own = coreOf(this).learned.read(who);
    if (!own.gamma || !own.beta) throw new TypeError(`${who}: expected a layer with gamma and beta`);
    const { gamma, beta } = identity(mean, variance, this.eps);
    copyInto(own.gamma.data, gamma);
    copyInto(own.beta.data, beta);
  }

  /**
   * How far gamma and beta stand from undoing the normalization; where there are none, 1 and 0 do.
   *
   * @throws Error without the statistics; RangeError for those of several virtual batches
   */
  identityGap(from: StatisticsSource = "batch"): IdentityGap {
    const who = useOf(this, "identityGap");
    const { mean, variance } = this.#statistics(who, from);
    const { gamma, beta } = coreOf(this).learned.read(who);
    return identityGap(gamma?.data ?? null, beta?.data ?? null, mean, variance, this.eps);
  }

  /**
   * How the energy of dy, a gradient for the last forward's y, falls on the mean, on xhat and on the rest, which alone
   * reaches dx. Nothing of the layer changes.
   *
   * @throws as `backward`; RangeError for several virtual batches
   */
  decomposeGradient(dy: Minibatch): GradientShares {
    const { sums, count, variance } = gradientSums(coreOf(this), useOf(this, "decomposeGradient"), dy);
    return gradientShares(sums, count, variance, this.eps);
  }

  /**
   * What the layer is in evaluation mode: `y = scale * x + shift`, a value a channel.
   *
   * @throws TypeError without running statistics; RangeError where they, gamma or beta have a wrong length
   */
  toAffine(): { scale: Float32Array; shift: Float32Array } {
    const { scale, shift } = this.affine64(useOf(this, "toAffine"));
    return { scale: Float32Array.from(scale), shift: Float32Array.from(shift) };
  }

  /** @internal The same before it is rounded. */
  affine64(who: string): { scale: Float64Array; shift: Float64Array } {
    const { mean, variance } = this.#statistics(who, "running");
    const { gamma, beta } = coreOf(this).learned.read(who);
    const { features, eps } = this;
    const scale = Float64Array.from(
      { length: features },
      (_, c) => (gamma ? gamma.data[c]! : 1) / Math.sqrt(variance[c]! + eps),
    );
    return { scale, shift: scale.map((s, c) => (beta ? beta.data[c]! : 0) - s * mean[c]!) };
  }

  #statistics(who: string, from: unknown): { mean: ArrayLike<number>; variance: ArrayLike<number> } {
    if (checkWord(who, "statistics", from, "batch", "running") === "running") return this.copyRunning(who);
    const { correction } = coreOf(this);
    const batch = coreOf(this).statistics("lastBatch");
    if (!batch) throw new Error(`${who}: expected a training forward before it`);
    const { mean, variance } = batch;
    if (this.virtualBatchSize !== null) checkWhole(who, mean.length / (this.features || 1));
    if (!correction) return batch;
    // Those that normalized x: xhat * r + d is (x - mean) / sigma with another mean and sigma.
    const { r, d } = correction;
    const sigma = variance.map((value, c) => Math.sqrt(value + this.eps) / r[c]!);
    return {
      mean: mean.map((value, c) => value - d[c]! * sigma[c]!),
      variance: sigma.map((value) => value * value - this.eps),
    };
  }
}
