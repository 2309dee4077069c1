/** What a forward leaves for its backward, and where: contexts, what is kept, and what is refused. */
import { beforeEach, describe, expect, test } from "vitest";
import {
  build,
  fill,
  geometryOf,
  isCentered,
  type Library,
  label,
  load,
  normals,
  plain,
  statisticsOf,
  subjectsOfEveryFamily,
} from "./cases.js";
import { gradientFor } from "./judge.js";
import * as reference from "./reference.js";
import { type AnyLayer, naming, refusal } from "./refusal.js";

let library: Library;
beforeEach(async () => {
  library = await load();
});

describe("a backward uses up its forward", () => {
  test("so that a second one, and one without a forward, is an Error that says what to do", () => {
    for (const subject of subjectsOfEveryFamily(9, 6)) {
      const shape = [...subject.shape];
      const layer = build(library, subject);
      const dy = gradientFor(geometryOf(subject));
      expect(refusal(() => layer.backward(dy)).message).toMatch(/expected a forward before/);
      layer.forward(fill(plain, geometryOf(subject)), shape);
      const dx = layer.backward(dy, { retain: true });
      expect(layer.backward(dy), label(subject)).toEqual(dx);
      const grads = layer.parameters().map(({ grad }) => grad.slice());
      expect(refusal(() => layer.backward(dy)).message).toMatch(/retain: true.*context\(\)/);
      expect(layer.parameters().map(({ grad }) => grad)).toEqual(grads);
    }
  });

  test("two forwards and two backwards on one context", () => {
    const layer = new library.LayerNorm(4);
    layer.forward(normals(8, 1));
    layer.forward(normals(8, 2));
    layer.backward(normals(8, 3));
    expect(refusal(() => layer.backward(normals(8, 3))).message).toMatch(/context\(\)/);
  });

  test("an evaluation between a training forward and its backward is refused, or leaves it alone", () => {
    const [x, dy, other] = [normals(24, 1), normals(24, 2), normals(24, 3, 5)] as const;
    const want = new library.BatchNorm(4);
    want.forward(x);
    const dx = want.backward(dy);

    const layer = new library.BatchNorm(4);
    layer.forward(x);
    layer.eval().forward(other);
    layer.train();
    expect(refusal(() => layer.backward(dy)).message).toMatch(/noGrad.*save: false.*context\(\)/);

    layer.forward(x);
    layer.eval();
    library.noGrad(() => layer.forward(other));
    layer.forward(other, { save: false });
    layer.forward(other, { context: layer.context() });
    layer.train();
    expect(layer.backward(dy)).toEqual(dx);
  });
});

describe("contexts", () => {
  test("a layer shared by two minibatches has the gradients of both", () => {
    for (const subject of subjectsOfEveryFamily(11, 6)) {
      const shape = [...subject.shape];
      const geometry = geometryOf(subject);
      const layer = build(library, subject);
      const inputs = [1, 2].map((seed) => fill(plain, geometry, seed));
      const gradients = [11, 12].map((seed) => gradientFor(geometry, 1, seed));
      const contexts = inputs.map(() => layer.context());
      inputs.forEach((x, k) => {
        layer.forward(x, { shape, context: contexts[k] });
      });
      const sums = layer.parameters().map(({ data }) => new Float64Array(data.length));
      inputs.forEach((x, k) => {
        const dx = layer.backward(gradients[k]!, { context: contexts[k] });
        const options = { gamma: layer.gamma?.data, centered: isCentered(subject.family) };
        const want = reference.backward(
          x,
          gradients[k]!,
          geometry,
          statisticsOf(subject, x, geometry),
          options,
        );
        for (let i = 0; i < dx.length; i++) expect(Math.abs(dx[i]! - want.dx[i]!)).toBeLessThan(2e-5);
        const parts = [layer.gamma && want.dgamma, layer.beta && want.dbeta].filter((part) => part !== null);
        parts.forEach((part, p) => {
          part.forEach((value, c) => {
            sums[p]![c]! += value;
          });
        });
      });
      layer.parameters().forEach(({ grad }, p) => {
        grad.forEach((value, c) => {
          expect(Math.abs(value - sums[p]![c]!), label(subject)).toBeLessThan(1e-4);
        });
      });
      for (const context of contexts) context.dispose();
    }
  });

  test("a recurrent layer over 20 steps has the gradient of central differences in float64", () => {
    // h = layerNorm(h) * 0.5 + input, twenty times; the loss is the dot product of the last h with w.
    const n = 6;
    const steps = 20;
    const eps = 1e-5;
    const [start, w] = [normals(n, 1), normals(n, 2)];
    const inputs = Array.from({ length: steps }, (_, k) => normals(n, 10 + k));
    const gamma = Float64Array.from({ length: n }, (_, c) => 1 + c / 10);
    const loss = (h0: ArrayLike<number>) => {
      let h = Float64Array.from(h0);
      for (const input of inputs) {
        const mean = h.reduce((a, b) => a + b, 0) / n;
        const variance = h.reduce((a, b) => a + (b - mean) ** 2, 0) / n;
        h = h.map((v, c) => (0.5 * gamma[c]! * (v - mean)) / Math.sqrt(variance + eps) + input[c]!);
      }
      return h.reduce((sum, v, c) => sum + v * w[c]!, 0);
    };
    const layer = new library.LayerNorm(n);
    layer.gamma!.data.set(gamma);
    const contexts = inputs.map(() => layer.context());
    let h: Float32Array = start;
    inputs.forEach((input, k) => {
      h = layer.forward(h, { context: contexts[k] }).map((v, c) => 0.5 * v + input[c]!);
    });
    let dh: Float32Array = w;
    for (const context of [...contexts].reverse())
      dh = layer.backward(
        dh.map((v) => 0.5 * v),
        { context },
      );
    for (let i = 0; i < n; i++) {
      const at = (by: number) => loss(Float64Array.from(start, (v, c) => (c === i ? v + by : v)));
      const want = (at(1e-4) - at(-1e-4)) / 2e-4;
      expect(Math.abs(dh[i]! - want)).toBeLessThan(1e-5 * Math.max(1, Math.abs(want)));
    }
  });

  test("recomputation: a forward thrown away and taken again has the same gradient", () => {
    const layer = new library.GroupNorm(2, 4);
    const shape = [3, 4, 5];
    const [x, dy] = [normals(60, 1), normals(60, 2)];
    layer.forward(x, shape);
    const dx = layer.backward(dy);
    const y = library.noGrad(() => layer.forward(x, shape));
    expect(refusal(() => layer.backward(dy)).message).toMatch(/expected a forward/);
    const again = layer.context();
    expect(layer.forward(x, { shape, context: again })).toEqual(y);
    expect(layer.backward(dy, { context: again })).toEqual(dx);
  });

  test("one of another layer, one that is disposed, and one that is none are refused", () => {
    const [layer, other] = [new library.LayerNorm(4), new library.LayerNorm(4)];
    const x = normals(8, 1);
    const context = layer.context();
    expect(refusal(() => other.forward(x, { context })).message).toMatch(/LayerNorm.*context/);
    context.dispose();
    context.dispose();
    expect(refusal(() => layer.forward(x, { context })).message).toMatch(/disposed/);
    expect(refusal(() => layer.forward(x, { context: {} as never })).message).toMatch(
      naming("LayerNorm", "context"),
    );
    expect(refusal(() => layer.backward(x, { context: layer.context() })).message).toMatch(/forward before/);
  });

  test("give their memory back, and go with their layer", () => {
    const before = library.runtimeInfo().bytesInUse;
    const layer = new library.LayerNorm(64);
    const [one, two] = [layer.context(), layer.context()] as const;
    layer.forward(normals(640, 1), { context: one });
    layer.forward(normals(640, 2), { context: two });
    const used = library.runtimeInfo().bytesInUse;
    one.dispose();
    expect(library.runtimeInfo().bytesInUse).toBeLessThan(used);
    layer.dispose();
    expect(library.runtimeInfo().bytesInUse).toBe(before);
  });
});

describe("what is kept", () => {
  test("noGrad leaves nothing: 40 layers on arrays of 6 MB, no more memory than before", () => {
    const before = library.runtimeInfo().bytesInUse;
    const x = normals(1_500_000, 1);
    const layers = Array.from({ length: 40 }, () => new library.LayerNorm(500));
    library.noGrad(() => {
      for (const layer of layers) layer.eval().forward(x);
    });
    expect(library.runtimeInfo().bytesInUse).toBe(before);
  });

  test("noGrad returns what its function does, ends with an exception, and refuses a promise", () => {
    const layer = new library.LayerNorm(4);
    const x = normals(8, 1);
    expect(library.noGrad(() => 7)).toBe(7);
    expect(() =>
      library.noGrad(() => {
        throw new RangeError("mine");
      }),
    ).toThrow("mine");
    expect(() => library.noGrad(async () => layer.forward(x))).toThrow(TypeError);
    // To the compiler as well, results lie in memory of their own.
    const y: Float32Array<ArrayBuffer> = layer.forward(x);
    const dx: Float32Array<ArrayBuffer> = layer.backward(y);
    expect(dx).toHaveLength(8);
  });

  test("mean and rstd of the last forward, kept or not, in every family", () => {
    for (const subject of subjectsOfEveryFamily(9, 6)) {
      const geometry = geometryOf(subject);
      for (const save of [true, false]) {
        const layer = build(library, subject);
        expect([layer.mean, layer.rstd]).toEqual([null, null]);
        const x = fill(plain, geometry);
        layer.forward(x, { shape: [...subject.shape], save });
        // Another layer's call does not change them.
        library.noGrad(() => new library.LayerNorm(4).forward(normals(400, 3)));
        const want = statisticsOf(subject, x, geometry);
        for (const [got, wanted] of [
          [layer.mean!, want.mean],
          [layer.rstd!, want.rstd],
        ] as const) {
          expect(got).toHaveLength(geometry.groups);
          got.forEach((value, g) => {
            expect(Math.abs(value - wanted[g]!), label(subject)).toBeLessThan(
              4e-7 * Math.max(1, Math.abs(wanted[g]!)),
            );
          });
        }
      }
    }
  });

  test("1,000 used layers of few channels hold less than 1 kB each, beside parameters and statistics", () => {
    // Statistics: mean, variance and rstd in float64; of batch norm both the minibatch's and the running ones.
    const families: { make: () => AnyLayer; shape: number[]; own: number }[] = [
      { make: () => new library.BatchNorm(4), shape: [2, 4], own: 6 * 4 * 8 + 2 * 4 * 4 },
      { make: () => new library.InstanceNorm(16), shape: [1, 16, 4], own: 3 * 16 * 8 + 2 * 16 * 4 },
      { make: () => new library.GroupNorm(8, 32), shape: [1, 32, 4], own: 3 * 8 * 8 + 2 * 32 * 4 },
      { make: () => new library.LayerNorm(768), shape: [2, 768], own: 3 * 2 * 8 + 2 * 768 * 4 },
    ];
    for (const { make, shape, own } of families) {
      const before = library.runtimeInfo().bytesInUse;
      const [x, y] = [library.tensor(shape), library.tensor(shape)];
      const layers = Array.from({ length: 1000 }, make);
      const held = library.runtimeInfo().bytesInUse;
      for (const layer of layers) layer.forwardInto(x, y);
      expect((library.runtimeInfo().bytesInUse - held) / 1000 - own).toBeLessThan(1024);
      for (const each of [...layers, x, y]) each.dispose();
      expect(library.runtimeInfo().bytesInUse).toBe(before);
    }
  });
});

describe("in place", () => {
  test("what a backward needs and does not have is an Error, in every family and mode", () => {
    for (const subject of subjectsOfEveryFamily(9, 6)) {
      for (const affine of [
        { gamma: true, beta: true },
        { gamma: false, beta: true },
        { gamma: false, beta: false },
      ]) {
        if (subject.family === "rms" && affine.beta) continue;
        const layer = build(library, { ...subject, affine });
        const geometry = geometryOf(subject);
        const x = fill(plain, geometry);
        const dy = gradientFor(geometry);
        const shape = [...subject.shape];
        layer.eval();
        const apart = build(library, { ...subject, affine });
        apart.eval();
        const y = apart.forward(x, shape);
        const dx = apart.backward(dy);
        const place = x.slice();
        expect(layer.forwardInto(place, place, shape)).toEqual(y);
        // Arrays are copied: x is still there.
        expect(layer.backward(dy), label(subject)).toEqual(dx);
        const tensor = library.tensor(shape, x);
        layer.zeroGrad();
        expect(layer.forwardInto(tensor, tensor).toArray()).toEqual(y);
        if (subject.family === "batch" && !affine.gamma) {
          expect(layer.backward(dy), label(subject)).toEqual(dx);
          expect(layer.beta?.grad).toEqual(apart.beta?.grad);
        } else {
          expect(refusal(() => layer.backward(dy)).message).toMatch(/overwritten/);
          for (const { grad } of layer.parameters()) expect(grad.every((v) => v === 0)).toBe(true);
        }
      }
    }
  });

  test("instance norm with its defaults, evaluated in place, does not give an affine map's gradient", () => {
    const x = Float32Array.of(1, 2, 4, -1, 0, 5);
    const dy = Float32Array.of(1, 0, 0, 0, 1, 0);
    const layer = new library.InstanceNorm(2).eval();
    layer.forward(x, [1, 2, 3]);
    const dx = layer.backward(dy);
    const place = x.slice();
    layer.forwardInto(place, place, [1, 2, 3]);
    expect(layer.backward(dy)).toEqual(dx);
  });
});

test("a minibatch whose mask leaves nothing updates nothing, gives beta and zero gradients, and counts as skipped", () => {
  for (const layout of ["channels-last", "channels-first"] as const) {
    const layer = new library.BatchNorm(3, { layout });
    layer.beta!.data.set([1, 2, 3]);
    const shape = layout === "channels-last" ? [4, 3] : [2, 3, 2];
    const x = normals(12, 1);
    const y = layer.forward(x, { shape, mask: new Uint8Array(4) });
    const channel = (i: number) => (layout === "channels-last" ? i % 3 : Math.floor(i / 2) % 3);
    expect(y).toEqual(x.map((_, i) => 1 + channel(i)));
    expect(layer.backward(normals(12, 2))).toEqual(new Float32Array(12));
    expect(layer.gamma!.grad).toEqual(new Float32Array(3));
    expect(layer.beta!.grad).toEqual(new Float32Array(3));
    expect([...layer.runningMean, ...layer.runningVar, layer.batchesTracked]).toEqual([0, 0, 0, 1, 1, 1, 0]);
    expect(layer.skippedUpdates).toBe(3);
  }
});

test("an immutable dx, y, residualGrad or gradient is refused before anything has changed", async () => {
  // As engines with immutable buffers have it: a getter that tells, and writes that throw.
  const frozen = new WeakSet<ArrayBuffer>();
  const proto = ArrayBuffer.prototype as unknown as Record<string, unknown>;
  const had = Object.getOwnPropertyDescriptor(proto, "immutable");
  Object.defineProperty(proto, "immutable", {
    configurable: true,
    get(this: ArrayBuffer) {
      return frozen.has(this);
    },
  });
  try {
    const { BatchNorm } = await load();
    const immutable = (n: number) => {
      const array = new Float32Array(n);
      frozen.add(array.buffer);
      return array;
    };
    const layer = new BatchNorm(4);
    const [x, dy, residual] = [normals(24, 1), normals(24, 2), normals(24, 3)];
    expect(refusal(() => layer.forwardInto(x, immutable(24))).message).toMatch(/out/);
    expect(layer.batchesTracked).toBe(0);
    layer.forward(x, { residual });
    expect(refusal(() => layer.backwardInto(dy, immutable(24))).message).toMatch(/dx/);
    const dx = new Float32Array(24);
    const place = { residualGrad: immutable(24) };
    expect(refusal(() => layer.backwardInto(dy, dx, place)).message).toMatch(/residualGrad/);
    const grad = layer.beta!.grad;
    layer.beta!.grad = immutable(4);
    expect(refusal(() => layer.backwardInto(dy, dx)).message).toMatch(/beta.grad/);
    layer.beta!.grad = grad;
    expect(dx).toEqual(new Float32Array(24));
    for (const parameter of layer.parameters()) expect(parameter.grad).toEqual(new Float32Array(4));
    expect(layer.backward(dy)).toHaveLength(24);
  } finally {
    if (had) Object.defineProperty(proto, "immutable", had);
    else delete proto.immutable;
  }
});

test("a layer wrapped in a Proxy says what to do, and Vue leaves it unwrapped", () => {
  for (const subject of subjectsOfEveryFamily(9, 6)) {
    const layer = build(library, subject);
    const wrapped = new Proxy(layer, {});
    const x = fill(plain, geometryOf(subject));
    for (const use of [
      () => wrapped.forward(x, [...subject.shape]),
      () => wrapped.gamma,
      () => wrapped.eval(),
      () => wrapped.stateDict(),
      () => wrapped.dispose(),
    ]) {
      expect(refusal(use).message).toMatch(/expected a layer itself, got a Proxy/);
    }
    expect((layer as unknown as { __v_skip: boolean }).__v_skip).toBe(true);
  }
  const folded = new Proxy(new library.BatchNorm(2), {});
  expect(refusal(() => library.foldBatchNorm(folded, { weight: new Float32Array(4) })).message).not.toMatch(
    /expected a BatchNorm, got BatchNorm/,
  );
});
