import { checkSize, copyFrom, copyInto, copyOf, lengthOf } from "../arrays.js";
import type { Block } from "../passes.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Entry, StateDict } from "../state.js";

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

  /** Bytes of linear memory: mean and variance as float32, then mean, variance and rstd as float64. */
  get bytes(): number {
    return 8 * this.#part;
  }

  /** The bytes of one of the float32 vectors. */
  get #part(): number {
    return 4 * (this.#channels + 16);
  }

  /** The block with these statistics, which lie at `address`, in place of a minibatch's. */
  blockAt(address: number, block: Block): Block {
    const part = this.#part;
    return { ...block, mean: address + 2 * part, variance: address + 4 * part, rstd: address + 6 * part };
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

  #load(held: Runtime, address: number): void {
    copyInto(held.f32, this.mean, address / 4);
    copyInto(held.f32, this.variance, (address + this.#part) / 4);
  }

  /** Brings the statistics to their block, for an evaluation. */
  place(held: Runtime, address: number, block: Block): void {
    this.#load(held, address);
    held.kernels.promote(address, block.mean, this.#channels);
    held.kernels.promote(address + this.#part, block.variance, this.#channels);
  }

  /** Takes a training minibatch's statistics in. */
  track(held: Runtime, address: number, { mean, variance }: Block, count: number): void {
    this.seen = true;
    if (!this.#tracks) return;
    this.#load(held, address);
    this.batches++;
    this.skipped += held.kernels.updateRunning(
      mean,
      variance,
      this.#channels,
      this.#momentum ?? 1 / this.batches,
      count / (count - 1),
      address,
      address + this.#part,
    );
    copyFrom(held.f32, address / 4, this.mean);
    copyFrom(held.f32, (address + this.#part) / 4, this.variance);
  }

  /** A copy. @throws TypeError without them, RangeError if they are unfit */
  copy(who: string): { mean: Float32Array; variance: Float32Array } {
    if (!this.#tracks) throw this.none(who);
    this.check(who);
    return { mean: copyOf(this.mean), variance: copyOf(this.variance) };
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
