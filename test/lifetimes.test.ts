/** Who owns what, for how long: copies in and out, in place, memory that grows, disposal. */
import { beforeEach, describe, expect, test } from "vitest";
import {
  build,
  fill,
  geometryOf,
  type Library,
  label,
  load,
  normals,
  plain,
  subjectsOfEveryFamily,
  tailShapes,
} from "./cases.js";
import { gradientFor } from "./judge.js";
import { type AnyLayer, naming, oneOfEach, refusal } from "./refusal.js";

type T = InstanceType<Library["Tensor"]>;

let library: Library;
beforeEach(async () => {
  library = await load();
});

/** Makes linear memory grow, which detaches every view of it. */
function grow(): void {
  const before = library.runtimeInfo().memoryBytes;
  library.tensor([before / 4 + 1]).dispose();
  expect(library.runtimeInfo().memoryBytes).toBeGreaterThan(before);
}

describe("a forward that finds no room", () => {
  test("leaves its layer as small as it was, and with the forward that it had", async () => {
    const small = await load();
    await small.init({ maxMemory: 1 << 20 });
    const families: [string, () => AnyLayer, (n: number) => number[]][] = [
      ["batch", () => new small.BatchNorm(4), (n) => [n, 4]],
      ["layer", () => new small.LayerNorm(64), (n) => [Math.ceil(n / 16), 64]],
      ["turned", () => new small.LayerNorm(4, { layout: "channels-first" }), (n) => [1, 4, n]],
      ["group", () => new small.GroupNorm(2, 4), (n) => [1, 4, n]],
    ];
    for (const [name, make, shapeOf] of families) {
      const first = shapeOf(16);
      const dy = normals(
        first.reduce((a, b) => a * b),
        1,
      );
      let refused = 0;
      for (let n = 12_000; n < 60_000; n += 2_000) {
        using layer = make();
        layer.forward(dy, first);
        const want = layer.backward(dy, { retain: true });
        const before = small.runtimeInfo().bytesInUse;
        const shape = shapeOf(n);
        try {
          layer.forward(new Float32Array(shape.reduce((a, b) => a * b)), shape);
        } catch (error) {
          refused++;
          expect((error as Error).message).toMatch(/memory of 1048576 bytes/);
          expect(small.runtimeInfo().bytesInUse, `${name}, ${n}`).toBe(before);
          expect(layer.backward(dy, { retain: true }), `${name}, ${n}`).toEqual(want);
        }
      }
      expect(refused, name).toBeGreaterThan(0);
    }
  });
});

describe("every way in and out gives the same bits", () => {
  test("Float32Array, Tensor, and both into either kind", () => {
    for (const subject of [...subjectsOfEveryFamily(13, 6), ...subjectsOfEveryFamily(67, 16)]) {
      const shape = [...subject.shape];
      const geometry = geometryOf(subject);
      const x = fill(plain, geometry);
      const dy = gradientFor(geometry);
      const fresh = () => build(library, subject);

      const layer = fresh();
      const y = layer.forward(x, shape);
      const dx = layer.backward(dy);
      const grads = layer.parameters().map(({ grad }) => grad.slice());
      expect(y).toBeInstanceOf(Float32Array);
      expect(dx).toBeInstanceOf(Float32Array);

      const tensors = fresh();
      const yTensor = tensors.forward(library.tensor(shape, x));
      expect(yTensor).toBeInstanceOf(library.Tensor);
      expect(yTensor.shape).toEqual(shape);
      expect(yTensor.toArray(), label(subject)).toEqual(y);
      const dxTensor = tensors.backward(library.tensor(shape, dy));
      expect(dxTensor).toBeInstanceOf(library.Tensor);
      expect(dxTensor.shape).toEqual(shape);
      expect(dxTensor.toArray(), label(subject)).toEqual(dx);
      expect(tensors.parameters().map(({ grad }) => grad.slice())).toEqual(grads);

      const kinds = {
        array: (values?: Float32Array) => values?.slice() ?? new Float32Array(x.length),
        tensor: (values?: Float32Array) => library.tensor(shape, values),
      };
      const read = (out: Float32Array | InstanceType<Library["Tensor"]>) =>
        out instanceof Float32Array ? out : out.toArray();
      for (const from of [kinds.array, kinds.tensor]) {
        for (const to of [kinds.array, kinds.tensor]) {
          const into = fresh();
          const out = to();
          into.forwardInto(from(x), out, shape);
          expect(read(out), label(subject)).toEqual(y);
          const dxOut = to();
          into.backwardInto(from(dy), dxOut);
          expect(read(dxOut), label(subject)).toEqual(dx);
          expect(into.parameters().map(({ grad }) => grad.slice())).toEqual(grads);
        }
      }
    }
  });

  test("arrays at any offset and length", () => {
    const buffer = new ArrayBuffer(4 * 400);
    for (const subject of subjectsOfEveryFamily(7, 3)) {
      const geometry = geometryOf(subject);
      const shape = [...subject.shape];
      const x = fill(plain, geometry);
      const dy = gradientFor(geometry);
      const layer = build(library, subject);
      const y = layer.forward(x, shape);
      const dx = layer.backward(dy);
      for (const offset of [1, 2, 3, 5]) {
        const view = new Float32Array(buffer, 4 * offset, x.length);
        view.set(x);
        const out = new Float32Array(new ArrayBuffer(4 * (x.length + offset)), 4 * offset);
        layer.forwardInto(view, out, shape);
        expect(out, label(subject)).toEqual(y);
        view.set(dy);
        layer.backwardInto(view, out);
        expect(out, label(subject)).toEqual(dx);
      }
    }
  });
});

describe("in place", () => {
  test("forwardInto(x, x) in evaluation, for both kinds", () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      const shape = layout === "channels-first" ? [5, 6, 7] : [5, 7, 6];
      const layer = build(library, { family: "batch", layout, shape });
      layer.forward(normals(210, 1), shape);
      layer.eval();
      const x = normals(210, 2);
      const y = layer.forward(x, shape);
      const tensor = library.tensor(shape, x);
      layer.forwardInto(tensor, tensor);
      expect(tensor.toArray()).toEqual(y);
      layer.forwardInto(x, x, shape);
      expect(x).toEqual(y);
    }
  });

  test("backwardInto(dy, dy), for both kinds", () => {
    for (const subject of subjectsOfEveryFamily(33, 6)) {
      const geometry = geometryOf(subject);
      const shape = [...subject.shape];
      const layer = build(library, subject);
      const dy = gradientFor(geometry);
      layer.forward(fill(plain, geometry), shape);
      const dx = layer.backward(dy, { retain: true });
      const tensor = library.tensor(shape, dy);
      layer.backwardInto(tensor, tensor, { retain: true });
      expect(tensor.toArray(), label(subject)).toEqual(dx);
      layer.backwardInto(dy, dy);
      expect(dy, label(subject)).toEqual(dx);
    }
  });

  test("views of one buffer that overlap give the right answer or an error", () => {
    for (const mode of ["train", "eval"] as const) {
      for (const shift of [-1, 1, 3]) {
        const layer = build(library, { family: "batch", shape: [8, 5] });
        layer.forward(normals(40, 1), [8, 5]);
        if (mode === "eval") layer.eval();
        const buffer = new Float32Array(50);
        const x = buffer.subarray(4, 44);
        x.set(normals(40, 2));
        const want = build(library, { family: "batch", shape: [8, 5] });
        want.loadStateDict(layer.stateDict());
        if (mode === "eval") want.eval();
        const y = want.forward(x.slice(), [8, 5]);
        const out = buffer.subarray(4 + shift, 44 + shift);
        try {
          layer.forwardInto(x, out, [8, 5]);
        } catch (error) {
          expect((error as Error).message).toMatch(naming("BatchNorm"));
          continue;
        }
        expect(out).toEqual(y);
      }
    }
  });
});

describe("what comes back is the caller's own", () => {
  test("a result stays as it is over later calls and growth", () => {
    for (const { layer, shape } of oneOfEach(library)) {
      const y = layer.forward(normals(24, 1), shape);
      const dx = layer.backward(normals(24, 2));
      const [keptY, keptDx] = [y.slice(), dx.slice()];
      layer.forward(normals(24, 3), shape);
      layer.backward(normals(24, 4));
      grow();
      layer.forward(normals(24, 5), shape);
      expect(y).toEqual(keptY);
      expect(dx).toEqual(keptDx);
      expect(y.buffer.byteLength).toBe(96);
    }
  });

  test("a Float32Array may change between forward and backward", () => {
    for (const { layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      const dy = normals(24, 2);
      layer.forward(x, shape);
      const dx = layer.backward(dy);
      layer.forward(x, shape);
      x.fill(Number.NaN);
      expect(layer.backward(dy)).toEqual(dx);
    }
  });
});

describe("layers beside one another", () => {
  test("forward and backward of several, interleaved, are what each gives alone", () => {
    const subjects = [...subjectsOfEveryFamily(9, 4), ...subjectsOfEveryFamily(40, 7)];
    const data = subjects.map((subject) => {
      const geometry = geometryOf(subject);
      return { shape: [...subject.shape], x: fill(plain, geometry), dy: gradientFor(geometry) };
    });
    const alone = subjects.map((subject, k) => {
      const layer = build(library, subject);
      const y = layer.forward(data[k]!.x, data[k]!.shape);
      const dx = layer.backward(data[k]!.dy);
      return { y, dx, grads: layer.parameters().map(({ grad }) => grad.slice()) };
    });
    const layers = subjects.map((subject) => build(library, subject));
    const y = layers.map((layer, k) => layer.forward(data[k]!.x, data[k]!.shape));
    const dx = layers.map((layer, k) => layer.backward(data[k]!.dy)).reverse();
    layers.forEach((layer, k) => {
      expect(y[k]).toEqual(alone[k]!.y);
      expect(dx.at(-1 - k), label(subjects[k]!)).toEqual(alone[k]!.dx);
      expect(layer.parameters().map(({ grad }) => grad.slice())).toEqual(alone[k]!.grads);
    });
  });

  test("a chain of layers on Tensors, forward and then backward", () => {
    const shape = [8, 6];
    const [x, dy] = [normals(48, 1), normals(48, 2)];
    const make = () => [new library.BatchNorm(6), new library.LayerNorm(6), new library.RMSNorm(6)] as const;
    const run = <T extends Float32Array | InstanceType<Library["Tensor"]>>(input: T, gradient: T) => {
      const [first, second, third] = make();
      const y = third.forward(second.forward(first.forward(input, { shape }), { shape }), { shape });
      return { y, dx: first.backward(second.backward(third.backward(gradient))) };
    };
    const arrays = run(x, dy);
    const tensors = run(library.tensor(shape, x), library.tensor(shape, dy));
    expect(tensors.y.toArray()).toEqual(arrays.y);
    expect(tensors.dx.toArray()).toEqual(arrays.dx);
  });

  test("a Tensor that was disposed between forward and backward is an error, and the next pass is right", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = library.tensor(shape, normals(24, 1));
      layer.forward(x);
      x.dispose();
      expect(refusal(() => layer.backward(normals(24, 2))).message).toMatch(naming(who, "dispose"));
      const y = layer.forward(normals(24, 1), shape);
      expect(layer.forward(library.tensor(shape, normals(24, 1))).toArray()).toEqual(y);
    }
  });
});

describe("memory that grows", () => {
  test("a Tensor's data and a layer's gamma are valid again when asked for again", () => {
    const x = library.tensor([6, 4], normals(24, 1));
    const layer = new library.BatchNorm(4);
    layer.gamma!.data.set([1, 2, 3, 4]);
    layer.beta!.data.set([5, 6, 7, 8]);
    const before = x.toArray();
    grow();
    expect(x.data).toEqual(before);
    expect(layer.gamma!.data).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(layer.beta!.data).toEqual(Float32Array.of(5, 6, 7, 8));
    x.data[0] = 42;
    expect(x.toArray()[0]).toBe(42);
  });

  test("between forward and backward changes no bit", () => {
    for (const { layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      const dy = normals(24, 2);
      layer.forward(x, shape);
      const dx = layer.backward(dy);
      const tensor = library.tensor(shape, x);
      layer.forward(tensor);
      grow();
      expect(layer.backward(dy)).toEqual(dx);
      layer.forward(x, shape);
      grow();
      expect(layer.backward(dy)).toEqual(dx);
    }
  });

  test("while a caller holds views of gamma, grad and running statistics, the layer goes on with what they held", () => {
    const layer = new library.BatchNorm(4);
    const held = { gamma: layer.gamma!.data, grad: layer.gamma!.grad, mean: layer.runningMean! };
    held.gamma.set([2, 2, 2, 2]);
    layer.forward(normals(24, 1), [6, 4]);
    layer.backward(normals(24, 2));
    const grad = layer.gamma!.grad.slice();
    const mean = layer.runningMean!.slice();
    grow();
    expect(layer.gamma!.data).toEqual(Float32Array.of(2, 2, 2, 2));
    expect(layer.gamma!.grad).toEqual(grad);
    expect(layer.runningMean).toEqual(mean);
    expect(layer.stateDict().running_mean).toEqual(mean);
  });

  test("by the growing call itself: a layer called on ever larger minibatches", () => {
    const layer = new library.BatchNorm(3);
    const twin = new library.BatchNorm(3);
    for (const rows of [2, 100, 10_000, 200_000]) {
      const x = normals(3 * rows, rows);
      const tensor = library.tensor([rows, 3], x);
      const y = layer.forward(tensor);
      expect(y.toArray()).toEqual(twin.forward(x, [rows, 3]));
      y.dispose();
      tensor.dispose();
    }
  });

  test("an SGD step reaches gamma and beta after growth", () => {
    const layer = new library.BatchNorm(2);
    const optimizer = new library.SGD(layer.parameters(), { lr: 1 });
    grow();
    layer.forward(normals(8, 1), [4, 2]);
    layer.backward(normals(8, 2));
    const want = layer.gamma!.data.map((value, i) => value - layer.gamma!.grad[i]!);
    optimizer.step();
    expect(layer.gamma!.data).toEqual(want);
    optimizer.zeroGrad();
    expect(layer.gamma!.grad).toEqual(Float32Array.of(0, 0));
  });
});

describe("the edges of an array", () => {
  test("what lies beside a Tensor is neither read nor written, at any tail", () => {
    for (const [rows, columns] of [...tailShapes, [67, 17], [33, 64]] as const) {
      for (const subject of subjectsOfEveryFamily(rows + 1, columns)) {
        const shape = [...subject.shape];
        const geometry = geometryOf(subject);
        const x = fill(plain, geometry);
        const dy = gradientFor(geometry);
        const alone = build(library, subject);
        const y = alone.forward(x, shape);
        const dx = alone.backward(dy);

        // between neighbours full of NaN, which any sum that strays would show
        const nan = new Float32Array(16).fill(Number.NaN);
        const guards = [library.tensor([16], nan)];
        const [xTensor, yTensor, dyTensor, dxTensor] = [
          x,
          new Float32Array(x.length),
          dy,
          new Float32Array(x.length),
        ].map((values) => {
          const tensor = library.tensor(shape, values);
          guards.push(library.tensor([16], nan));
          return tensor;
        }) as [T, T, T, T];
        const layer = build(library, subject);
        layer.forwardInto(xTensor, yTensor);
        layer.backwardInto(dyTensor, dxTensor);
        expect(yTensor.toArray(), label(subject)).toEqual(y);
        expect(dxTensor.toArray(), label(subject)).toEqual(dx);
        expect(xTensor.toArray()).toEqual(x);
        expect(dyTensor.toArray()).toEqual(dy);
        for (const guard of guards) expect(guard.data).toEqual(nan);
        for (const tensor of [...guards, xTensor, yTensor, dyTensor, dxTensor]) tensor.dispose();
        layer.dispose();
        alone.dispose();
      }
    }
  });

  test("the last bytes of memory are as good as any", async () => {
    const small = await load();
    await small.init({ maxMemory: 3 * 65_536 });
    for (const subject of [...subjectsOfEveryFamily(9, 5), ...subjectsOfEveryFamily(8, 4)]) {
      const shape = [...subject.shape];
      const geometry = geometryOf(subject);
      const x = fill(plain, geometry);
      const dy = gradientFor(geometry);
      const layer = build(small, subject);
      const y = layer.forward(small.tensor(shape, x));
      const dx = layer.backward(small.tensor(shape, dy));
      const [wantY, wantDx] = [y.toArray(), dx.toArray()];
      // as many as there is room for: the last ones end where memory does
      const all: T[] = [];
      expect(() => {
        for (;;) all.push(small.tensor(shape));
      }).toThrow(RangeError);
      const [a, b] = all.slice(-2) as [T, T];
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        from.set(x);
        layer.forwardInto(from, to);
        expect(to.toArray(), label(subject)).toEqual(wantY);
        to.set(dy);
        layer.backwardInto(to, to);
        expect(to.toArray(), label(subject)).toEqual(wantDx);
      }
      for (const thing of [...all, y, dx, layer]) thing.dispose();
    }
  });
});

describe("disposal", () => {
  test("gives all memory back", () => {
    const { bytesInUse, tensors } = library.runtimeInfo();
    const layers = oneOfEach(library);
    const made = layers.flatMap(({ layer, shape }) => {
      const x = library.tensor(shape, normals(24, 1));
      const y = layer.forward(x);
      return [x, y, layer.backward(y)];
    });
    expect(library.runtimeInfo().tensors).toBe(tensors + made.length);
    expect(library.runtimeInfo().bytesInUse).toBeGreaterThan(bytesInUse);
    for (const thing of [...made, ...layers.map(({ layer }) => layer)]) thing.dispose();
    expect(library.runtimeInfo().tensors).toBe(tensors);
    expect(library.runtimeInfo().bytesInUse).toBe(bytesInUse);
  });

  test("a thousand layers made and disposed leave memory where it was", () => {
    const once = () => {
      for (const { layer, shape } of oneOfEach(library)) {
        layer.forward(normals(24, 1), shape);
        layer.backward(normals(24, 2));
        layer.dispose();
      }
    };
    once();
    const { memoryBytes, bytesInUse } = library.runtimeInfo();
    for (let i = 0; i < 1000; i++) once();
    expect(library.runtimeInfo().memoryBytes).toBe(memoryBytes);
    expect(library.runtimeInfo().bytesInUse).toBe(bytesInUse);
  });

  test("ten thousand calls of one layer leave memory where it was", () => {
    const layer = new library.BatchNorm(4);
    const x = normals(24, 1);
    layer.backward(layer.forward(x));
    const { memoryBytes, bytesInUse } = library.runtimeInfo();
    for (let i = 0; i < 10_000; i++) layer.backward(layer.forward(x));
    expect(library.runtimeInfo().memoryBytes).toBe(memoryBytes);
    expect(library.runtimeInfo().bytesInUse).toBe(bytesInUse);
  });

  test("afterwards every use of a layer is an error, and disposing again does nothing", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      layer.forward(x, shape);
      layer.dispose();
      layer.dispose();
      layer[Symbol.dispose]();
      const uses: Array<() => unknown> = [
        () => layer.forward(x, shape),
        () => layer.forwardInto(x, x, shape),
        () => layer.backward(x),
        () => layer.backwardInto(x, x),
        () => layer.stateDict(),
        () => layer.loadStateDict({} as never),
        () => layer.zeroGrad(),
        () => layer.parameters(),
        () => layer.train(),
        () => layer.eval(),
      ];
      if (layer instanceof library.BatchNorm) {
        uses.push(
          () => layer.batchMean,
          () => layer.batchVar,
          () => layer.recoverIdentity(),
          () => layer.identityGap(),
          () => layer.decomposeGradient(x),
        );
      }
      for (const use of uses) {
        expect(refusal(use).message, String(use)).toMatch(naming(who, "dispose"));
      }
    }
  });

  test("a memory that cannot grow is a RangeError that names bytes, and the next call is right", async () => {
    const small = await load();
    await small.init({ maxMemory: 4 * 65_536 });
    const layer = new small.BatchNorm(4);
    const x = normals(24, 1);
    const y = layer.forward(x);
    const error = refusal(() => layer.forward(new Float32Array(1_000_000), [250_000, 4]));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(/bytes/);
    expect(refusal(() => small.tensor([1_000_000]))).toBeInstanceOf(RangeError);
    expect(layer.forward(x)).toEqual(y);
    const twin = new small.BatchNorm(4);
    twin.forward(x);
    expect(twin.forward(x)).toEqual(y);
    expect(layer.runningMean).toEqual(twin.runningMean);
  });
});

describe("Tensor", () => {
  test("holds zeros, or a copy of its data", () => {
    const zeros = library.tensor([2, 3]);
    expect(zeros.toArray()).toEqual(new Float32Array(6));
    expect([zeros.shape, zeros.size]).toEqual([[2, 3], 6]);
    const data = Float32Array.of(1, 2, 3);
    const copy = library.tensor([3], data);
    data.fill(0);
    expect(copy.toArray()).toEqual(Float32Array.of(1, 2, 3));
  });

  test("set and data write, toArray copies", () => {
    const x = library.tensor([3]);
    x.set(Float32Array.of(1, 2, 3));
    const copy = x.toArray();
    x.data[1] = 20;
    expect(x.data).toEqual(Float32Array.of(1, 20, 3));
    expect(copy).toEqual(Float32Array.of(1, 2, 3));
  });

  test("empty ones exist", () => {
    const x = library.tensor([0, 3]);
    expect(x.toArray()).toEqual(new Float32Array(0));
    x.dispose();
  });
});
