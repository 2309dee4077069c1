import { type GradientShares, gradientShares, type IdentityGap, identity, identityGap } from "../analysis.js";
import { checkVector, copyFrom, copyInto, copyOf } from "../arrays.js";
import { checkFinite, checkInteger, fix, readOptions, typeError } from "../errors.js";
import type { Block, Geometry } from "../passes.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Entry, StateDict } from "../state.js";
import type { Minibatch } from "./call.js";
import { type Activation, type Affine, Layer } from "./layer.js";
import { channelAxis, type Layout, matrixOf, readLayout } from "./layout.js";
import { type Flags, type Segments, segmentsOf } from "./mask.js";

/** The options of `new BatchNorm`. */
export interface BatchNormOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number;
  /** The weight of the new minibatch in the running statistics (PyTorch's sense), or null for their plain average; default 0.1. */
  momentum?: number | null;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine;
  /** Whether running statistics are kept for evaluation; default true. */
  trackRunningStats?: boolean;
  /** Default "channels-last". */
  layout?: Layout;
  /** What comes last, after the residual; default "none". */
  activation?: Activation;
}

/** Which statistics: the last training minibatch's, or the running ones. */
export type StatisticsSource = "batch" | "running";

/**
 * Batch normalization (Ioffe & Szegedy 2015, arXiv 1502.03167, algorithms 1 and 2): per channel
 * `y = gamma * (x - mu) / sqrt(var + eps) + beta`, mu and var (biased) over the minibatch in training, running
 * estimates in evaluation. Running statistics follow PyTorch: `new = (1 - momentum) * old + momentum * batch`, the
 * variance unbiased.
 */
export class BatchNorm extends Layer<{ residual?: Minibatch; mask?: Uint8Array | readonly boolean[] }> {
  /** How many channels a minibatch has. */
  declare readonly features: number;
  /** Where in a minibatch they lie. */
  declare readonly layout: Layout;
  /** The weight of the new minibatch in the running statistics; null for their plain average. */
  declare readonly momentum: number | null;
  /** Whether running statistics are kept. */
  declare readonly trackRunningStats: boolean;
  #batchesTracked = 0;
  #skippedUpdates = 0;
  #seen = false;
  #runningMean: Float32Array;
  #runningVar: Float32Array;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(features: number, options?: BatchNormOptions) {
    checkInteger("BatchNorm", "features", features, 0, 2 ** 28);
    const who = `BatchNorm(${features})`;
    const o = readOptions(who, options, {
      eps: 1e-5,
      momentum: 0.1,
      affine: true,
      trackRunningStats: true,
      layout: "channels-last",
      activation: "none",
    });
    super(who, features, o.eps, o.affine, o.activation);
    if (typeof o.trackRunningStats !== "boolean") {
      throw typeError(who, "trackRunningStats to be a boolean", o.trackRunningStats);
    }
    fix(this, {
      features,
      layout: readLayout(who, o.layout),
      momentum: o.momentum === null ? null : checkFinite(who, "momentum", o.momentum, 0, 1),
      trackRunningStats: o.trackRunningStats,
    });
    this.#runningMean = new Float32Array(features);
    this.#runningVar = new Float32Array(features).fill(1);
  }

  /** Training minibatches seen; may be set. @throws TypeError, RangeError unless it is a whole number */
  get batchesTracked(): number {
    return this.#batchesTracked;
  }

  set batchesTracked(value: number) {
    this.#batchesTracked = checkInteger(this.who, "batchesTracked", value);
  }

  /** How often a channel kept its running statistics because its minibatch's were not finite; may be set. */
  get skippedUpdates(): number {
    return this.#skippedUpdates;
  }

  set skippedUpdates(value: number) {
    this.#skippedUpdates = checkInteger(this.who, "skippedUpdates", value);
  }

  /** Running mean, a value a channel; may be replaced. */
  get runningMean(): Float32Array {
    this.checkAlive(`${this.who}.runningMean`);
    return this.#runningMean;
  }

  set runningMean(value: Float32Array) {
    this.checkAlive(`${this.who}.runningMean`);
    this.#runningMean = checkVector(this.who, "runningMean", value, this.features);
  }

  /** Running variance (unbiased), a value a channel; may be replaced. */
  get runningVar(): Float32Array {
    this.checkAlive(`${this.who}.runningVar`);
    return this.#runningVar;
  }

  set runningVar(value: Float32Array) {
    this.checkAlive(`${this.who}.runningVar`);
    this.#runningVar = checkVector(this.who, "runningVar", value, this.features);
  }

  protected override cut(who: string, shape: readonly number[]): Geometry {
    const { outer, inner } = channelAxis(who, shape, this.features, this.layout);
    return { outer: 1, rows: outer, groups: this.features, width: 1, length: inner, perElement: false };
  }

  protected override shapeOf(who: string, size: number): number[] {
    return matrixOf(who, size, this.features);
  }

  protected override leastCount(): number {
    return 2;
  }

  protected override addsResidual(): boolean {
    return true;
  }

  protected override frozen(who: string): boolean {
    if (this.trackRunningStats) this.#checkRunning(who);
    if (this.training) return false;
    if (!this.trackRunningStats) throw noStatistics(who);
    return true;
  }

  /** Running mean and variance as float32, then mean, variance and rstd as float64. */
  protected override keptBytes(): number {
    return 32 * (this.features + 16);
  }

  #places(kept: number) {
    const n = this.features + 16;
    return {
      mean32: kept,
      var32: kept + 4 * n,
      mean: kept + 8 * n,
      variance: kept + 16 * n,
      rstd: kept + 24 * n,
    };
  }

  protected override keptBlock(held: Runtime, kept: number, block: Block): Block {
    const { mean32, var32, mean, variance, rstd } = this.#places(kept);
    copyInto(held.f32, this.#runningMean, mean32 / 4);
    copyInto(held.f32, this.#runningVar, var32 / 4);
    held.kernels.promote(mean32, mean, this.features);
    held.kernels.promote(var32, variance, this.features);
    return { ...block, mean, variance, rstd };
  }

  protected override track(held: Runtime, kept: number, block: Block, count: number): void {
    this.#seen = true;
    if (!this.trackRunningStats) return;
    const { mean32, var32 } = this.#places(kept);
    copyInto(held.f32, this.#runningMean, mean32 / 4);
    copyInto(held.f32, this.#runningVar, var32 / 4);
    this.#batchesTracked++;
    const weight = this.momentum ?? 1 / this.#batchesTracked;
    const correction = count / (count - 1);
    const { mean, variance } = block;
    this.#skippedUpdates += held.kernels.updateRunning(
      mean,
      variance,
      this.features,
      weight,
      correction,
      mean32,
      var32,
    );
    copyFrom(held.f32, mean32 / 4, this.#runningMean);
    copyFrom(held.f32, var32 / 4, this.#runningVar);
  }

  /** The mean of the last training minibatch, a value a channel; null before one. */
  get batchMean(): Float32Array | null {
    return this.#batch("mean");
  }

  /** The variance (biased) of the last training minibatch, a value a channel; null before one. */
  get batchVar(): Float32Array | null {
    return this.#batch("variance");
  }

  #batch(which: "mean" | "variance"): Float32Array | null {
    this.checkAlive(`${this.who}.batchMean`);
    const last = this.lastStatistics();
    if (!last || !this.#seen) return null;
    const from = last.block[which] / 8;
    return Float32Array.from(last.held.f64.subarray(from, from + this.features));
  }

  /**
   * Sets gamma and beta to sqrt(var + eps) and the mean, so that forward returns its input: for the last training
   * minibatch ("batch"), or in evaluation mode for any ("running").
   *
   * @throws TypeError without gamma and beta; Error without the statistics
   */
  recoverIdentity(from: StatisticsSource = "batch"): void {
    const who = `${this.who}.recoverIdentity`;
    const { mean, variance } = this.#statistics(who, from);
    const own = this.vectors(who);
    if (!own.gamma || !own.beta) throw new TypeError(`${who}: expected a layer with gamma and beta`);
    const { gamma, beta } = identity(mean, variance, this.eps);
    copyInto(own.gamma.data, gamma);
    copyInto(own.beta.data, beta);
  }

  /** How far gamma and beta (1 and 0 where there are none) stand from undoing the normalization. @throws Error without the statistics */
  identityGap(from: StatisticsSource = "batch"): IdentityGap {
    const who = `${this.who}.identityGap`;
    const { mean, variance } = this.#statistics(who, from);
    const { gamma, beta } = this.vectors(who);
    return identityGap(gamma?.data ?? null, beta?.data ?? null, mean, variance, this.eps);
  }

  /**
   * How the energy of dy, a gradient for the last forward's y, falls on the mean, on xhat and on the rest, which alone
   * reaches dx. Nothing of the layer changes.
   *
   * @throws as `backward`
   */
  decomposeGradient(dy: Minibatch): GradientShares {
    const { sums, count, variance } = this.gradientSums(`${this.who}.decomposeGradient`, dy);
    return gradientShares(sums, count, variance, this.eps);
  }

  /**
   * What the layer is in evaluation mode: `y = scale * x + shift`, a value a channel.
   *
   * @throws TypeError without running statistics; RangeError where they, gamma or beta have a wrong length
   */
  toAffine(): { scale: Float32Array; shift: Float32Array } {
    const { scale, shift } = this.affine64(`${this.who}.toAffine`);
    return { scale: Float32Array.from(scale), shift: Float32Array.from(shift) };
  }

  /** @internal The same before it is rounded. */
  affine64(who: string): { scale: Float64Array; shift: Float64Array } {
    const { mean, variance } = this.#statistics(who, "running");
    const { gamma, beta } = this.vectors(who);
    const { features, eps } = this;
    const scale = Float64Array.from(
      { length: features },
      (_, c) => (gamma ? gamma.data[c]! : 1) / Math.sqrt(variance[c]! + eps),
    );
    return { scale, shift: scale.map((s, c) => (beta ? beta.data[c]! : 0) - s * mean[c]!) };
  }

  #statistics(who: string, from: unknown): { mean: ArrayLike<number>; variance: ArrayLike<number> } {
    if (from === "running" && this.trackRunningStats) {
      this.checkAlive(who);
      this.#checkRunning(who);
      return { mean: copyOf(this.#runningMean), variance: copyOf(this.#runningVar) };
    }
    if (from === "running") throw noStatistics(who);
    if (from !== "batch") throw typeError(who, 'statistics "batch" or "running"', from);
    this.checkAlive(who);
    const last = this.lastStatistics();
    if (!last || !this.#seen) throw new Error(`${who}: expected a training forward before it`);
    const at = (address: number) => last.held.f64.slice(address / 8, address / 8 + this.features);
    return { mean: at(last.block.mean), variance: at(last.block.variance) };
  }

  #checkRunning(who: string): void {
    checkVector(who, "runningMean", this.#runningMean, this.features);
    checkVector(who, "runningVar", this.#runningVar, this.features);
  }

  protected override stateSpec(): Record<string, Entry> {
    const length = this.features;
    if (!this.trackRunningStats) return super.stateSpec();
    return {
      ...super.stateSpec(),
      running_mean: { length },
      running_var: { length, least: 0 },
      num_batches_tracked: { length: 1, least: 0, whole: true },
    };
  }

  override stateDict(): StateDict {
    const dict = super.stateDict();
    if (!this.trackRunningStats) return dict;
    this.#checkRunning(`${this.who}.stateDict`);
    return {
      ...dict,
      running_mean: copyOf(this.#runningMean),
      running_var: copyOf(this.#runningVar),
      num_batches_tracked: Float32Array.of(this.#batchesTracked),
    };
  }

  protected override restore(who: string, state: StateDict): void {
    if (!this.trackRunningStats) return;
    this.#checkRunning(who);
    copyInto(this.#runningMean, state.running_mean!);
    copyInto(this.#runningVar, state.running_var!);
    this.#batchesTracked = state.num_batches_tracked![0]!;
  }

  protected override takesMask(): boolean {
    return true;
  }

  protected override segmentsOf(who: string, flags: Flags, { rows, length }: Geometry): Segments {
    return segmentsOf(who, flags, rows * length, length);
  }
}

const noStatistics = (who: string): TypeError =>
  new TypeError(`${who}: expected running statistics, got trackRunningStats: false`);
