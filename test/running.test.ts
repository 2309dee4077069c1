import { beforeAll, describe, expect, test } from "vitest";
import {
  fill,
  geometryOf,
  type Library,
  load,
  nonFiniteInput,
  normals,
  type Subject,
  variants,
} from "./cases.js";
import { compare, expectHolds } from "./contract.js";
import type { RunningUpdate, Statistics } from "./reference.js";
import * as reference from "./reference.js";
import { naming } from "./refusal.js";

describe.each(variants)("running statistics, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  /** Each step starts from what the layer holds, so that only one update's rounding is judged. */
  function expectUpdate(
    layer: InstanceType<Library["BatchNorm"]>,
    want: RunningUpdate,
    { mean, variance }: Statistics,
    at: string,
  ): void {
    const near = (got: Float64Array, wanted: Float64Array, batch: Float64Array, what: string) => {
      const scale = (c: number) =>
        Math.max(Math.abs(wanted[c]!), Math.abs(batch[c]!), Math.sqrt(variance[c]!));
      expectHolds(compare(got, wanted, { what, limit: 2, scale }), at);
    };
    near(layer.runningMean!, want.mean, mean, "running mean");
    near(layer.runningVar!, want.variance, variance, "running variance");
    expect(Number(layer.batchesTracked)).toBe(want.batches);
  }

  const momenta = [0.1, 0.9, 0, 1, null];
  const layouts = ["channels-last", "channels-first"] as const;
  test.each(momenta.flatMap((momentum) => layouts.map((layout) => [momentum, layout] as const)))(
    "momentum %s, %s: every step is the paper's, with the unbiased variance",
    (momentum, layout) => {
      const channels = 11;
      const layer = new library.BatchNorm(channels, { momentum, layout });
      for (let step = 0; step < 12; step++) {
        const positions = 1 + (step % 3);
        const rows = 2 + step;
        const shape = layout === "channels-first" ? [rows, channels, positions] : [rows, positions, channels];
        const subject: Subject = { family: "batch", layout, shape };
        const x = normals(rows * positions * channels, step, 1 + step, 10 * step);
        const statistics = reference.statistics(x, geometryOf(subject), { eps: 1e-5 });
        const old = {
          mean: layer.runningMean!.slice(),
          variance: layer.runningVar!.slice(),
          batches: Number(layer.batchesTracked),
        };
        layer.forward(x, shape);
        expectUpdate(layer, reference.updateRunning(old, statistics, momentum), statistics, `step ${step}`);
        expect(layer.skippedUpdates).toBe(0);
      }
      layer.dispose();
    },
  );

  test("many channels get what few do, to the bit", () => {
    const few = 64;
    const many = 131;
    const [narrow, wide] = [few, many].map((channels) => new library.BatchNorm(channels, { momentum: 0.3 }));
    for (let step = 0; step < 5; step++) {
      const x = normals(4 * few, step, 2, step);
      x[3] = Number.NaN;
      x[5] = Infinity;
      x[few + 7] = -Infinity;
      const tiled = Float32Array.from(
        { length: 4 * many },
        (_, i) => x[few * Math.floor(i / many) + ((i % many) % few)]!,
      );
      narrow!.forward(x, [4, few]);
      wide!.forward(tiled, [4, many]);
    }
    for (const name of ["runningMean", "runningVar"] as const) {
      const want = Float64Array.from({ length: many }, (_, c) => narrow![name][c % few]!);
      expect(wide![name]).toEqual(want);
    }
    expect(narrow!.skippedUpdates).toBe(5 * 3);
    expect(wide!.skippedUpdates).toBe(2 * 5 * 3);
    narrow!.dispose();
    wide!.dispose();
  });

  test("start at 0 and 1, and no batch", () => {
    const layer = new library.BatchNorm(3);
    expect(layer.runningMean).toEqual(Float64Array.of(0, 0, 0));
    expect(layer.runningVar).toEqual(Float64Array.of(1, 1, 1));
    expect(Number(layer.batchesTracked)).toBe(0);
    expect(layer.skippedUpdates).toBe(0);
  });

  test("the cumulative average of equal batches is the average over all of them", () => {
    const layer = new library.BatchNorm(1, { momentum: null });
    const batches = [1, 2, 3, 4, 5].map((seed) => normals(64, seed, 3, seed));
    for (const batch of batches) layer.forward(batch, [64, 1]);
    const all = reference.statistics(
      Float32Array.from(batches.flatMap((batch) => [...batch])),
      reference.describe({ family: "batch", shape: [320, 1] }),
      { eps: 0 },
    );
    expect(layer.runningMean![0]).toBeCloseTo(all.mean[0]!, 5);
  });

  test("two rows: the unbiased variance is twice the biased", () => {
    const layer = new library.BatchNorm(1, { momentum: 1 });
    layer.forward(Float32Array.of(1, 3), [2, 1]);
    expect(layer.batchVar![0]).toBe(1);
    expect(layer.runningVar![0]).toBe(2);
    expect(layer.batchMean![0]).toBe(2);
    expect(layer.runningMean![0]).toBe(2);
  });

  test("evaluation uses them and leaves them as they are", () => {
    const layer = new library.BatchNorm(2, { eps: 0 });
    const state = layer.stateDict();
    layer.loadStateDict({
      ...state,
      running_mean: Float32Array.of(1, 2),
      running_var: Float32Array.of(4, 16),
    });
    layer.eval();
    expect(layer.training).toBe(false);
    expect(layer.forward(Float32Array.of(3, 6), [1, 2])).toEqual(Float32Array.of(1, 1));
    expect(layer.runningMean).toEqual(Float64Array.of(1, 2));
    expect(layer.runningVar).toEqual(Float64Array.of(4, 16));
    expect(Number(layer.batchesTracked)).toBe(0);
    layer.train();
    expect(layer.training).toBe(true);
  });

  test("without them, evaluation uses the minibatch's own", () => {
    const layer = new library.BatchNorm(2, { trackRunningStats: false });
    const x = normals(8, 1);
    const y = layer.forward(x, [4, 2]);
    const batch = [layer.batchMean, layer.batchVar];
    layer.eval();
    expect(layer.forward(x, [4, 2])).toEqual(y);
    // A single value a channel is an error in training alone.
    expect(layer.forward(Float32Array.of(3, 4), [1, 2])).toEqual(new Float32Array(2));
    expect([layer.batchMean, layer.batchVar]).toEqual(batch);
    expect(() => layer.identityGap("running")).toThrow(naming("BatchNorm", "running"));
  });

  test.each(layouts)(
    "%s: a channel that is not finite keeps its own, is counted, and no other is touched",
    (layout) => {
      const shape = layout === "channels-first" ? [6, 10, 3] : [18, 10];
      const subject: Subject = { family: "batch", layout, shape };
      const geometry = geometryOf(subject);
      const layer = new library.BatchNorm(10, { layout });
      layer.forward(normals(180, 1), shape);
      const old = { mean: layer.runningMean!.slice(), variance: layer.runningVar!.slice(), batches: 1 };
      const x = fill(nonFiniteInput, geometry);
      const statistics = reference.statistics(x, geometry, { eps: 1e-5 });
      const want = reference.updateRunning(old, statistics, 0.1);

      layer.forward(x, shape);
      expect(want.skipped).toBe(6);
      expect(layer.skippedUpdates).toBe(6);
      for (const c of [1, 3, 4, 6, 8, 9]) {
        expect(layer.runningMean![c]).toBe(old.mean[c]);
        expect(layer.runningVar![c]).toBe(old.variance[c]);
      }
      for (const c of [0, 2, 5, 7]) {
        expect(layer.runningMean![c]).toBeCloseTo(want.mean[c]!, 6);
        expect(layer.runningVar![c]).toBeCloseTo(want.variance[c]!, 6);
      }
      layer.forward(x, shape);
      expect(layer.skippedUpdates).toBe(12);
    },
  );

  test("a variance too large for float32 is kept in float64", () => {
    const layer = new library.BatchNorm(1);
    const x = normals(16, 1, 1e30);
    layer.forward(x, [16, 1]);
    const { variance } = reference.statistics(x, reference.describe({ family: "batch", shape: [16, 1] }), {
      eps: 0,
    });
    expect(layer.runningVar[0]! / (0.9 + (0.1 * variance[0]! * 16) / 15)).toBeCloseTo(1, 6);
    expect(layer.skippedUpdates).toBe(0);
  });

  test("a million steps of a small momentum follow the float64 recurrence", () => {
    const layer = new library.BatchNorm(1, { momentum: 0.001, eps: 0 });
    const batches = Array.from({ length: 100 }, (_, seed) => normals(4, seed, 0.01, 1000));
    let mean = 0;
    let variance = 1;
    for (let step = 0; step < 1e6; step++) {
      layer.forward(batches[step % 100]!, { shape: [4, 1], save: false });
      mean = 0.999 * mean + 0.001 * layer.mean![0]!;
      variance = 0.999 * variance + (0.001 * (4 / 3)) / layer.rstd![0]! ** 2;
    }
    expect(Math.abs(layer.runningMean[0]! / mean - 1)).toBeLessThan(1e-12);
    expect(Math.abs(layer.runningVar[0]! / variance - 1)).toBeLessThan(1e-12);
  });

  test("a plain average is over the minibatches that entered it, channel by channel", () => {
    const layer = new library.BatchNorm(1, { momentum: null });
    layer.forward(Float32Array.of(Number.NaN, 1, 2, 3), [4, 1]);
    for (let i = 0; i < 9; i++) layer.forward(Float32Array.of(10, 12, 14, 16), [4, 1]);
    expect(layer.runningMean[0]).toBe(13);
    expect(layer.runningVar[0]).toBeCloseTo(20 / 3, 12);
    expect(layer.batchesTracked).toBe(10);
  });

  test("momentum may be set, statistics reset, and a forward may leave them alone", () => {
    const layer = new library.BatchNorm(1);
    const x = Float32Array.of(1, 3);
    layer.momentum = 1;
    layer.forward(x);
    expect([layer.runningMean[0], layer.runningVar[0]]).toEqual([2, 2]);
    layer.forward(Float32Array.of(10, 30), { updateRunning: false });
    expect([layer.runningMean[0], layer.batchMean![0], layer.batchesTracked]).toEqual([2, 20, 1]);
    layer.resetRunningStats();
    expect([layer.runningMean[0], layer.runningVar[0], layer.batchesTracked]).toEqual([0, 1, 0]);
    expect(() => (layer.momentum = 2)).toThrow(naming("BatchNorm", "momentum"));
    layer.runningMean = [5];
    expect(layer.runningMean).toEqual(Float64Array.of(5));
    expect(() => (layer.runningMean = [1, 2])).toThrow(RangeError);
  });

  test("biased, as Keras and ONNX, or unbiased, as PyTorch", () => {
    const layer = new library.BatchNorm(1, { momentum: 1, runningVariance: "biased" });
    layer.forward(Float32Array.of(1, 3));
    expect(layer.runningVar[0]).toBe(1);
  });

  test.each(layouts)(
    "%s: batchMean and batchVar are the last training batch's, whatever comes after",
    (layout) => {
      const layer = new library.BatchNorm(5, { layout });
      const shapeOf = (n: number, positions: number) =>
        layout === "channels-first" ? [n, 5, positions] : [n, positions, 5];
      expect([layer.batchMean, layer.batchVar]).toEqual([null, null]);
      layer.forward(normals(60, 1), shapeOf(3, 4));
      const batch = [layer.batchMean!.slice(), layer.batchVar!.slice()];
      const gap = layer.identityGap("batch");
      layer.backward(normals(60, 2));
      layer.forward(new Float32Array(0), shapeOf(0, 4));
      layer.eval();
      for (const [n, positions] of [
        [1, 1],
        [3, 4],
        [40, 300],
      ] as const) {
        layer.forward(normals(5 * n * positions, n, 7), shapeOf(n, positions));
        layer.backward(normals(5 * n * positions, 3));
        expect([layer.batchMean, layer.batchVar]).toEqual(batch);
        expect(layer.identityGap("batch")).toEqual(gap);
      }
    },
  );

  test("backward belongs to the last forward, whatever mode has come since", () => {
    const [x, dy] = [normals(24, 1, 3), normals(24, 2)];
    const layer = new library.BatchNorm(4);
    layer.eval();
    layer.forward(x);
    const frozen = layer.backward(dy);
    layer.forward(x);
    layer.train();
    expect(layer.backward(dy)).toEqual(frozen);
    layer.forward(x);
    const training = layer.backward(dy);
    layer.forward(x);
    layer.eval();
    expect(layer.backward(dy)).toEqual(training);
    expect(training).not.toEqual(frozen);
  });

  test("an empty minibatch changes nothing", () => {
    const layer = new library.BatchNorm(3);
    layer.forward(normals(12, 1), [4, 3]);
    const before = [layer.runningMean!.slice(), layer.runningVar!.slice(), Number(layer.batchesTracked)];
    expect(layer.forward(new Float32Array(0), [0, 3])).toEqual(new Float32Array(0));
    expect([layer.runningMean!.slice(), layer.runningVar!.slice(), Number(layer.batchesTracked)]).toEqual(
      before,
    );
  });
});
