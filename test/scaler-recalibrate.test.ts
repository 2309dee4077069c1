/** recalibrate on layers of the documented interface, whose statistics are those of the paper in float64. */
import { describe, expect, test } from "vitest";
import { BatchNorm, InstanceNorm } from "../src/index.js";
import { type Recalibratable, recalibrate } from "../src/scaler.js";
import { reference } from "./scaler-reference.js";

/** Batch normalization of one channel, with PyTorch's running statistics. */
class Layer implements Recalibratable {
  training = false;
  momentum: number | null = 0.1;
  runningMean: ArrayLike<number> = Float64Array.of(3);
  runningVar: ArrayLike<number> = Float64Array.of(9);
  batchesTracked = 41;
  skippedUpdates = 2;

  train(mode = true): void {
    this.training = mode;
  }

  resetRunningStats(): void {
    this.runningMean = Float64Array.of(0);
    this.runningVar = Float64Array.of(1);
    this.batchesTracked = 0;
  }

  forward(x: Float64Array): void {
    if (!this.training) return;
    const { mean, variance, count } = reference(x);
    this.batchesTracked++;
    const momentum = this.momentum ?? 1 / this.batchesTracked;
    const blend = (old: ArrayLike<number>, value: number) =>
      Float64Array.of((1 - momentum) * old[0]! + momentum * value);
    this.runningMean = blend(this.runningMean, mean);
    this.runningVar = blend(this.runningVar, (variance * count) / (count - 1));
  }
}

const minibatches = [Float64Array.of(1, 2, 3), Float64Array.of(10, 12), Float64Array.of(-4, 0, 0, 8)];
/** What the layer is but for its methods. */
const stateOf = (layer: Layer) => ({ ...layer });
/** The plain average of minibatches' means, 2, 11 and 1, and of their unbiased variances, 1, 2 and 25 (less 1/3). */
const [MEAN, VARIANCE] = [14 / 3, (1 + 2 + (16 + 0 + 0 + 64 - 4) / 3) / 3];

describe("recalibrate", () => {
  test("statistics are the average over minibatches; momentum and mode are as before", async () => {
    for (const [training, momentum] of [
      [false, 0.1],
      [true, null],
    ] as const) {
      const layer = new Layer();
      layer.training = training;
      layer.momentum = momentum;
      const seen: unknown[] = [];
      const modes: boolean[] = [];
      const forward = (x: Float64Array) => {
        modes.push(layer.training);
        layer.forward(x);
      };
      const onProgress = (progress: unknown) => seen.push(progress);
      expect(await recalibrate([layer, layer], forward, minibatches, { onProgress })).toBeUndefined();
      expect(layer.runningMean[0]).toBeCloseTo(MEAN, 13);
      expect(layer.runningVar[0]).toBeCloseTo(VARIANCE, 13);
      expect(layer.batchesTracked).toBe(3);
      expect([layer.training, layer.momentum]).toEqual([training, momentum]);
      expect(modes).toEqual([true, true, true]);
      expect(seen).toEqual([1, 2, 3].map((n) => ({ minibatches: n })));
    }
  });

  test("an asynchronous forward is waited for, one minibatch after another; minibatches from a stream", async () => {
    const layer = new Layer();
    let running = 0;
    const stream = new ReadableStream<Float64Array>({
      start(controller) {
        for (const minibatch of minibatches) controller.enqueue(minibatch);
        controller.close();
      },
    });
    await recalibrate(
      [layer],
      async (x: Float64Array) => {
        expect(++running).toBe(1);
        await new Promise((resolve) => setTimeout(resolve));
        layer.forward(x);
        running--;
      },
      stream,
    );
    expect(layer.runningMean[0]).toBeCloseTo(MEAN, 13);
  });

  test("everything is restored when forward throws, when progress throws, and when the stream fails", async () => {
    async function* failing() {
      yield minibatches[0]!;
      throw new Error("no more data");
    }
    for (const run of [
      (layer: Layer) =>
        recalibrate([layer], (x: Float64Array) => (x.length > 2 ? layer.forward(x) : fail()), minibatches),
      (layer: Layer) =>
        recalibrate([layer], (x: Float64Array) => layer.forward(x), minibatches, { onProgress: fail }),
      (layer: Layer) => recalibrate([layer], (x: Float64Array) => layer.forward(x), failing()),
    ]) {
      const layer = new Layer();
      const before = stateOf(layer);
      await expect(run(layer)).rejects.toThrow(/no more data/);
      expect(stateOf(layer)).toEqual(before);
    }
  });

  test("and when the signal aborts: between minibatches, while the stream is waited for, or before", async () => {
    const layer = new Layer();
    const before = stateOf(layer);
    const stop = new Error("enough");
    const between = new AbortController();
    const forward = (x: Float64Array) => layer.forward(x);
    await expect(
      recalibrate([layer], forward, minibatches, {
        signal: between.signal,
        onProgress: ({ minibatches: done }) => done === 2 && between.abort(stop),
      }),
    ).rejects.toBe(stop);
    expect(stateOf(layer)).toEqual(before);
    const waiting = new AbortController();
    const silent = new ReadableStream<Float64Array>({
      pull: () => void setTimeout(() => waiting.abort(stop), 5),
    });
    await expect(recalibrate([layer], forward, silent, { signal: waiting.signal })).rejects.toBe(stop);
    expect(stateOf(layer)).toEqual(before);
    await expect(recalibrate([layer], forward, minibatches, { signal: waiting.signal })).rejects.toBe(stop);
    expect(stateOf(layer)).toEqual(before);
  });

  test("wrong arguments", async () => {
    const layer = new Layer();
    const bad = (value: unknown) => value as never;
    await expect(recalibrate(bad(layer), () => {}, [])).rejects.toThrow(
      "recalibrate: expected an array of layers",
    );
    await expect(recalibrate([bad({})], () => {}, [])).rejects.toThrow(
      "layers with running statistics, got Object",
    );
    await expect(recalibrate([layer], bad(1), [])).rejects.toThrow("forward to be a function");
    await expect(recalibrate([layer], () => {}, bad(1))).rejects.toThrow("a ReadableStream or an iterable");
    await expect(recalibrate([layer], () => {}, [], { signal: bad({}) })).rejects.toThrow("an AbortSignal");
    expect(layer.batchesTracked).toBe(41);
  });
});

function fail(): never {
  throw new Error("no more data");
}

describe("recalibrate on this package's layers", () => {
  const C = 2;
  const batch = (n: number, seed: number) =>
    Float32Array.from({ length: n * C }, (_, i) => ((i * 7 + seed) % 11) + (i % C) * 5);
  const data = [batch(6, 1), batch(9, 4), batch(4, 8)];
  const ofChannel = (x: Float32Array, c: number) => reference(x.filter((_, i) => i % C === c));

  test.each([false, true])("BatchNorm, training: %s", async (training) => {
    const layer = new BatchNorm(C, { momentum: 0.3 }).train(training) as BatchNorm;
    layer.gamma!.data.set([2, 3]);
    await recalibrate([layer], (x: Float32Array) => layer.forward(x), data);
    for (let c = 0; c < C; c++) {
      const each = data.map((x) => ofChannel(x, c));
      const mean = each.reduce((sum, { mean }) => sum + mean, 0) / 3;
      const unbiased =
        each.reduce((sum, { variance, count }) => sum + (variance * count) / (count - 1), 0) / 3;
      expect(layer.runningMean[c]).toBeCloseTo(mean, 6);
      expect(layer.runningVar[c]).toBeCloseTo(unbiased, 5);
    }
    expect([layer.batchesTracked, layer.momentum, layer.training]).toEqual([3, 0.3, training]);
    expect([...layer.gamma!.data]).toEqual([2, 3]);
    layer.dispose();
  });

  test("InstanceNorm that tracks: the average over examples, then over minibatches", async () => {
    const layer = new InstanceNorm(C, { layout: "channels-last", trackRunningStats: true, momentum: 0.2 });
    layer.eval();
    const [examples, positions] = [3, 5];
    const size = positions * C;
    const minibatches = [2, 5].map((seed) => batch(examples * positions, seed));
    await recalibrate([layer], (x: Float32Array) => layer.forward(x, [examples, positions, C]), minibatches);
    const all = minibatches.flatMap((x) => [0, 1, 2].map((e) => x.slice(e * size, (e + 1) * size)));
    for (let c = 0; c < C; c++) {
      const each = all.map((x) => ofChannel(x, c));
      const average = (of: (r: (typeof each)[number]) => number) =>
        each.reduce((sum, r) => sum + of(r), 0) / each.length;
      expect(layer.runningMean[c]).toBeCloseTo(
        average(({ mean }) => mean),
        6,
      );
      expect(layer.runningVar[c]).toBeCloseTo(
        average(({ variance }) => (variance * positions) / (positions - 1)),
        5,
      );
    }
    expect([layer.batchesTracked, layer.momentum, layer.training]).toEqual([2, 0.2, false]);
    const before = layer.stateDict();
    await expect(recalibrate([layer], fail, minibatches)).rejects.toThrow("no more data");
    expect(layer.stateDict()).toEqual(before);
    layer.dispose();
    const without = new InstanceNorm(C);
    await expect(recalibrate([without], () => {}, [])).rejects.toThrow("layers with running statistics");
    without.dispose();
  });

  test("BatchNorms are restored to the bit when forward throws", async () => {
    const layers = [new BatchNorm(C, { momentum: null }), new BatchNorm(C)];
    const forward = (x: Float32Array) => {
      for (const layer of layers) layer.forward(x);
    };
    forward(data[0]!);
    for (const layer of layers) layer.eval();
    const before = layers.map((layer) => layer.stateDict());
    const failing = (x: Float32Array) => (x === data[2] ? fail() : forward(x));
    await expect(recalibrate(layers, failing, data)).rejects.toThrow("no more data");
    expect(layers.map((layer) => layer.stateDict())).toEqual(before);
    expect(layers.map(({ training, momentum }) => [training, momentum])).toEqual([
      [false, null],
      [false, 0.1],
    ]);
    for (const layer of layers) layer.dispose();
  });

  test("a layer without running statistics is refused", async () => {
    const layer = new BatchNorm(C, { trackRunningStats: false });
    await expect(recalibrate([layer], () => {}, data)).rejects.toThrow("layers with running statistics");
    layer.dispose();
  });
});
