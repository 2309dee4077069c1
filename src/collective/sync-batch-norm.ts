// Batch normalization whose minibatch lies on several ranks. Each rank takes the moments of its shard, all gather them,
// and each merges them in the order of ranks: the same bits everywhere, whatever order messages came in. Backward the
// same, with the two sums.
import { checkBoolean, readOptions } from "../errors.js";
import {
  backwardApply,
  backwardReduce,
  type Moments,
  mergeMoments,
  moments,
  normalize,
} from "../functional.js";
import type { Parameter } from "../layers/parameters.js";
import type { Tensor } from "../tensor.js";
import { exchange } from "./exchange.js";
import { likeGiven, readShard, readValues, type Shard } from "./minibatch.js";
import { SyncLayer } from "./sync-layer.js";

/** What a forward takes beside x. */
export type SyncForwardOptions =
  | readonly number[]
  | {
      /** Of this rank's shard; may be left out for a Tensor and for rows of `features` values. */
      shape?: readonly number[] | undefined;
      /** With false nothing is kept for backward, and what a former forward kept stays; default true. */
      save?: boolean | undefined;
      /** Whether the running statistics take this minibatch in; default true. */
      updateRunning?: boolean | undefined;
    };

/** What comes back for `T`. */
type Result<T> = T extends Tensor ? Tensor : Float32Array;

interface Saved {
  shard: Shard;
  statistics: Moments;
  /** Statistics that do not depend on this minibatch: dx has no terms for them. */
  frozen: boolean;
}

/**
 * Batch normalization over all ranks of a collective (PyTorch's SyncBatchNorm): what one BatchNorm gives for the shards
 * put one behind the other. Shards may be of different lengths, and empty. The gradients of gamma and beta are those of
 * the whole minibatch on every rank, so that `syncGradients` leaves them out.
 *
 * All ranks make the same calls in the same order. A call that fails on one fails on all and changes nothing.
 */
export class SyncBatchNorm extends SyncLayer {
  #busy = false;
  #calls = 0;
  #saved: Saved | undefined;

  /**
   * Normalizes this rank's shard of a minibatch. In training, or without running statistics, all ranks call it.
   *
   * @returns a new array, or a new Tensor where x is one
   * @throws TypeError, RangeError for a wrong argument, before anything is sent; RangeError on all ranks for a single
   *   value a channel over all of them
   * @throws CollectiveError on all ranks, where one is missing or makes another call
   */
  async forward<T extends Float32Array | Tensor>(x: T, options?: SyncForwardOptions): Promise<Result<T>> {
    const who = this.use("forward");
    const given = Array.isArray(options) ? { shape: options } : options;
    const o = readOptions(who, given, { shape: undefined, save: true, updateRunning: true });
    const save = checkBoolean(who, "save", o.save);
    const updateRunning = checkBoolean(who, "updateRunning", o.updateRunning);
    const shard = readShard(who, x, o.shape, this.features, this.layout);
    const result = (y: Float32Array) => likeGiven(y, shard, shard.Class) as Result<T>;
    this.#checkFree(who);
    if (!this.training && this.trackRunningStats) {
      // The least count that has a gradient: to a minibatch of one value dx is 0.
      const m2 = this.running.variance.map((variance) => 2 * variance);
      const statistics = { count: 2, mean: this.running.mean.slice(), m2 };
      const y = result(this.#normalize(shard, statistics));
      if (save) this.#saved = { shard, statistics, frozen: true };
      return y;
    }
    return this.#exclusively(who, async () => {
      const statistics = await this.#statistics(who, shard);
      const total = statistics.count;
      if (total === 1)
        throw new RangeError(`${who}: expected 2 or more values a channel over all ranks, got 1`);
      const y = result(this.#normalize(shard, statistics));
      if (this.training && total > 0) {
        this.batch = statistics;
        if (this.trackRunningStats && updateRunning) {
          this.running.track(statistics.mean, statistics.m2, total, this);
        }
      }
      if (save) this.#saved = { shard, statistics, frozen: false };
      return y;
    });
  }

  /**
   * The gradient with respect to the last forward's x, from that with respect to its y. Adds the whole minibatch's
   * gradients to `gamma.grad` and `beta.grad`, on every rank; all ranks call it, in evaluation too.
   *
   * @param options with `retain`, a further backward may follow
   * @returns a new array, or a new Tensor where dy is one
   * @throws Error without a forward before it; TypeError, RangeError for a wrong dy, before anything is sent
   * @throws CollectiveError on all ranks, where one is missing or makes another call
   */
  async backward<T extends Float32Array | Tensor>(dy: T, options?: { retain?: boolean }): Promise<Result<T>> {
    const who = this.use("backward");
    const { retain } = readOptions(who, options, { retain: false });
    const keep = checkBoolean(who, "retain", retain);
    if (!this.#saved) throw new Error(`${who}: expected a forward before it`);
    const saved = this.#saved;
    const { values: gradient, Class } = readValues(who, "dy", dy);
    const { x } = saved.shard;
    if (gradient.length !== x.length) {
      throw new RangeError(`${who}: expected dy to have ${x.length} values, got ${gradient.length}`);
    }
    return this.#exclusively(who, async () => {
      const { dbeta, dgamma } = await this.#sums(who, saved, gradient);
      const dx = likeGiven(this.#apply(saved, gradient, dbeta, dgamma), saved.shard, Class) as Result<T>;
      add(this.own.beta, dbeta);
      add(this.own.gamma, dgamma);
      if (!keep) this.#saved = undefined;
      return dx;
    });
  }

  /** The moments of all shards together. */
  async #statistics(who: string, shard: Shard): Promise<Moments> {
    const { features } = this;
    const { x, shape, axes } = shard;
    const empty: Moments = { count: 0, mean: new Float64Array(features), m2: new Float64Array(features) };
    const own = x.length > 0 ? moments(x, shape, { axes }) : empty;
    const gathered = await this.#exchange(who, "forward", shard, [[own.count], own.mean, own.m2]);
    return gathered
      .map((values) => ({
        count: values[0]!,
        mean: values.slice(1, 1 + features),
        m2: values.slice(1 + features),
      }))
      .reduce(mergeMoments, empty);
  }

  /** The sums over dy and dy * xhat of all shards together: the gradients of beta and gamma. */
  async #sums(who: string, { shard, statistics, frozen }: Saved, dy: Float32Array) {
    const { features } = this;
    const { x, shape } = shard;
    const own =
      x.length > 0
        ? backwardReduce(x, dy, shape, statistics, this.#options(shard, null))
        : { dbeta: new Float64Array(features), dgamma: new Float64Array(features) };
    const call = frozen ? "backward in evaluation" : "backward";
    const sums = { dbeta: new Float64Array(features), dgamma: new Float64Array(features) };
    for (const values of await this.#exchange(who, call, shard, [own.dbeta, own.dgamma])) {
      for (let c = 0; c < features; c++) {
        sums.dbeta[c]! += values[c]!;
        sums.dgamma[c]! += values[features + c]!;
      }
    }
    return sums;
  }

  #exchange(who: string, call: string, shard: Shard, parts: ArrayLike<number>[]): Promise<Float64Array[]> {
    const { features, eps, layout, trackRunningStats, runningVariance } = this;
    const values = new Float64Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      values.set(part, at);
      at += part.length;
    }
    const description = {
      ...{ layer: "SyncBatchNorm", call, step: this.#calls, features, normalized: shard.inner, layout, eps },
      ...{ momentum: this.momentum ?? "none", trackRunningStats, runningVariance, training: this.training },
    };
    return exchange(who, this.collective, description, values);
  }

  #options({ axes, parameterAxes }: Shard, gamma: Float32Array | null, beta: Float32Array | null = null) {
    return { axes, parameterAxes, eps: this.eps, gamma, beta };
  }

  #normalize(shard: Shard, statistics: Moments): Float32Array {
    if (shard.x.length === 0) return new Float32Array(0);
    const { gamma, beta } = this.own;
    return normalize(
      shard.x,
      shard.shape,
      statistics,
      this.#options(shard, gamma?.data ?? null, beta?.data ?? null),
    );
  }

  #apply({ shard, statistics, frozen }: Saved, dy: Float32Array, dbeta: Float64Array, dgamma: Float64Array) {
    if (shard.x.length === 0) return new Float32Array(0);
    const gamma = this.own.gamma?.data ?? null;
    // Each channel has a gamma of its own: what its sums over gamma * dy are, follows from those over dy.
    const scaled = (sums: Float64Array) => sums.map((sum, c) => (frozen ? 0 : gamma ? gamma[c]! * sum : sum));
    const sums = { sumDy: scaled(dbeta), sumDyXhat: scaled(dgamma) };
    return backwardApply(shard.x, dy, shard.shape, statistics, sums, this.#options(shard, gamma));
  }

  /** Gives up what the layer keeps; a second call does nothing, any other use is an error from then on. */
  override dispose(): void {
    super.dispose();
    this.#saved = undefined;
  }

  #checkFree(who: string): void {
    if (this.#busy) throw new Error(`${who}: expected the former call to be awaited before it`);
  }

  /** Runs a call with all ranks: one at a time, since their order is what ties the ranks' calls together. */
  async #exclusively<T>(who: string, work: () => Promise<T>): Promise<T> {
    this.#checkFree(who);
    this.#busy = true;
    try {
      const result = await work();
      this.#calls++;
      return result;
    } finally {
      this.#busy = false;
    }
  }
}

function add(parameter: Parameter | null, sums: Float64Array): void {
  sums.forEach((sum, c) => {
    if (parameter) parameter.grad[c]! += sum;
  });
}
