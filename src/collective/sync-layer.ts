// What a synchronized layer keeps, apart from its passes: options, gamma and beta, running statistics, modes, state.
import { checkBoolean, checkFinite, checkInteger, checkWord, disposed, fix, readOptions } from "../errors.js";
import type { Moments } from "../functional.js";
import type { Affine, Parameter } from "../layers/parameters.js";
import type { Layout } from "./minibatch.js";
import { markSynchronized, readParameters, type Vectors } from "./parameters.js";
import { type Numbers, RunningStatistics, readNumbers } from "./running.js";
import { loadState, type StateDifference } from "./state.js";
import { type Collective, checkCollective } from "./types.js";

/** The options of `new SyncBatchNorm`: BatchNorm's, and over what. */
export interface SyncBatchNormOptions {
  /** The ranks that the minibatch is spread over. */
  collective: Collective;
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** The weight of the new minibatch in the running statistics (PyTorch's sense), or null for their plain average; default 0.1. */
  momentum?: number | null | undefined;
  /** Whether gamma and beta are learned; default both. */
  affine?: Affine | undefined;
  /** Whether running statistics are kept for evaluation; default true. */
  trackRunningStats?: boolean | undefined;
  /** What the running variance is an average of; default "unbiased", as in PyTorch. */
  runningVariance?: "unbiased" | "biased" | undefined;
  /** Default "channels-last". */
  layout?: Layout | undefined;
}

/** Gives a layer another's gamma and beta in place of its own. */
export let adopt: (layer: SyncLayer, vectors: Vectors) => void;

/** A layer's own, on each rank. */
export abstract class SyncLayer {
  /** How many channels a minibatch has. */
  declare readonly features: number;
  /** Added to the variance. */
  declare readonly eps: number;
  /** Where in a minibatch they lie. */
  declare readonly layout: Layout;
  /** The ranks that the minibatch is spread over. */
  declare readonly collective: Collective;
  /** Whether running statistics are kept. */
  declare readonly trackRunningStats: boolean;
  /** What the running variance is an average of. */
  declare readonly runningVariance: "unbiased" | "biased";
  protected readonly who: string;
  protected own: Vectors;
  protected readonly running: RunningStatistics;
  #momentum: number | null = 0.1;
  #training = true;
  #disposed = false;
  /** Of the last training minibatch, over all ranks. */
  protected batch: Moments | undefined;

  static {
    adopt = (layer, vectors) => {
      layer.own = vectors;
      for (const parameter of layer.parameters()) markSynchronized(parameter);
    };
  }

  /** @throws TypeError, RangeError for a wrong option */
  constructor(features: number, options: SyncBatchNormOptions) {
    checkInteger("SyncBatchNorm", "features", features, 1, 2 ** 28);
    const who = `SyncBatchNorm(${features})`;
    const o = readOptions(who, options, {
      collective: undefined,
      eps: 1e-5,
      momentum: 0.1,
      affine: true,
      trackRunningStats: true,
      runningVariance: "unbiased",
      layout: "channels-last",
    });
    this.who = who;
    fix(this, {
      features,
      collective: checkCollective(who, o.collective),
      eps: checkFinite(who, "eps", o.eps, 0),
      layout: checkWord(who, "layout", o.layout, "channels-last", "channels-first"),
      trackRunningStats: checkBoolean(who, "trackRunningStats", o.trackRunningStats),
      runningVariance: checkWord(who, "runningVariance", o.runningVariance, "unbiased", "biased"),
    });
    this.momentum = o.momentum as number | null;
    this.own = readParameters(who, features, o.affine);
    this.running = new RunningStatistics(features);
  }

  /** Learned scale, a value a channel, at first 1; null without. Its gradient is the whole minibatch's. */
  get gamma(): Parameter | null {
    this.use("gamma");
    return this.own.gamma;
  }

  /** Learned shift, a value a channel, at first 0; null without. Its gradient is the whole minibatch's. */
  get beta(): Parameter | null {
    this.use("beta");
    return this.own.beta;
  }

  /** gamma and beta, as far as they are there: what an optimizer takes. */
  parameters(): Parameter[] {
    this.use("parameters");
    return [this.own.gamma, this.own.beta].filter((parameter) => parameter !== null);
  }

  /** Sets the gradients of gamma and beta to zero. */
  zeroGrad(): void {
    for (const { grad } of this.parameters()) grad.fill(0);
  }

  /** Whether the layer is in training mode, as at first. */
  get training(): boolean {
    return this.#training;
  }

  /** From now on forward uses the minibatch's own statistics; with false, as `eval()`. */
  train(mode = true): this {
    this.#training = checkBoolean(this.use("train"), "mode", mode);
    return this;
  }

  /** From now on forward uses the running statistics, where there are any, and nothing is sent. */
  eval(): this {
    return this.train(false);
  }

  /** The weight of the new minibatch in the running statistics; null for their plain average. May be set, on all ranks. */
  get momentum(): number | null {
    return this.#momentum;
  }

  set momentum(value: number | null) {
    this.#momentum = value === null ? null : checkFinite(this.who, "momentum", value, 0, 1);
  }

  /** Running mean, a value a channel, live; any array of numbers may be assigned. */
  get runningMean(): Float64Array {
    this.use("runningMean");
    return this.running.mean;
  }

  set runningMean(value: Numbers) {
    this.running.mean = readNumbers(this.use("runningMean"), "runningMean", value, this.features);
  }

  /** Running variance, a value a channel, live; any array of numbers may be assigned. */
  get runningVar(): Float64Array {
    this.use("runningVar");
    return this.running.variance;
  }

  set runningVar(value: Numbers) {
    this.running.variance = readNumbers(this.use("runningVar"), "runningVar", value, this.features, 0);
  }

  /** Training minibatches seen. */
  get batchesTracked(): number {
    return this.running.batches;
  }

  /** How often a channel kept its running statistics because its minibatch's were not finite. */
  get skippedUpdates(): number {
    return this.running.skipped;
  }

  /** Sets the running statistics to their start: 0 and 1. */
  resetRunningStats(): void {
    this.use("resetRunningStats");
    this.running.reset();
  }

  /** The mean of the last training minibatch over all ranks, a value a channel; null before one. */
  get batchMean(): Float64Array | null {
    return this.batch ? this.batch.mean.slice() : null;
  }

  /** The biased variance of the last training minibatch over all ranks; null before one. */
  get batchVar(): Float64Array | null {
    const batch = this.batch;
    return batch ? batch.m2.map((m2) => m2 / batch.count) : null;
  }

  /** A copy of the layer's state under PyTorch's names. */
  stateDict(): Record<string, Float32Array | Float64Array> {
    this.use("stateDict");
    const { gamma, beta } = this.own;
    return {
      ...(gamma && { weight: gamma.data.slice() }),
      ...(beta && { bias: beta.data.slice() }),
      ...(this.trackRunningStats && this.running.state()),
    };
  }

  /**
   * Takes a state, BatchNorm's or this layer's, on every rank: arrays of finite numbers, typed or not.
   *
   * @param options with `strict: false`, entries may be missing and others there
   * @returns the names that are missing and those that are not known
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: Readonly<Record<string, Numbers>>, options?: { strict?: boolean }): StateDifference {
    const who = this.use("loadStateDict");
    const { strict } = readOptions(who, options, { strict: true });
    const running = this.trackRunningStats ? this.running : null;
    return loadState(who, dict, this.own, running, checkBoolean(who, "strict", strict));
  }

  /** Gives up what the layer keeps; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    this.#disposed = true;
    this.batch = undefined;
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** How errors call a use. @throws TypeError once disposed */
  protected use(name: string): string {
    const who = `${this.who}.${name}`;
    if (this.#disposed) throw disposed(who, "a layer");
    return who;
  }
}
