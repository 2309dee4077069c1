import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { oneOfEach } from "./refusal.js";

let library: Library;
beforeAll(async () => {
  library = await load();
});

describe("state dict", () => {
  test("BatchNorm has PyTorch's five names", () => {
    const layer = new library.BatchNorm(4);
    const state = layer.stateDict();
    expect(Object.keys(state).sort()).toEqual(
      ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"].sort(),
    );
    for (const [name, value] of Object.entries(state)) {
      expect(value, name).toBeInstanceOf(name.includes("_") ? Float64Array : Float32Array);
      expect(value, name).toHaveLength(name === "num_batches_tracked" ? 1 : 4);
    }
  });

  test("holds what the layer has, no more", () => {
    expect(
      Object.keys(new library.BatchNorm(4, { affine: false, trackRunningStats: false }).stateDict()),
    ).toEqual([]);
    expect(
      Object.keys(new library.BatchNorm(4, { affine: { gamma: true, beta: false } }).stateDict()),
    ).not.toContain("bias");
    expect(Object.keys(new library.LayerNorm(4).stateDict()).sort()).toEqual(["bias", "weight"]);
    expect(Object.keys(new library.RMSNorm(4).stateDict())).toEqual(["weight"]);
    expect(Object.keys(new library.GroupNorm(2, 4).stateDict()).sort()).toEqual(["bias", "weight"]);
    expect(Object.keys(new library.InstanceNorm(4).stateDict())).toEqual([]);
    expect(Object.keys(new library.InstanceNorm(4, { affine: true }).stateDict()).sort()).toEqual([
      "bias",
      "weight",
    ]);
  });

  test("carries a trained layer into a fresh one, which then goes on bit for bit", () => {
    for (const [k, { layer, shape }] of oneOfEach(library).entries()) {
      const twin = oneOfEach(library)[k]!.layer;
      layer.parameters().forEach(({ data }, seed) => {
        data.set(normals(data.length, seed));
      });
      layer.forward(normals(24, 1), shape);
      layer.forward(normals(24, 2, 3, 5), shape);
      // biome-ignore lint/suspicious/noExplicitAny: each layer takes its own kind of state
      twin.loadStateDict(layer.stateDict() as any);
      expect(twin.stateDict()).toEqual(layer.stateDict());
      const x = normals(24, 3);
      expect(twin.forward(x, shape)).toEqual(layer.forward(x, shape));
      layer.eval();
      twin.eval();
      expect(twin.forward(x, shape)).toEqual(layer.forward(x, shape));
      expect(twin.stateDict()).toEqual(layer.stateDict());
    }
  });

  test("is the caller's own: neither side sees the other's later changes", () => {
    const layer = new library.BatchNorm(4);
    const state = layer.stateDict();
    state.weight!.fill(9);
    expect(layer.gamma!.data).toEqual(Float32Array.of(1, 1, 1, 1));
    const given = { ...layer.stateDict(), weight: Float32Array.of(1, 2, 3, 4) };
    layer.loadStateDict(given);
    given.weight.fill(9);
    expect(layer.gamma!.data).toEqual(Float32Array.of(1, 2, 3, 4));
  });

  test("counts the cumulative average on where it was", () => {
    const layer = new library.BatchNorm(2, { momentum: null });
    for (let step = 0; step < 3; step++) layer.forward(normals(8, step), [4, 2]);
    const twin = new library.BatchNorm(2, { momentum: null });
    twin.loadStateDict(layer.stateDict());
    expect(Number(twin.batchesTracked)).toBe(3);
    layer.forward(normals(8, 9), [4, 2]);
    twin.forward(normals(8, 9), [4, 2]);
    expect(twin.runningMean).toEqual(layer.runningMean);
  });

  test("keys from a prototype do not count, and none reaches one", () => {
    const layer = new library.BatchNorm(2);
    const before = layer.stateDict();
    const hostile = JSON.parse('{"__proto__":{"x":1},"constructor":1}');
    expect(() => layer.loadStateDict(hostile)).toThrow(/__proto__|constructor|weight/);
    expect(() => layer.loadStateDict(Object.create(layer.stateDict()))).toThrow(/plain object|weight/);
    expect(layer.stateDict()).toEqual(before);
    expect(({} as Record<string, unknown>).x).toBeUndefined();
  });
});

describe("gamma and beta", () => {
  test("start at 1 and 0, their gradients at 0", () => {
    for (const { layer } of oneOfEach(library)) {
      expect(layer.gamma!.data.every((value) => value === 1)).toBe(true);
      expect(layer.gamma!.grad.every((value) => value === 0)).toBe(true);
      expect(layer.beta?.data.every((value) => value === 0) ?? true).toBe(true);
      expect(layer.parameters()).toHaveLength(layer.beta ? 2 : 1);
    }
  });

  test("are used as they stand at the call", () => {
    const layer = new library.BatchNorm(1, { eps: 0 });
    const x = Float32Array.of(-1, 1);
    layer.gamma!.data[0] = 3;
    layer.beta!.data[0] = 10;
    expect(layer.forward(x)).toEqual(Float32Array.of(7, 13));
    layer.gamma!.data[0] = 5;
    expect(layer.forward(x)).toEqual(Float32Array.of(5, 15));
  });

  test("are absent where they were not asked for", () => {
    expect(new library.BatchNorm(2, { affine: false }).parameters()).toEqual([]);
    const onlyBeta = new library.BatchNorm(2, { affine: { gamma: false, beta: true } });
    expect(onlyBeta.gamma).toBeNull();
    expect(onlyBeta.parameters()).toHaveLength(1);
    expect(new library.InstanceNorm(2).gamma).toBeNull();
    expect(new library.RMSNorm(2).beta).toBeNull();
  });

  test.each(["SGD", "AdamW"] as const)("are trained by %s towards a target", (kind) => {
    const layer = new library.BatchNorm(3);
    const optimizer = new library[kind](layer.parameters(), { lr: 0.05, weightDecay: 0 });
    const x = normals(96, 1, 5, 2);
    const target = Float32Array.of(2, -1, 0.5);
    const shift = Float32Array.of(1, 0, -3);
    const wanted = layer.forward(x, [32, 3]).map((xhat, i) => xhat * target[i % 3]! + shift[i % 3]!);
    for (let step = 0; step < 400; step++) {
      const y = layer.forward(x, [32, 3]);
      optimizer.zeroGrad();
      layer.backward(y.map((value, i) => (value - wanted[i]!) / 32));
      optimizer.step();
    }
    for (let c = 0; c < 3; c++) {
      expect(layer.gamma!.data[c]).toBeCloseTo(target[c]!, 2);
      expect(layer.beta!.data[c]).toBeCloseTo(shift[c]!, 2);
    }
  });
});
