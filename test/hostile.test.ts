/** The third-party catalogue of invalid and edge calls: a test for each entry, named by its id. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test } from "vitest";
import { build, geometryOf, type Library, load, normals } from "./cases.js";
import { judge } from "./judge.js";
import { expectRefused, expectRefusedUnchanged, naming, refusal, snapshot } from "./refusal.js";

// biome-ignore lint/suspicious/noExplicitAny: wrong values are the point
type Any = any;

let library: Library;
beforeEach(async () => {
  library = await load();
});

const trained = (options: ConstructorParameters<Library["BatchNorm"]>[1] = {}) => {
  const layer = new library.BatchNorm(4, options);
  layer.forward(normals(24, 1), [6, 4]);
  return layer;
};

const entries: Record<string, () => void | Promise<void>> = {
  "train-one-value-per-channel": () => {
    const layer = trained();
    for (const shape of [
      [1, 4],
      [1, 1, 1, 4],
    ]) {
      const error = expectRefusedUnchanged("BatchNorm", layer, () =>
        layer.forward(new Float32Array(4), shape),
      );
      expect(error).toBeInstanceOf(RangeError);
    }
    const first = new library.BatchNorm(4, { layout: "channels-first" });
    const call = () => first.forward(new Float32Array(4), [1, 4, 1, 1]);
    expect(expectRefusedUnchanged("BatchNorm", first, call)).toBeInstanceOf(RangeError);
  },

  "infer-one-value-per-channel": () => {
    judge(library, { subject: { family: "batch", shape: [1, 4] }, x: normals(4, 1), mode: "eval" });
  },

  "groupnorm-one-value-per-group": () => {
    const layer = new library.GroupNorm(4, 4);
    layer.beta!.data.set([1, 2, 3, 4]);
    expect(layer.forward(normals(4, 1), [1, 4])).toEqual(Float32Array.of(1, 2, 3, 4));
  },

  "groupnorm-n7-one-value-per-group": () => {
    const layer = new library.GroupNorm(27, 27);
    const beta = normals(27, 1);
    layer.beta!.data.set(beta);
    const y = layer.forward(normals(189, 2), [7, 27]);
    for (let n = 0; n < 7; n++) expect(y.slice(27 * n, 27 * n + 27)).toEqual(beta);
  },

  "instance-norm-single-spatial": () => {
    for (const [layout, shape] of [
      ["channels-first", [2, 4, 1, 1]],
      ["channels-last", [2, 1, 1, 4]],
    ] as const) {
      const layer = new library.InstanceNorm(4, { layout });
      const call = () => layer.forward(new Float32Array(8), [...shape]);
      expect(expectRefusedUnchanged("InstanceNorm", layer, call)).toBeInstanceOf(RangeError);
    }
  },

  "empty-batch-infer": () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      const layer = new library.BatchNorm(4, { layout });
      layer.eval();
      const shape = layout === "channels-first" ? [0, 4, 2, 3] : [0, 2, 3, 4];
      expect(layer.forward(new Float32Array(0), shape)).toEqual(new Float32Array(0));
    }
  },

  "empty-batch-train": () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      const layer = new library.BatchNorm(4, { layout });
      const shape = layout === "channels-first" ? [0, 4, 2, 3] : [0, 2, 3, 4];
      const before = layer.stateDict();
      expect(layer.forward(new Float32Array(0), shape)).toEqual(new Float32Array(0));
      expect(layer.stateDict()).toEqual(before);
    }
  },

  "empty-spatial-backward": () => {
    for (const [family, layout] of [
      ["batch", "channels-last"],
      ["batch", "channels-first"],
      ["group", "channels-first"],
      ["instance", "channels-first"],
      ["layer", "channels-last"],
      ["rms", "channels-last"],
    ] as const) {
      const shape = layout === "channels-first" ? [4, 2, 0, 3] : [4, 0, 3, 2];
      const layer = build(library, { family, layout, shape });
      expect(layer.forward(new Float32Array(0), shape)).toEqual(new Float32Array(0));
      expect(layer.backward(new Float32Array(0))).toEqual(new Float32Array(0));
      for (const { grad } of layer.parameters()) expect(grad.every((value) => value === 0)).toBe(true);
    }
  },

  "zero-channels": () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      const layer = new library.BatchNorm(0, { layout });
      const shape = layout === "channels-first" ? [3, 0, 2, 2] : [3, 2, 2, 0];
      expect(layer.forward(new Float32Array(0), shape)).toEqual(new Float32Array(0));
      expect(layer.backward(new Float32Array(0))).toEqual(new Float32Array(0));
      expect(layer.gamma!.data).toHaveLength(0);
    }
  },

  "eps-zero-train": () => {
    const subject = { family: "batch", shape: [6, 4], eps: 0 } as const;
    judge(library, { subject, x: normals(24, 1), dy: normals(24, 2) });
    // and on a constant column 0 * infinity is NaN, as IEEE has it
    const layer = new library.BatchNorm(1, { eps: 0 });
    expect(layer.forward(Float32Array.of(5, 5), [2, 1])).toEqual(Float32Array.of(Number.NaN, Number.NaN));
  },

  "eps-negative": () => {
    for (const eps of [-1e-12, -1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const make of [
        () => new library.BatchNorm(4, { eps }),
        () => new library.LayerNorm(4, { eps }),
        () => new library.RMSNorm(4, { eps }),
        () => new library.GroupNorm(2, 4, { eps }),
        () => new library.InstanceNorm(4, { eps }),
      ]) {
        expect(refusal(make)).toBeInstanceOf(RangeError);
        expect(refusal(make).message).toMatch(/eps/);
      }
    }
  },

  "eps-zero-var-zero": () => {
    const layer = new library.BatchNorm(1, { eps: 0 });
    layer.loadStateDict({
      ...layer.stateDict(),
      running_mean: Float32Array.of(2),
      running_var: Float32Array.of(0),
    });
    layer.eval();
    const y = layer.forward(Float32Array.of(2, 3, 1), [3, 1]);
    expect(y).toEqual(Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY));
  },

  "negative-running-var": () => {
    // it cannot be loaded
    const layer = trained();
    const running_var = Float32Array.of(1, -1, 1, 1);
    const call = () => layer.loadStateDict({ ...layer.stateDict(), running_var });
    expectRefusedUnchanged("BatchNorm", layer, call, /running_var/);
    // and written past the checks it gives NaN in its own channel, or an error, but no trap
    layer.runningVar![1] = -1;
    layer.eval();
    try {
      const y = layer.forward(normals(24, 2), [6, 4]);
      y.forEach((value, i) => {
        if (i % 4 !== 1) expect(value).not.toBeNaN();
      });
    } catch (error) {
      expect((error as Error).message).toMatch(naming("BatchNorm"));
    }
  },

  "momentum-null": () => {
    const layer = new library.BatchNorm(1, { momentum: null });
    layer.forward(Float32Array.of(0, 2), [2, 1]);
    layer.forward(Float32Array.of(4, 8), [2, 1]);
    layer.forward(Float32Array.of(1, 3), [2, 1]);
    expect(layer.runningMean![0]).toBeCloseTo((1 + 6 + 2) / 3, 6);
    expect(layer.runningVar![0]).toBeCloseTo((2 + 8 + 2) / 3, 6);
  },

  "momentum-odd": () => {
    expect(() => new library.BatchNorm(4, { momentum: 0 })).not.toThrow();
    expect(() => new library.BatchNorm(4, { momentum: 1 })).not.toThrow();
    for (const momentum of [-1.2, 2.7]) {
      expect(refusal(() => new library.BatchNorm(4, { momentum }))).toBeInstanceOf(RangeError);
    }
  },

  "short-running-var": () => {
    const layer = trained();
    for (const length of [0, 1, 3]) {
      const call = () => layer.loadStateDict({ ...layer.stateDict(), running_var: new Float32Array(length) });
      const error = expectRefusedUnchanged("BatchNorm", layer, call, /running_var/, /4/, String(length));
      expect(error).toBeInstanceOf(RangeError);
    }
  },

  "missing-running-stats-infer": () => {
    const layer = new library.BatchNorm(4, { trackRunningStats: false });
    const y = layer.forward(normals(24, 1), [6, 4]);
    layer.eval();
    // as PyTorch: the minibatch's own
    expect(layer.forward(normals(24, 1), [6, 4])).toEqual(y);
  },

  "rank-1-train": () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      const layer = new library.BatchNorm(4, { layout });
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(new Float32Array(4), [4]));
    }
  },

  "wrong-gamma-length": () => {
    const layer = trained();
    for (const name of ["weight", "bias"]) {
      for (const length of [0, 3, 5, 24]) {
        const call = () => layer.loadStateDict({ ...layer.stateDict(), [name]: new Float32Array(length) });
        expect(expectRefusedUnchanged("BatchNorm", layer, call, name)).toBeInstanceOf(RangeError);
      }
    }
  },

  "dims-product-overflow": () => {
    const layer = trained();
    const x = new Float32Array(8);
    for (const shape of [
      [65_536, 65_536, 1, 1],
      [65_536, 65_536, 1, 4],
      [2 ** 31, 2, 1],
      [2 ** 31, 2, 4],
      [2 ** 30, 4],
      [2 ** 62, 4],
      [Number.NaN, 4],
      [-1, 4],
      [-2, -4],
      [1.5, 4],
      ["3", 4],
      [2n, 4],
      [Number.POSITIVE_INFINITY, 4],
    ]) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x, shape as Any));
    }
  },

  "groups-not-dividing": () => {
    for (const groups of [0, -1, 5, 7, 1.5, Number.NaN]) {
      expectRefused("GroupNorm", () => new library.GroupNorm(groups, 6));
    }
  },

  "nan-in-one-channel": () => {
    for (const bad of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      for (const [layout, shape] of [
        ["channels-last", [18, 5]],
        ["channels-first", [6, 5, 3]],
      ] as const) {
        const subject = { family: "batch", layout, shape } as const;
        const { parameter } = geometryOf(subject);
        const [layer, twin] = [build(library, subject), build(library, subject)] as [Any, Any];
        const x = normals(90, 1);
        const dirty = x.slice();
        dirty[parameter.indexOf(2, 40)] = bad;
        const y = layer.forward(dirty, [...shape]);
        const want = twin.forward(x, [...shape]);
        y.forEach((value: number, i: number) => {
          expect(value).toBe(parameter[i] === 2 ? Number.NaN : want[i]);
        });
        expect(layer.skippedUpdates).toBe(1);
        expect(layer.runningMean[2]).toBe(0);
        expect(layer.runningVar[2]).toBe(1);
        for (const c of [0, 1, 3, 4]) {
          expect(layer.runningMean[c]).toBe(twin.runningMean[c]);
          expect(layer.runningVar[c]).toBe(twin.runningVar[c]);
        }
      }
    }
  },

  "inf-mean": () => {
    const layer = new library.BatchNorm(1);
    const x = Float32Array.of(Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1);
    const y = layer.forward(x, [3, 1]);
    expect(y).toEqual(new Float32Array(3).fill(Number.NaN));
    expect(layer.backward(Float32Array.of(1, 2, 3))).toEqual(new Float32Array(3).fill(Number.NaN));
  },

  "aliased-buffers": () => {
    // out === x
    const layer = trained();
    layer.eval();
    const x = normals(24, 2);
    const y = layer.forward(x, [6, 4]);
    const own = x.slice();
    layer.forwardInto(own, own, [6, 4]);
    expect(own).toEqual(y);
    layer.train();
    const before = x.slice();
    expectRefusedUnchanged("BatchNorm", layer, () => layer.forwardInto(x, x, [6, 4]));
    expect(x).toEqual(before);
    // gamma === running_var, beta === running_mean: the layer copies, so that they do not stay one
    const shared = Float32Array.of(1, 2, 3, 4);
    const twin = new library.BatchNorm(4);
    const state = {
      ...twin.stateDict(),
      weight: shared,
      running_var: shared,
      bias: shared,
      running_mean: shared,
    };
    twin.loadStateDict(state);
    twin.forward(x, [6, 4]);
    expect(twin.gamma!.data).toEqual(shared);
    expect(twin.beta!.data).toEqual(shared);
    expect(twin.runningVar).not.toEqual(shared);
    expect(shared).toEqual(Float32Array.of(1, 2, 3, 4));
  },

  "overlapping-views": () => {
    const layer = trained();
    layer.eval();
    for (const shift of [-1, 1]) {
      const buffer = new Float32Array(40);
      const x = buffer.subarray(8, 32);
      x.set(normals(24, 2));
      const want = layer.forward(x.slice(), [6, 4]);
      const out = buffer.subarray(8 + shift, 32 + shift);
      layer.forwardInto(x, out, [6, 4]);
      expect(out).toEqual(want);
    }
  },

  "misaligned-view": () => {
    const buffer = new ArrayBuffer(4 * 64);
    for (const [offset, rows, channels] of [
      [1, 5, 3],
      [2, 7, 5],
      [3, 3, 7],
      [1, 8, 4],
    ] as const) {
      const view = new Float32Array(buffer, 4 * offset, rows * channels);
      view.set(normals(rows * channels, offset));
      const subject = { family: "batch", shape: [rows, channels] } as const;
      const { y } = judge(library, { subject, x: view, dy: view });
      expect(y).toEqual(judge(library, { subject, x: view.slice() }).y);
    }
  },

  "wrong-type": () => {
    const layer = trained();
    const shrunk: Any = new (ArrayBuffer as Any)(96, { maxByteLength: 96 });
    const tracking = new Float32Array(shrunk);
    layer.forward(tracking, [6, 4]);
    shrunk.resize(40);
    const detached = new Float32Array(24);
    structuredClone(detached.buffer, { transfer: [detached.buffer] });
    for (const x of [
      new Float64Array(24),
      new Array(24).fill(0),
      new Uint8Array(24),
      new DataView(new ArrayBuffer(96)),
      detached,
      tracking,
    ]) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x as Any, [6, 4]));
    }
    // shared memory is read once, like any other
    const shared = new Float32Array(new SharedArrayBuffer(96));
    shared.set(normals(24, 3));
    const twin = trained();
    twin.loadStateDict(layer.stateDict());
    expect(layer.forward(shared as Any, [6, 4])).toEqual(twin.forward(normals(24, 3), [6, 4]));
  },

  "stale-view-after-growth": () => {
    const layer = trained();
    const y = layer.forward(normals(24, 2), [6, 4]);
    const kept = y.slice();
    const { memoryBytes } = library.runtimeInfo();
    library.tensor([memoryBytes / 4]);
    expect(library.runtimeInfo().memoryBytes).toBeGreaterThan(memoryBytes);
    layer.forward(normals(24, 3), [6, 4]);
    expect(y).toEqual(kept);
    expect(y.buffer.byteLength).toBe(96);
  },

  oom: async () => {
    const small = await load();
    await small.init({ maxMemory: 2 ** 20 });
    const layer = new small.BatchNorm(4);
    const before = snapshot(layer as Any);
    const error = refusal(() => layer.forward(new Float32Array(2 ** 20), [2 ** 18, 4]));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(/\d+ bytes/);
    expect(snapshot(layer as Any)).toEqual(before);
    const x = normals(24, 1);
    expect(layer.forward(x, [6, 4])).toEqual(new library.BatchNorm(4).forward(x, [6, 4]));
  },

  "use-after-dispose": () => {
    const layer = trained();
    const x = library.tensor([6, 4]);
    layer.dispose();
    x.dispose();
    for (const call of [
      () => layer.forward(normals(24, 1)),
      () => layer.backward(normals(24, 1)),
      () => x.data,
    ]) {
      expect(refusal(call).message).toMatch(/dispose/);
    }
    expect(() => layer.dispose()).not.toThrow();
    expect(() => x.dispose()).not.toThrow();
  },

  "state-dict-proto": () => {
    const layer = trained();
    const dict = JSON.parse('{"__proto__":{"x":1},"constructor":1}');
    expectRefusedUnchanged("BatchNorm", layer, () => layer.loadStateDict(dict));
    const extra = { ...layer.stateDict(), ...JSON.parse('{"constructor":1}') };
    expectRefusedUnchanged("BatchNorm", layer, () => layer.loadStateDict(extra), /constructor/);
    expect(({} as Any).x).toBeUndefined();
    expect(Object.keys(Object.prototype)).toEqual([]);
  },

  "state-dict-missing-or-extra": () => {
    const layer = trained();
    const good = new library.BatchNorm(4).stateDict();
    const { running_var: _, ...missing } = good;
    for (const [dict, key] of [
      [missing, /running_var/],
      [{ ...good, extra: new Float32Array(4) }, /extra/],
      [{ ...good, bias: new Float32Array(5) }, /bias/],
      [{ ...good, running_var: Float32Array.of(1, Number.NaN, 1, 1) }, /running_var/],
      [{ ...good, running_var: Float32Array.of(1, -1e-9, 1, 1) }, /running_var/],
      [{ ...good, weight: Float32Array.of(1, 1, Number.POSITIVE_INFINITY, 1) }, /weight/],
    ] as const) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.loadStateDict(dict as Any), key);
    }
  },

  "backward-before-forward": () => {
    const layer = new library.BatchNorm(4);
    expect(refusal(() => layer.backward(new Float32Array(24))).message).toMatch(/forward/);
    layer.forward(normals(24, 1), [6, 4]);
    expectRefusedUnchanged("BatchNorm", layer, () => layer.backward(new Float32Array(20)), /24/, /20/);
    const dy = library.tensor([4, 6]);
    expectRefusedUnchanged("BatchNorm", layer, () => layer.backward(dy));
  },
};

/** An engine that forbids compiling, one without SIMD, and one that refuses memory: surroundings.test.ts has them. */
const elsewhere = ["csp", "no-simd", "low-virtual-memory"];

describe("hostile_api.json", () => {
  test.each(Object.entries(entries))("%s", (_, entry) => entry());

  const catalogue = join(process.env.VECTORS ?? "", "hostile_api.json");
  test.runIf(process.env.VECTORS)("every entry of the catalogue has its test", () => {
    expect(existsSync(catalogue)).toBe(true);
    const ids = JSON.parse(readFileSync(catalogue, "utf8")).entries.map(({ id }: { id: string }) => id);
    expect([...Object.keys(entries), ...elsewhere].sort()).toEqual(ids.sort());
  });
});
