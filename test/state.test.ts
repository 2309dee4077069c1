import { beforeAll, describe, expect, test } from "vitest";
import { loadSafetensors, saveSafetensors } from "../src/safetensors.js";
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

describe("loadStateDict", () => {
  const names = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"];
  const trained = () => {
    const layer = new library.BatchNorm(2);
    for (let step = 0; step < 3; step++) layer.forward(normals(8, step, 2, 3), [4, 2]);
    layer.gamma!.data.set([2, 3]);
    return layer;
  };

  test("takes what JSON makes of a state dict, and a Map", () => {
    const state = trained().stateDict();
    for (const dict of [JSON.parse(JSON.stringify(state)), new Map(Object.entries(state))]) {
      const twin = new library.BatchNorm(2);
      expect(twin.loadStateDict(dict)).toEqual({ missing: [], unexpected: [] });
      expect(twin.stateDict()).toEqual(state);
    }
  });

  test("takes typed arrays of every kind, plain ones, numbers and bigints", () => {
    const kinds: {
      name: string;
      from(list: number[]): ArrayLike<number>;
      of(one: number): ArrayLike<number>;
    }[] = [
      Float64Array,
      Float32Array,
      Int32Array,
      Uint32Array,
      Int16Array,
      Uint16Array,
      Int8Array,
      Uint8Array,
      Uint8ClampedArray,
      Array,
    ];
    for (const kind of kinds) {
      const layer = new library.BatchNorm(2);
      const dict = Object.fromEntries(names.slice(0, 4).map((name, i) => [name, kind.from([i, i + 1])]));
      layer.loadStateDict({ ...dict, num_batches_tracked: kind.of(7) });
      expect(layer.beta!.data, kind.name).toEqual(Float32Array.of(1, 2));
      expect([...layer.runningVar], kind.name).toEqual([3, 4]);
      expect(layer.batchesTracked, kind.name).toBe(7);
    }
    const layer = new library.BatchNorm(1);
    const one = {
      weight: 2,
      bias: 3n,
      running_mean: BigInt64Array.of(-4n),
      running_var: BigUint64Array.of(5n),
    };
    layer.loadStateDict({ ...one, num_batches_tracked: 6n });
    expect([...layer.runningMean, ...layer.runningVar, layer.batchesTracked]).toEqual([-4, 5, 6]);
  });

  test.each([2 ** 24 + 1, 2 ** 40 + 1, 2 ** 53 - 1])(
    "counts %d minibatches exactly, by every way",
    (count) => {
      const layer = new library.BatchNorm(2);
      layer.batchesTracked = count;
      const state = layer.stateDict();
      const ways = [
        state,
        JSON.parse(JSON.stringify(state)),
        loadSafetensors(saveSafetensors(state)),
        loadSafetensors(saveSafetensors(state), { dtype: "keep" }),
      ];
      for (const dict of ways) {
        const twin = new library.BatchNorm(2);
        twin.loadStateDict(dict);
        expect(twin.batchesTracked).toBe(count);
      }
    },
  );

  test("keeps its own count where the dict has none, as PyTorch does with files of before there was one", () => {
    const { num_batches_tracked, ...rest } = trained().stateDict();
    const fresh = new library.BatchNorm(2);
    expect(fresh.loadStateDict(rest)).toEqual({ missing: [], unexpected: [] });
    expect(fresh.batchesTracked).toBe(0);
    fresh.batchesTracked = 5;
    fresh.loadStateDict(rest);
    expect(fresh.batchesTracked).toBe(5);
  });

  test("without strict takes what there is and tells the rest", () => {
    const layer = new library.BatchNorm(2);
    const found = layer.loadStateDict({ bias: [5, 6], gamma: [1, 2], momentum: 1 }, { strict: false });
    expect(found).toEqual({
      missing: ["weight", "running_mean", "running_var"],
      unexpected: ["gamma", "momentum"],
    });
    expect(layer.beta!.data).toEqual(Float32Array.of(5, 6));
    expect(layer.gamma!.data).toEqual(Float32Array.of(1, 1));
    expect(() => layer.loadStateDict({ bias: [1] }, { strict: false })).toThrow(
      /bias to have 2 values, got 1/,
    );
    expect(() => layer.loadStateDict({}, { strict: "no" as unknown as boolean })).toThrow(TypeError);
    expect(layer.beta!.data).toEqual(Float32Array.of(5, 6));
  });

  test("lists what the dict has, and all that is wrong", () => {
    const layer = new library.BatchNorm(2);
    expect(() => layer.loadStateDict({ weight: [1, 1], gamma: [1, 1], beta: [1, 1] })).toThrow(
      "BatchNorm(2).loadStateDict: expected entries bias, running_mean, running_var, which are missing and none of gamma, beta, which are unexpected, got a state dict with weight, gamma, beta ({ strict: false } takes what fits)",
    );
  });

  test("changes nothing when the last entry is unfit", () => {
    const layer = trained();
    const before = layer.stateDict();
    const good = new library.BatchNorm(2).stateDict();
    for (const odd of [
      [1, null],
      [1, undefined],
      { 0: 1 },
      { 0: 1, 1: "2" },
      { 0: 1, 2: 2 },
      new Map(),
      "12",
      null,
    ]) {
      expect(() => layer.loadStateDict({ ...good, running_var: odd as never })).toThrow(/running_var/);
      expect(layer.stateDict()).toEqual(before);
    }
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
