import { typeError } from "../errors.js";
import { readRun, walk } from "./streams.js";

/** A layer with running statistics, as far as `recalibrate` goes: BatchNorm, and InstanceNorm that tracks. */
export interface Recalibratable {
  /** Whether forwards move the running statistics. */
  readonly training: boolean;
  /** Sets `training`. */
  train(mode?: boolean): unknown;
  /** The share of the newest minibatch; null for the plain average of all. */
  momentum: number | null;
  /** A value for each channel. */
  runningMean: ArrayLike<number>;
  /** A value for each channel. */
  runningVar: ArrayLike<number>;
  /** Minibatches behind them. */
  batchesTracked: number;
  /** Channels' updates that were left out, since a minibatch's statistics were not finite. */
  skippedUpdates?: number | undefined;
  /** False where there are none. */
  readonly trackRunningStats?: boolean;
  /** Mean 0, variance 1, no minibatch tracked. */
  resetRunningStats(): void;
}

/** How far `recalibrate` has come. */
export interface RecalibrateProgress {
  /** Minibatches that went through. */
  minibatches: number;
}

/** How `recalibrate` is watched and stopped. */
export interface RecalibrateOptions {
  /** Stops between two minibatches, or while the stream is waited for. */
  signal?: AbortSignal | undefined;
  /** Is told after each minibatch. What it throws stops the run. */
  onProgress?: (progress: RecalibrateProgress) => void;
}

interface Saved {
  training: boolean;
  momentum: number | null;
  mean: Float64Array;
  variance: Float64Array;
  batches: number;
  skipped: number | undefined;
}

const WHO = "recalibrate";

/**
 * Takes running statistics anew over data, as PyTorch's `torch.optim.swa_utils.update_bn` does: the layers forget theirs,
 * every minibatch goes through `forward` in training mode, and each layer's running mean and variance become the plain
 * average, over minibatches, of the minibatch's mean and of its variance (unbiased, unless the layer keeps the biased one).
 * Minibatches count alike, whatever their size, and the means' own spread is not in the average of variances: minibatches of
 * one size are best. `batchesTracked` is then their number. Momentum and mode are afterwards what they were before.
 *
 * If the signal aborts, or anything throws, every layer has its former statistics back. Parameters never change.
 *
 * @param layers those whose statistics are to be taken anew, each with `trackRunningStats`
 * @param forward runs the network on a minibatch; may be asynchronous; its result is dropped
 * @param minibatches an array, any iterable or stream
 * @throws (rejects) TypeError for a wrong argument, the signal's reason, and what `forward` or the stream throws
 */
export async function recalibrate<T>(
  layers: readonly Recalibratable[],
  forward: (minibatch: T) => unknown,
  minibatches: ReadableStream<T> | AsyncIterable<T> | Iterable<T>,
  options?: RecalibrateOptions,
): Promise<void> {
  const { signal, onProgress } = readRun<RecalibrateProgress>(WHO, options);
  if (typeof forward !== "function") throw typeError(WHO, "forward to be a function", forward);
  const all = readLayers(layers);
  signal?.throwIfAborted();
  const saved = all.map(save);
  let done = 0;
  try {
    for (const layer of all) {
      layer.resetRunningStats();
      layer.momentum = null;
      layer.train();
    }
    for await (const minibatch of walk<T>(WHO, minibatches, signal)) {
      // Waited for though the signal may abort: a forward that still ran would change what has been restored.
      await forward(minibatch);
      onProgress?.({ minibatches: ++done });
    }
  } catch (error) {
    for (const [i, layer] of all.entries()) restore(layer, saved[i]!);
    throw error;
  }
  for (const [i, layer] of all.entries()) settle(layer, saved[i]!);
}

function readLayers(value: unknown): Recalibratable[] {
  if (!Array.isArray(value)) throw typeError(WHO, "an array of layers", value);
  const layers = [...new Set(value as Recalibratable[])];
  for (const layer of layers) {
    const fits =
      typeof layer === "object" &&
      layer !== null &&
      layer.trackRunningStats !== false &&
      typeof layer.resetRunningStats === "function" &&
      typeof layer.train === "function" &&
      layer.runningMean?.length !== undefined;
    if (!fits) throw typeError(WHO, "layers with running statistics", layer);
  }
  return layers;
}

const save = (layer: Recalibratable): Saved => ({
  training: layer.training,
  momentum: layer.momentum,
  mean: Float64Array.from(layer.runningMean),
  variance: Float64Array.from(layer.runningVar),
  batches: layer.batchesTracked,
  skipped: layer.skippedUpdates,
});

/** Mode and momentum as they were. */
function settle(layer: Recalibratable, { training, momentum }: Saved): void {
  layer.momentum = momentum;
  layer.train(training);
}

function restore(layer: Recalibratable, saved: Saved): void {
  settle(layer, saved);
  layer.runningMean = saved.mean;
  layer.runningVar = saved.variance;
  layer.batchesTracked = saved.batches;
  if (saved.skipped !== undefined) layer.skippedUpdates = saved.skipped;
}
