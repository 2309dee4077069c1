import { checkSize, lengthOf } from "../arrays.js";
import type { Context } from "../engine/context.js";
import { checkInteger, rangeError, typeError } from "../errors.js";
import { type Entry, type ReadState, readList, type StateDict } from "../state.js";

/** Which variance of a minibatch running statistics take in: PyTorch's, or that of Keras, TensorFlow and ONNX. */
export type RunningVariance = "unbiased" | "biased";

/**
 * The statistics that a layer keeps from minibatch to minibatch, in float64, and how many minibatches it has seen:
 * `running = (1 - momentum) * running + momentum * batch`.
 */
export class Running {
  mean: Float64Array;
  variance: Float64Array;
  batches = 0;
  skipped = 0;
  momentum: number | null;
  readonly #channels: number;
  readonly #unbiased: boolean;
  /** How many minibatches each channel has left out since `batches` was 0 or set; undefined while none has. */
  #missed: Float64Array | undefined;

  constructor(channels: number, momentum: number | null, runningVariance: RunningVariance) {
    this.mean = new Float64Array(channels);
    this.variance = new Float64Array(channels).fill(1);
    this.momentum = momentum;
    this.#channels = channels;
    this.#unbiased = runningVariance === "unbiased";
  }

  /** As at first. */
  reset(): void {
    this.mean.fill(0);
    this.variance.fill(1);
    this.setBatches(0);
  }

  setBatches(value: number): void {
    this.batches = value;
    this.#missed = undefined;
  }

  setMean(who: string, value: unknown): void {
    this.mean = Float64Array.from(readList(who, "runningMean", value, this.#channels), Number);
  }

  setVariance(who: string, value: unknown): void {
    this.variance = Float64Array.from(readList(who, "runningVar", value, this.#channels), Number);
  }

  check(who: string): void {
    checkSize(who, "runningMean", lengthOf(this.mean), this.#channels);
    checkSize(who, "runningVar", lengthOf(this.variance), this.#channels);
  }

  /** Brings the statistics to a context, for an evaluation: the same for each example that has its own. */
  place({ held, places }: Context): void {
    const { f64 } = held;
    const { mean, variance } = this;
    const { running, geometry } = places!;
    const m = running / 8;
    const v = m + (places!.variance - places!.mean) / 8;
    if (this.#channels > 16 || geometry.outer > 1) {
      for (let at = 0, n = this.#channels; at < n * geometry.outer; at += n) {
        f64.set(mean, m + at);
        f64.set(variance, v + at);
      }
    } else {
      for (let c = 0; c < mean.length; c++) {
        f64[m + c] = mean[c]!;
        f64[v + c] = variance[c]!;
      }
    }
  }

  /**
   * Takes a training minibatch's statistics in: where each example has its own, their averages, as PyTorch's instance norm.
   * A channel whose statistics are not finite keeps its own.
   */
  track({ held, places }: Context, count: number): void {
    this.batches++;
    const examples = places!.geometry.outer;
    const { f64 } = held;
    const m = places!.mean / 8;
    const v = places!.variance / 8;
    const factor = this.#unbiased ? count / (count - 1) : 1;
    for (let c = 0, n = this.#channels; c < n; c++) {
      // In this form equal minibatches have just their own average.
      let batchMean = f64[m + c]!;
      let batchVariance = f64[v + c]!;
      if (examples > 1) {
        for (let e = 1; e < examples; e++) {
          batchMean += (f64[m + e * n + c]! - batchMean) / (e + 1);
          batchVariance += (f64[v + e * n + c]! - batchVariance) / (e + 1);
        }
      }
      this.#take(c, batchMean, factor * batchVariance);
    }
  }

  /** Takes virtual batches in, one after the other (Hoffer et al. 2017); `counts` are the values behind the statistics of each. */
  trackEach({ held, places }: Context, counts: readonly number[]): void {
    const n = this.#channels;
    counts.forEach((count, e) => {
      if (count === 0) {
        this.skipAll();
        return;
      }
      this.batches++;
      const m = places!.mean / 8 + e * n;
      const v = places!.variance / 8 + e * n;
      const factor = this.#unbiased ? count / (count - 1) : 1;
      for (let c = 0; c < n; c++) this.#take(c, held.f64[m + c]!, factor * held.f64[v + c]!);
    });
  }

  #take(c: number, batchMean: number, batchVariance: number): void {
    const { mean, variance, momentum, batches } = this;
    const share = momentum ?? 1 / (batches - (this.#missed?.[c] ?? 0));
    const newMean = mean[c]! + share * (batchMean - mean[c]!);
    const newVariance = variance[c]! + share * (batchVariance - variance[c]!);
    if (Math.abs(newMean) + newVariance < Infinity) {
      mean[c] = newMean;
      variance[c] = newVariance;
    } else this.#skip(c);
  }

  #skip(channel: number): void {
    this.skipped++;
    this.#missed ??= new Float64Array(this.#channels);
    this.#missed[channel]!++;
  }

  /** A minibatch of which nothing counts: every channel keeps its own. */
  skipAll(): void {
    this.skipped += this.#channels;
  }

  /** A copy. @throws RangeError if they are unfit */
  copy(who: string): { mean: Float64Array; variance: Float64Array } {
    this.check(who);
    return { mean: this.mean.slice(), variance: this.variance.slice() };
  }

  /** The entries that a layer's state has of them, under PyTorch's names. */
  spec(): Record<string, Entry> {
    const length = this.#channels;
    return {
      running_mean: { length, wide: true },
      running_var: { length, least: 0, wide: true },
      num_batches_tracked: { length: 1, least: 0, whole: true, wide: true, optional: true },
    };
  }

  state(who: string): StateDict {
    const { mean, variance } = this.copy(who);
    return {
      running_mean: mean,
      running_var: variance,
      num_batches_tracked: Float64Array.of(this.batches),
    };
  }

  /** Takes entries that were read and checked, as far as they were there. @throws before anything has changed */
  restore(who: string, state: ReadState): void {
    this.check(who);
    if (state.running_mean) this.mean.set(state.running_mean);
    if (state.running_var) this.variance.set(state.running_var);
    if (state.num_batches_tracked) this.setBatches(state.num_batches_tracked[0]!);
  }

  /** @throws TypeError, RangeError unless it is a whole number */
  setCount(who: string, value: unknown): void {
    this.setBatches(checkInteger(who, "batchesTracked", value));
  }
}

/** @throws TypeError, RangeError unless `value` is a momentum */
export function readMomentum(who: string, value: unknown): number | null {
  if (value === null) return null;
  if (typeof value !== "number") throw typeError(who, "momentum to be a number from 0 to 1 or null", value);
  if (!(value >= 0 && value <= 1))
    throw rangeError(who, "momentum to be a number from 0 to 1 or null", value);
  return value;
}
