import { checkBoolean, checkInteger, checkWord, fix } from "../errors.js";
import type { OwnFloat32Array } from "../own.js";
import type { Family } from "./core.js";
import { coreOf, Layer, useOf } from "./layer.js";
import { Running, type RunningVariance, readMomentum } from "./running.js";

/** The options of layers that may keep running statistics. */
export interface TrackingOptions {
  /** The weight of the new minibatch in the running statistics (PyTorch's sense), or null for their plain average; default 0.1. */
  momentum?: number | null | undefined;
  /** Whether running statistics are kept for evaluation; default true for batch norm, false for instance norm. */
  trackRunningStats?: boolean | undefined;
  /** Which variance of a minibatch running statistics take in; default "unbiased", as PyTorch; Keras, TensorFlow and ONNX take the biased. */
  runningVariance?: RunningVariance | undefined;
}

/** What batch and instance norm share: running statistics, a value a channel, where they are kept. */
export abstract class Tracking extends Layer {
  /** Whether running statistics are kept. */
  declare readonly trackRunningStats: boolean;
  /** Which variance of a minibatch running statistics take in. */
  declare readonly runningVariance: RunningVariance;
  readonly #running: Running;

  protected constructor(who: string, channels: number, options: Record<string, unknown>, family: Family) {
    const momentum = readMomentum(who, options.momentum);
    const trackRunningStats = checkBoolean(who, "trackRunningStats", options.trackRunningStats);
    const runningVariance = checkWord(who, "runningVariance", options.runningVariance, "unbiased", "biased");
    const running = new Running(channels, momentum, runningVariance);
    super(who, channels, options, { ...family, running: trackRunningStats ? running : undefined });
    fix(this, { trackRunningStats, runningVariance });
    this.#running = running;
  }

  /** The weight of the new minibatch in the running statistics; null for their plain average. May be set. @throws TypeError, RangeError */
  get momentum(): number | null {
    return this.#running.momentum;
  }

  set momentum(value: number | null) {
    this.#running.momentum = readMomentum(useOf(this, "momentum"), value);
  }

  /** Training minibatches seen; may be set. @throws TypeError, RangeError unless it is a whole number */
  get batchesTracked(): number {
    return this.#running.batches;
  }

  set batchesTracked(value: number) {
    this.#running.setCount(this.who, value);
  }

  /** How often a channel kept its running statistics because its minibatch's were not finite, or a mask left none; may be set. */
  get skippedUpdates(): number {
    return this.#running.skipped;
  }

  set skippedUpdates(value: number) {
    this.#running.skipped = checkInteger(this.who, "skippedUpdates", value);
  }

  /** Running mean, float64, a value a channel, live; may be replaced by any array of numbers, which is copied. */
  get runningMean(): Float64Array {
    useOf(this, "runningMean");
    return this.#running.mean;
  }

  set runningMean(value: ArrayLike<number>) {
    this.#running.setMean(useOf(this, "runningMean"), value);
  }

  /** Running variance, as `runningMean`. */
  get runningVar(): Float64Array {
    useOf(this, "runningVar");
    return this.#running.variance;
  }

  set runningVar(value: ArrayLike<number>) {
    this.#running.setVariance(useOf(this, "runningVar"), value);
  }

  /** Sets running mean, variance and count to what they were at first: 0, 1 and 0. */
  resetRunningStats(): void {
    useOf(this, "resetRunningStats");
    this.#running.reset();
  }

  /** The mean of the last training minibatch, a value a channel (for each virtual batch, or example of instance norm); null before one. */
  get batchMean(): OwnFloat32Array | null {
    useOf(this, "batchMean");
    const batch = coreOf(this).statistics("lastBatch");
    return batch && Float32Array.from(batch.mean);
  }

  /** The variance (biased) of the last training minibatch, a value a channel; null before one. */
  get batchVar(): OwnFloat32Array | null {
    useOf(this, "batchVar");
    const batch = coreOf(this).statistics("lastBatch");
    return batch && Float32Array.from(batch.variance);
  }

  /** A copy of the running statistics. @throws TypeError without them */
  protected copyRunning(who: string): { mean: Float64Array; variance: Float64Array } {
    if (!this.trackRunningStats)
      throw new TypeError(`${who}: expected running statistics, got trackRunningStats: false`);
    return this.#running.copy(who);
  }
}
