/** Batch normalization over ranks: what one process has for the whole minibatch, the same bits everywhere. */
import { afterEach, describe, expect, test } from "vitest";
import {
  type Collective,
  convertToSync,
  type Group,
  SyncBatchNorm,
  type SyncBatchNormOptions,
  syncGradients,
} from "../src/collective.js";
import { BatchNorm, LayerNorm, Tensor, tensor } from "../src/index.js";
import { betas, fill, gammas, hostileInputs, normals, plain } from "./cases.js";
import { bytesOf, type Faults, Network, outcomes } from "./collective/network.js";
import { expectBackward, expectForward, expectStatistics, u } from "./contract.js";
import { gradientFor } from "./judge.js";
import * as reference from "./reference.js";

let open: Group[] = [];
afterEach(async () => {
  await Promise.all(open.map((group) => group.close()));
  open = [];
});

function ranks(size: number, faults: Faults = {}, deadline = 1000, seed = 1): Group[] {
  const groups = new Network(faults, seed).groups(size, { deadline });
  open.push(...groups);
  return groups;
}

function layersOf(
  groups: readonly Collective[],
  features: number,
  options: Partial<SyncBatchNormOptions> = {},
) {
  return groups.map((collective) => {
    const layer = new SyncBatchNorm(features, { collective, ...options });
    layer.gamma?.data.set(gammas(features));
    layer.beta?.data.set(betas(features));
    return layer;
  });
}

/** Cuts rows of `width` values into shards of so many rows. */
function shardsOf(x: Float32Array, rows: readonly number[], width: number): Float32Array[] {
  let at = 0;
  return rows.map((count) => x.slice(width * at, width * (at += count)));
}

const join = (parts: readonly Float32Array[]): Float32Array => {
  const all = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

const failure = (code: string, ranks: number[]) =>
  expect.objectContaining({ name: "CollectiveError", code, ranks });

describe.each([
  ["channels-last", [13, 7], [5, 8]],
  ["channels-last", [30, 11], [1, 0, 29]],
  ["channels-last", [6, 4, 5, 7], [2, 0, 1, 3]],
  ["channels-first", [6, 7, 4, 5], [1, 2, 3]],
  ["channels-last", [2, 5], [1, 1]],
  ["channels-last", [5, 3], [1, 1, 1, 1, 1]],
] as const)("%s %o cut into %o", (layout, shape, rows) => {
  const geometry = reference.describe({ family: "batch", shape, layout });
  const features = geometry.groups;
  const width = geometry.size / shape[0]!;
  const shapeOf = (count: number) => [count, ...shape.slice(1)];
  const gamma = gammas(features);
  const beta = betas(features);
  const dy = gradientFor(geometry);

  test.each([plain, ...hostileInputs].map((input) => [input.name, input] as const))(
    "is one process's within the contract: %s",
    async (_, input) => {
      const x = fill(input, geometry);
      const eps = input.eps ?? 1e-5;
      const scaled = dy.map((value) => value * (input.dyScale ?? 1));
      const layers = layersOf(ranks(rows.length), features, { eps, layout });
      const shards = shardsOf(x, rows, width);
      const gradients = shardsOf(scaled, rows, width);
      const y = await Promise.all(layers.map((layer, r) => layer.forward(shards[r]!, shapeOf(rows[r]!))));
      const dx = await Promise.all(layers.map((layer, r) => layer.backward(gradients[r]!)));

      const statistics = reference.statistics(x, geometry, { eps });
      const want = reference.forward(x, geometry, statistics, { gamma, beta });
      expectForward(join(y), want, geometry, gamma, input.name);
      const [first] = layers as [SyncBatchNorm];
      expectStatistics({ mean: first.batchMean!, variance: first.batchVar! }, statistics, eps, input.name);
      const { dgamma, dbeta } = { dgamma: first.gamma!.grad, dbeta: first.beta!.grad };
      expectBackward(
        { dx: join(dx), dgamma, dbeta },
        x,
        reference.backward(x, scaled, geometry, statistics, { gamma }),
        geometry,
        statistics,
        input.name,
      );
      for (const layer of layers) {
        expect(layer.stateDict()).toEqual(first.stateDict());
        expect(layer.gamma!.grad).toEqual(dgamma);
        expect(layer.beta!.grad).toEqual(dbeta);
      }
    },
  );
});

test("any order and loss of messages: the same bits", async () => {
  const x = normals(64 * 5, 3, 2, 1e5);
  const dy = normals(64 * 5, 4);
  const rows = [10, 1, 30, 0, 23];
  const results: unknown[] = [];
  for (const [faults, seed] of [
    [{}, 1],
    [{ delay: 5, duplicates: 0.3 }, 2],
    [{ delay: 5, loss: 0.15, damage: 0.05 }, 3],
  ] as const) {
    const layers = layersOf(ranks(5, faults, 3000, seed), 5);
    const y = await Promise.all(layers.map((layer, r) => layer.forward(shardsOf(x, rows, 5)[r]!)));
    const dx = await Promise.all(layers.map((layer, r) => layer.backward(shardsOf(dy, rows, 5)[r]!)));
    results.push({ y, dx, state: layers[2]!.stateDict(), grads: layers[4]!.gamma!.grad });
  }
  expect(results[1]).toEqual(results[0]);
  expect(results[2]).toEqual(results[0]);
});

describe("running statistics", () => {
  test.each([{ momentum: 0.1 }, { momentum: null }, { momentum: 0.3, runningVariance: "biased" }] as const)(
    "as the formula has them: %o",
    async (options) => {
      const layers = layersOf(ranks(3), 2, options);
      let mean = [0, 0];
      let variance = [1, 1];
      for (let batch = 1; batch <= 4; batch++) {
        const x = normals(2 * 9, batch, 3, 5);
        await Promise.all(layers.map((layer, r) => layer.forward(shardsOf(x, [2, 3, 4], 2)[r]!)));
        const weight = options.momentum ?? 1 / batch;
        const { mean: mu, variance: v } = reference.statistics(
          x,
          reference.describe({ family: "batch", shape: [9, 2] }),
          { eps: 1e-5 },
        );
        const factor = "runningVariance" in options ? 1 : 9 / 8;
        mean = mean.map((old, c) => (1 - weight) * old + weight * mu[c]!);
        variance = variance.map((old, c) => (1 - weight) * old + weight * factor * v[c]!);
      }
      for (const layer of layers) {
        expect(layer.runningMean).toBeInstanceOf(Float64Array);
        layer.runningMean.forEach((value, c) => {
          expect(value).toBeCloseTo(mean[c]!, 6);
        });
        layer.runningVar.forEach((value, c) => {
          expect(value).toBeCloseTo(variance[c]!, 6);
        });
        expect(layer.batchesTracked).toBe(4);
      }
    },
  );

  test("nothing on all ranks updates nothing; one value in all is an error on all", async () => {
    const layers = layersOf(ranks(3), 2);
    const before = layers[0]!.stateDict();
    const empty = new Float32Array(0);
    expect(await Promise.all(layers.map((layer) => layer.forward(empty)))).toEqual([empty, empty, empty]);
    expect(await Promise.all(layers.map((layer) => layer.backward(empty)))).toEqual([empty, empty, empty]);
    const one = layers.map((layer, r) => layer.forward(r === 1 ? Float32Array.of(1, 2) : empty));
    for (const error of await outcomes(one)) {
      expect(error).toBeInstanceOf(RangeError);
      expect(String(error)).toMatch(/SyncBatchNorm\(2\).forward: expected 2 or more values a channel/);
    }
    for (const layer of layers) expect(layer.stateDict()).toEqual(before);
    const y = await Promise.all(layers.map((layer, r) => layer.forward(Float32Array.of(r, -r))));
    expect(y[1]!.map(Math.abs)).toEqual(betas(2).map(Math.abs));
  });

  test("a channel that is not finite anywhere keeps its own everywhere; the others go on", async () => {
    const layers = layersOf(ranks(2), 2, { momentum: null });
    const steps = [
      [Float32Array.of(1, 1, 2, 2), Float32Array.of(3, 3)],
      [Float32Array.of(Number.NaN, 4), Float32Array.of(2, 6)],
      [Float32Array.of(5, 1), Float32Array.of(9, 3)],
    ];
    for (const step of steps) await Promise.all(layers.map((layer, r) => layer.forward(step[r]!)));
    for (const layer of layers) {
      expect(layer.skippedUpdates).toBe(1);
      expect(layer.runningMean[0]).toBeCloseTo((2 + 7) / 2, 12);
      expect(layer.runningMean[1]).toBeCloseTo((2 + 5 + 2) / 3, 12);
    }
  });

  test("updateRunning: false leaves them; resetRunningStats, and any array of numbers assigned", async () => {
    const layers = layersOf(ranks(2), 2);
    await Promise.all(layers.map((layer, r) => layer.forward(normals(6, r), { updateRunning: false })));
    expect(layers[0]!.batchesTracked).toBe(0);
    expect(layers[0]!.runningMean).toEqual(new Float64Array(2));
    layers[0]!.runningMean = [1, 2];
    layers[0]!.runningVar = Float32Array.of(3, 4);
    expect(layers[0]!.runningVar).toEqual(Float64Array.of(3, 4));
    expect(() => (layers[0]!.runningVar = [-1, 1])).toThrow(RangeError);
    layers[0]!.resetRunningStats();
    expect([...layers[0]!.runningMean, ...layers[0]!.runningVar]).toEqual([0, 0, 1, 1]);
  });
});

test("evaluation sends nothing and is BatchNorm's; its backward has the gradients of all ranks", async () => {
  const groups = ranks(2);
  const layers = layersOf(groups, 3);
  const single = new BatchNorm(3);
  single.gamma!.data.set(gammas(3));
  single.beta!.data.set(betas(3));
  const statistics = { running_mean: [1, -2, 3], running_var: [4, 0.5, 2], num_batches_tracked: [7] };
  single.loadStateDict({ ...single.stateDict(), ...statistics });
  single.eval();
  const x = [normals(6, 1), normals(9, 2)] as const;
  for (const layer of layers) layer.loadStateDict({ ...layer.stateDict(), ...statistics });
  for (const layer of layers) layer.eval();
  for (const r of [0, 1]) {
    const y = await layers[r]!.forward(x[r]!);
    single.forward(x[r]!).forEach((want, i) => {
      expect(Math.abs(y[i]! - want)).toBeLessThan(4 * u * 8);
    });
  }
  expect(groups[0]!.step).toBe(0);
  const dx = await Promise.all(layers.map((layer, r) => layer.backward(x[r]!)));
  for (const r of [0, 1]) {
    single.forward(x[r]!);
    single.backward(x[r]!).forEach((want, i) => {
      expect(Math.abs(dx[r]![i]! - want)).toBeLessThan(4 * u * 8);
    });
  }
  for (const layer of layers) {
    layer.gamma!.grad.forEach((value, c) => {
      expect(value).toBeCloseTo(single.gamma!.grad[c]!, 4);
    });
    layer.beta!.grad.forEach((value, c) => {
      expect(value).toBeCloseTo(single.beta!.grad[c]!, 4);
    });
  }
  single.dispose();
});

describe("typed errors on all ranks, and nothing changed", () => {
  const state = (layers: SyncBatchNorm[]) =>
    layers.map((layer) => [layer.stateDict(), layer.batchMean, layer.gamma!.grad.slice()]);

  test("a rank that does not call", async () => {
    const layers = layersOf(ranks(3, {}, 150), 2);
    const x = normals(8, 1);
    await Promise.all(layers.map((layer) => layer.forward(x)));
    const before = state(layers);
    for (const call of ["backward", "forward", "backward"] as const) {
      const calls = [0, 2].map((r) => layers[r]![call](x));
      expect(await outcomes(calls)).toEqual([failure("timeout", [1]), failure("timeout", [1])]);
      expect(state(layers)).toEqual(before);
      expect(await outcomes([layers[1]![call](x)])).toEqual([failure("timeout", [1])]);
    }
    // Nothing is lost: the same backward, with all of them.
    const dx = await Promise.all(layers.map((layer) => layer.backward(x)));
    expect(dx[1]).toEqual(dx[0]);
  });

  const x = normals(24, 1);
  test.each([
    [
      "other features",
      [1],
      (all: Group[]) =>
        all.map((collective, r) => new SyncBatchNorm(r === 1 ? 4 : 2, { collective }).forward(x)),
    ],
    [
      "another eps",
      [2],
      (all: Group[]) =>
        all.map((collective, r) =>
          new SyncBatchNorm(2, { collective, eps: r === 2 ? 0.1 : 1e-5 }).forward(x),
        ),
    ],
    [
      "another momentum",
      [0],
      (all: Group[]) =>
        all.map((collective, r) => new SyncBatchNorm(2, { collective, momentum: r ? 0.1 : null }).forward(x)),
    ],
    [
      "another shape of the normalized axes",
      [2],
      (all: Group[]) =>
        all.map((collective, r) =>
          new SyncBatchNorm(2, { collective }).forward(x, r === 2 ? [2, 6, 2] : [3, 4, 2]),
        ),
    ],
    [
      "another mode",
      [0],
      (all: Group[]) =>
        all.map((collective, r) =>
          new SyncBatchNorm(2, { collective, trackRunningStats: false }).train(r > 0).forward(x),
        ),
    ],
    [
      "another call",
      [1],
      (all: Group[]) =>
        all.map((collective, r) =>
          r === 1
            ? syncGradients([{ data: x, grad: x.slice() }], collective)
            : new SyncBatchNorm(2, { collective }).forward(x),
        ),
    ],
    [
      "another protocol",
      [1],
      (all: Group[]) =>
        all.map((collective, r) =>
          r === 1
            ? collective
                .allGather(bytesOf(1))
                .then(() => Promise.reject({ code: "mismatch", ranks: [1], name: "CollectiveError" }))
            : new SyncBatchNorm(2, { collective }).forward(x),
        ),
    ],
  ] as const)("%s", async (_, odd, calls) => {
    const all = await outcomes(calls(ranks(3)) as Promise<unknown>[]);
    expect(all).toEqual(all.map(() => failure("mismatch", [...odd])));
  });

  test("another step", async () => {
    const groups = ranks(2);
    const layers = layersOf(groups, 2);
    await Promise.all([layers[0]!.forward(x), new SyncBatchNorm(2, { collective: groups[1]! }).forward(x)]);
    const calls = layers.map((layer) => layer.forward(x));
    await expect(calls[0]).rejects.toThrow(
      /SyncBatchNorm\(2\).forward: expected step 1 on all 2 ranks, got 0 on rank 1/,
    );
    expect(await outcomes(calls)).toEqual([failure("mismatch", [1]), failure("mismatch", [1])]);
  });
});

test("a collective of another's making may give Buffers", async () => {
  const collective = {
    rank: 0,
    size: 1,
    allGather: async (bytes: Uint8Array) => [Buffer.concat([Buffer.alloc(3), bytes]).subarray(3)],
  };
  const layer = new SyncBatchNorm(2, { collective });
  const x = normals(8, 1);
  await layer.forward(x);
  expect(layer.batchMean![0]).toBeCloseTo((x[0]! + x[2]! + x[4]! + x[6]!) / 4, 6);
  const grad = Float32Array.of(1, 2);
  await syncGradients([{ data: grad.slice(), grad }], collective);
  expect(grad).toEqual(Float32Array.of(1, 2));
});

describe("syncGradients", () => {
  const parameter = (...grad: number[]) => ({
    data: new Float32Array(grad.length),
    grad: Float32Array.from(grad),
  });

  test("sums in the order of ranks in float64, and leaves synchronized layers out", async () => {
    const groups = ranks(3, { delay: 3 });
    const layers = layersOf(groups, 1);
    for (const layer of layers) layer.gamma!.grad.fill(5);
    // In float32 1 would be lost beside 2^30; in float64 it comes back.
    const parameters = groups.map((_, r) => [parameter([2 ** 30, 1, -(2 ** 30)][r]!, r), parameter(0.1 * r)]);
    await Promise.all(
      groups.map((group, r) => syncGradients([...parameters[r]!, ...layers[r]!.parameters()], group)),
    );
    for (const [a, b] of parameters) {
      expect(a!.grad).toEqual(Float32Array.of(1, 3));
      expect(b!.grad).toEqual(Float32Array.of(Math.fround(0.1) + Math.fround(0.2)));
    }
    expect(layers[0]!.gamma!.grad).toEqual(Float32Array.of(5));
    await Promise.all(groups.map((group, r) => syncGradients(parameters[r]!, group, { reduce: "mean" })));
    expect(parameters[0]![0]!.grad).toEqual(Float32Array.of(1, 3));
  });

  test("other parameters on a rank are an error on all, and nothing changes", async () => {
    const groups = ranks(3);
    const parameters = groups.map((_, r) => [r === 2 ? parameter(1, 2) : parameter(1)]);
    const calls = groups.map((group, r) => syncGradients(parameters[r]!, group));
    expect(await outcomes(calls)).toEqual(calls.map(() => failure("mismatch", [2])));
    expect(parameters.map(([p]) => [...p!.grad])).toEqual([[1], [1], [1, 2]]);
  });

  test("wrong arguments", async () => {
    const [group] = ranks(1);
    await expect(syncGradients({} as never, group!)).rejects.toThrow(TypeError);
    await expect(syncGradients([{ data: [], grad: [] }] as never, group!)).rejects.toThrow(
      /parameters\[0\].grad/,
    );
    await expect(syncGradients([], {} as never)).rejects.toThrow(/collective/);
    await expect(syncGradients([], group!, { reduce: "max" as never })).rejects.toThrow(/reduce/);
    expect(group!.step).toBe(0);
  });
});

describe("convertToSync", () => {
  test("gives a layer in the same state with the same gamma and beta, and leaves others", async () => {
    const [collective] = ranks(1);
    const norm = new BatchNorm(3, {
      eps: 0.01,
      momentum: null,
      affine: { beta: false },
      layout: "channels-first",
    });
    const other = new LayerNorm(3);
    norm.forward(normals(30, 1), [5, 3, 2]);
    norm.gamma!.data.set([1, 2, 3]);
    norm.eval();
    const [sync, same, word] = convertToSync([norm, other, "relu"], collective!);
    expect(same).toBe(other);
    expect(word).toBe("relu");
    expect(sync).toBeInstanceOf(SyncBatchNorm);
    expect(sync.gamma).toBe(norm.gamma);
    expect(sync.beta).toBeNull();
    expect(sync).toMatchObject({
      features: 3,
      eps: 0.01,
      momentum: null,
      layout: "channels-first",
      training: false,
      batchesTracked: 1,
    });
    const x = normals(30, 2);
    const y = await sync.forward(x, [5, 3, 2]);
    norm.forward(x, [5, 3, 2]).forEach((want, i) => {
      expect(Math.abs(y[i]! - want)).toBeLessThan(4 * u * 3 * 4);
    });
    // An average goes on from where it was: the second minibatch weighs a half.
    const mean = sync.runningMean[0]!;
    sync.train();
    await sync.forward(x, [5, 3, 2]);
    expect(sync.runningMean[0]).toBeCloseTo((mean + sync.batchMean![0]!) / 2, 9);
    const parameters = [...sync.parameters()];
    parameters[0]!.grad.fill(2);
    await syncGradients(parameters, collective!);
    expect(parameters[0]!.grad[0]).toBe(2);
    norm.dispose();
    other.dispose();
  });

  test("refuses what a synchronized layer has not", () => {
    const [collective] = ranks(1);
    const norm = new BatchNorm(3, { activation: "relu" });
    expect(() => convertToSync([norm], collective!)).toThrow(/layers\[0\] without activation, got "relu"/);
    const renorm = new BatchNorm(3, { renorm: {} });
    expect(() => convertToSync([renorm], collective!)).toThrow(/layers\[0\] without renorm/);
    const ghosts = new BatchNorm(3, { virtualBatchSize: 4 });
    expect(() => convertToSync([ghosts], collective!)).toThrow(/layers\[0\] without virtualBatchSize, got 4/);
    expect(() => convertToSync({} as never, collective!)).toThrow(TypeError);
    for (const layer of [renorm, ghosts]) layer.dispose();
    norm.dispose();
  });
});

describe("the layer's own", () => {
  test("wrong arguments are errors before anything is sent", async () => {
    const [collective] = ranks(1);
    expect(() => new SyncBatchNorm(2, {} as never)).toThrow(TypeError);
    expect(
      () => new SyncBatchNorm(2, { collective: { rank: 2, size: 2, allGather: async () => [] } }),
    ).toThrow(RangeError);
    expect(() => new SyncBatchNorm(0, { collective: collective! })).toThrow(RangeError);
    expect(() => new SyncBatchNorm(2, { collective: collective!, eps: -1 })).toThrow(/eps/);
    expect(() => new SyncBatchNorm(2, { collective: collective!, momentum: 2 })).toThrow(/momentum/);
    const layer = new SyncBatchNorm(2, { collective: collective! });
    await expect(layer.forward([1, 2] as never)).rejects.toThrow(TypeError);
    await expect(layer.forward(new Float32Array(3))).rejects.toThrow(RangeError);
    await expect(layer.forward(new Float32Array(4), [2, 3])).rejects.toThrow(RangeError);
    await expect(layer.forward(new Float32Array(4), [4])).rejects.toThrow(RangeError);
    await expect(layer.backward(new Float32Array(4))).rejects.toThrow(/expected a forward before it/);
    await layer.forward(normals(8, 1));
    await expect(layer.backward(new Float32Array(4))).rejects.toThrow(RangeError);
    expect(collective!.step).toBe(1);
  });

  test("backward uses up what forward left, unless it retains it", async () => {
    const [layer] = layersOf(ranks(1), 2) as [SyncBatchNorm];
    const x = normals(8, 1);
    await layer.forward(x);
    const dx = await layer.backward(x, { retain: true });
    const grad = layer.gamma!.grad.slice();
    expect(await layer.backward(x)).toEqual(dx);
    layer.gamma!.grad.forEach((value, c) => {
      expect(value).toBeCloseTo(2 * grad[c]!, 5);
    });
    layer.zeroGrad();
    expect(layer.gamma!.grad).toEqual(new Float32Array(2));
    await expect(layer.backward(x)).rejects.toThrow(Error);
  });

  test("Tensors give Tensors, of the shape that they have, with the bits that arrays give", async () => {
    const shape = [2, 3, 4];
    const x = [1, 2].map((seed) => normals(24, seed));
    const dy = [3, 4].map((seed) => normals(24, seed));
    const arrays = layersOf(ranks(2), 3, { layout: "channels-first" });
    const layers = layersOf(ranks(2), 3, { layout: "channels-first" });
    const y = await Promise.all(arrays.map((layer, r) => layer.forward(x[r]!, shape)));
    const dx = await Promise.all(arrays.map((layer, r) => layer.backward(dy[r]!)));
    // One rank's shard is a Tensor and the other's an array: the kind is each rank's own.
    const given = tensor(shape, x[0]!);
    const first = layers[0]!.forward(given);
    given.data.fill(0);
    const [y0, y1] = await Promise.all([first, layers[1]!.forward(x[1]!, shape)] as const);
    expect(y0).toBeInstanceOf(Tensor);
    expect([y0.shape, y0.toArray(), y1]).toEqual([shape, y[0], y[1]]);
    const gradient = tensor([24], dy[0]!);
    const [dx0] = await Promise.all([layers[0]!.backward(gradient), layers[1]!.backward(dy[1]!)] as const);
    expect([dx0.shape, dx0.toArray()]).toEqual([shape, dx[0]]);
    expect(layers[0]!.stateDict()).toEqual(arrays[0]!.stateDict());

    layers[0]!.eval();
    arrays[0]!.eval();
    given.set(x[0]!);
    const evaluated = await layers[0]!.forward(given);
    expect(evaluated.toArray()).toEqual(await arrays[0]!.forward(x[0]!, shape));
    given.dispose();
    await expect(layers[0]!.forward(given)).rejects.toThrow(/dispose/);
    for (const made of [y0, dx0, evaluated, gradient]) made.dispose();
  });

  test("save: false keeps nothing for backward, and leaves what was kept", async () => {
    const layers = layersOf(ranks(2), 3);
    const x = normals(12, 1);
    const both = <R>(call: (layer: SyncBatchNorm) => Promise<R>) => Promise.all(layers.map(call));
    await both((layer) => layer.forward(x, { save: false }));
    await expect(layers[0]!.backward(x)).rejects.toThrow("expected a forward before it");
    await both((layer) => layer.forward(x));
    await both((layer) => layer.forward(normals(6, 2), { save: false }));
    expect(await both((layer) => layer.backward(x))).toHaveLength(2);
    expect(layers[0]!.batchesTracked).toBe(3);
    const wrong = { save: 1 as unknown as boolean };
    await expect(layers[0]!.forward(x, wrong)).rejects.toThrow("save to be a boolean");
  });

  test("a call before the former one is done is an error; x may change at once", async () => {
    const [layer] = layersOf(ranks(1), 2) as [SyncBatchNorm];
    const x = normals(8, 1);
    const want = await layer.forward(x.slice());
    const first = layer.forward(x);
    x.fill(7);
    await expect(layer.forward(x)).rejects.toThrow(/former call/);
    expect(await first).toEqual(want);
  });

  test("state goes there and back, all or nothing", () => {
    const [layer] = layersOf(ranks(1), 2) as [SyncBatchNorm];
    layer.runningMean.set([1 / 3, 2]);
    const state = layer.stateDict();
    const [other] = layersOf(ranks(1), 2, { affine: true }) as [SyncBatchNorm];
    other.gamma!.data.fill(9);
    expect(other.loadStateDict(state)).toEqual({ missing: [], unexpected: [] });
    expect(other.stateDict()).toEqual(state);
    const before = other.stateDict();
    for (const wrong of [
      { ...state, weight: [1] },
      { ...state, running_var: [1, -1] },
      { ...state, running_mean: [1, Number.NaN] },
      { ...state, bias: ["1", 2] },
      { ...state, num_batches_tracked: [0.5] },
      { ...state, extra: [1] },
      { weight: [3, 3] },
      null,
    ]) {
      expect(() => other.loadStateDict(wrong as never)).toThrow(/SyncBatchNorm\(2\).loadStateDict/);
      expect(other.stateDict()).toEqual(before);
    }
    expect(other.loadStateDict({ weight: [3, 4], extra: [1] }, { strict: false })).toEqual({
      missing: ["bias", "running_mean", "running_var", "num_batches_tracked"],
      unexpected: ["extra"],
    });
    expect(other.gamma!.data).toEqual(Float32Array.of(3, 4));
  });

  test("without gamma and beta, without running statistics; disposed of", async () => {
    const layers = layersOf(ranks(2), 1, { affine: false, trackRunningStats: false });
    for (const layer of layers) layer.eval();
    const y = await Promise.all(layers.map((layer, r) => layer.forward(Float32Array.of(r, r))));
    expect(y[0]![0]).toBeCloseTo(-1, 3);
    expect(y[1]![0]).toBeCloseTo(1, 3);
    expect(layers[0]!.parameters()).toEqual([]);
    expect(layers[0]!.stateDict()).toEqual({});
    layers[0]!.dispose();
    layers[0]![Symbol.dispose]();
    await expect(layers[0]!.forward(new Float32Array(2))).rejects.toThrow(/disposed/);
    expect(() => layers[0]!.gamma).toThrow(TypeError);
  });
});
