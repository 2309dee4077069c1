import { checkSize, copyInto, copyOf, lengthOf } from "../arrays.js";
import type { Block } from "../passes.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Entry, StateDict } from "../state.js";
import { blend, LOOPED } from "./blend.js";

/** The statistics that batch norm keeps from minibatch to minibatch, and how many it has seen. */
export class Running {
  mean: Float32Array;
  variance: Float32Array;
  batches = 0;
  skipped = 0;
  /** Whether there was a training minibatch, whose statistics the layer's block then holds. */
  seen = false;
  readonly #channels: number;
  readonly #momentum: number | null;
  readonly #tracks: boolean;

  constructor(channels: number, momentum: number | null, tracks: boolean) {
    this.mean = new Float32Array(channels);
    this.variance = new Float32Array(channels).fill(1);
    this.#channels = channels;
    this.#momentum = momentum;
    this.#tracks = tracks;
  }

  /** The float64 values of one vector in linear memory. */
  get #room(): number {
    return this.#channels + 16;
  }

  /** Bytes of linear memory: mean, variance and rstd in float64, for evaluation. */
  get bytes(): number {
    return 24 * this.#room;
  }

  /** The block with these statistics, which lie at `address`, in place of a minibatch's. */
  blockAt(address: number, block: Block): Block {
    const part = 8 * this.#room;
    return { ...block, mean: address, variance: address + part, rstd: address + 2 * part };
  }

  check(who: string): void {
    // What else they are was seen when they were set.
    checkSize(who, "runningMean", lengthOf(this.mean), this.#channels);
    checkSize(who, "runningVar", lengthOf(this.variance), this.#channels);
  }

  /** Whether the next forward uses these statistics. @throws TypeError, RangeError if they are unfit */
  serves(who: string, training: boolean): boolean {
    if (this.#tracks) this.check(who);
    else if (!training) throw this.none(who);
    return !training;
  }

  none(who: string): TypeError {
    return new TypeError(`${who}: expected running statistics, got trackRunningStats: false`);
  }

  /** Brings the statistics to their block, for an evaluation. */
  place({ f64 }: Runtime, { mean, variance }: Block): void {
    copyInto(f64, this.mean, mean / 8, this.#channels);
    copyInto(f64, this.variance, variance / 8, this.#channels);
  }

  /**
   * Takes a training minibatch's statistics, in `block`, in: `running = (1 - momentum) * running + momentum * batch`, the
   * variance unbiased. A channel whose statistics are not finite, or do not fit float32, keeps its own.
   */
  track(held: Runtime, block: Block, count: number): void {
    this.seen = true;
    if (!this.#tracks) return;
    this.batches++;
    const { mean, variance } = this;
    const momentum = this.#momentum ?? 1 / this.batches;
    const n = this.#channels;
    const rest = 1 - momentum;
    const unbiased = (momentum * count) / (count - 1);
    const { mean: m, variance: v, work } = block;
    if (n > LOOPED) {
      this.skipped += blend(held, work, n, mean, variance, m, v, rest, momentum, unbiased, 0);
    } else {
      const { f64 } = held;
      for (let i = 0; i < n; i++) {
        const newMean = Math.fround(rest * mean[i]! + momentum * f64[m / 8 + i]!);
        const newVariance = Math.fround(rest * variance[i]! + unbiased * f64[v / 8 + i]!);
        if (Math.abs(newMean) + newVariance < Infinity) {
          mean[i] = newMean;
          variance[i] = newVariance;
        } else this.skipped++;
      }
    }
  }

  /** A copy. @throws TypeError without them, RangeError if they are unfit */
  copy(who: string): { mean: Float32Array; variance: Float32Array } {
    if (!this.#tracks) throw this.none(who);
    this.check(who);
    return { mean: copyOf(this.mean, this.#channels), variance: copyOf(this.variance, this.#channels) };
  }

  /** The entries that a layer's state has of them, under PyTorch's names. */
  spec(): Record<string, Entry> {
    const length = this.#channels;
    if (!this.#tracks) return {};
    return {
      running_mean: { length },
      running_var: { length, least: 0 },
      num_batches_tracked: { length: 1, least: 0, whole: true },
    };
  }

  state(who: string): StateDict {
    if (!this.#tracks) return {};
    const { mean, variance } = this.copy(who);
    return {
      running_mean: mean,
      running_var: variance,
      num_batches_tracked: Float32Array.of(this.batches),
    };
  }

  /** Takes entries that were read and checked. @throws before anything has changed */
  restore(who: string, state: StateDict): void {
    if (!this.#tracks) return;
    this.check(who);
    copyInto(this.mean, state.running_mean!);
    copyInto(this.variance, state.running_var!);
    this.batches = state.num_batches_tracked![0]!;
  }
}
