/** SGD and AdamW against their papers' formulas in float64; golden.test.ts has PyTorch's own trajectories. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { compare, expectHolds } from "./contract.js";
import * as reference from "./reference.js";
import { naming } from "./refusal.js";

let library: Library;
beforeAll(async () => {
  library = await load();
});

const near = (got: Float32Array, want: Float64Array, what: string) =>
  expectHolds(compare(got, want, { what, limit: 16, scale: (i) => Math.max(1, Math.abs(want[i]!)) }), what);

describe("SGD", () => {
  test.each([
    { lr: 0.1 },
    { lr: 0.1, weightDecay: 0.1 },
    { lr: 0.05, momentum: 0.9 },
    { lr: 0.05, momentum: 0.9, weightDecay: 0.01 },
    { lr: 0.05, momentum: 0.5, nesterov: true },
    { lr: 0.05, momentum: 0.9, nesterov: true, weightDecay: 0.1 },
    { lr: 0 },
  ])("%j follows its formula for 50 steps, at every length", (options) => {
    for (const length of [1, 2, 3, 4, 5, 7, 8, 9, 16, 33]) {
      const data = normals(length, 1);
      const want = Float64Array.from(data);
      const grad = new Float32Array(length);
      let velocity: Float64Array | null = null;
      const optimizer = new library.SGD([{ data, grad }], options);
      for (let step = 0; step < 50; step++) {
        grad.set(normals(length, step));
        optimizer.step();
        velocity = reference.sgdStep(want, grad, velocity, options);
      }
      near(data, want, `length ${length}`);
    }
  });

  test("momentum remembers: one gradient goes on moving what it moved", () => {
    const parameter = { data: Float32Array.of(0), grad: Float32Array.of(1) };
    const optimizer = new library.SGD([parameter], { lr: 1, momentum: 0.5 });
    optimizer.step();
    expect(parameter.data[0]).toBe(-1);
    parameter.grad[0] = 0;
    optimizer.step();
    expect(parameter.data[0]).toBe(-1.5);
    optimizer.step();
    expect(parameter.data[0]).toBe(-1.75);
  });
});

describe("AdamW", () => {
  test.each([
    {},
    { lr: 0.01, betas: [0.8, 0.95] as [number, number], eps: 1e-4, weightDecay: 0.1 },
    { lr: 0.1, weightDecay: 0 },
  ])("%j follows its formula for 50 steps, at every length", (options) => {
    const full = { lr: 1e-3, betas: [0.9, 0.999] as const, eps: 1e-8, weightDecay: 0.01, ...options };
    for (const length of [1, 2, 3, 4, 5, 7, 8, 9, 16, 33]) {
      const data = normals(length, 1);
      const want = Float64Array.from(data);
      const grad = new Float32Array(length);
      const [m, v] = [new Float64Array(length), new Float64Array(length)];
      const optimizer = new library.AdamW([{ data, grad }], options);
      for (let step = 1; step <= 50; step++) {
        grad.set(normals(length, step, 10 ** ((step % 5) - 2)));
        optimizer.step();
        reference.adamwStep(want, grad, m, v, step, full);
      }
      near(data, want, `length ${length}`);
    }
  });

  test("the first step is lr in the gradient's direction, whatever its size", () => {
    for (const size of [1e-6, 1, 1e6]) {
      const parameter = { data: Float32Array.of(0, 0), grad: Float32Array.of(size, -size) };
      new library.AdamW([parameter], { lr: 0.1, eps: 0, weightDecay: 0 }).step();
      expect(parameter.data[0]).toBeCloseTo(-0.1, 6);
      expect(parameter.data[1]).toBeCloseTo(0.1, 6);
    }
  });
});

describe.each(["SGD", "AdamW"] as const)("%s", (kind) => {
  const make = (parameters: ConstructorParameters<Library["SGD"]>[0]) =>
    new library[kind](parameters, { lr: 0.1 });

  test("zeroGrad sets every gradient to 0 and no value", () => {
    const parameters = [3, 5].map((length) => ({ data: normals(length, 1), grad: normals(length, 2) }));
    const kept = parameters.map(({ data }) => data.slice());
    make(parameters).zeroGrad();
    expect(parameters.map(({ grad }) => [...grad])).toEqual([
      [0, 0, 0],
      [0, 0, 0, 0, 0],
    ]);
    expect(parameters.map(({ data }) => data)).toEqual(kept);
  });

  test("each parameter keeps a state of its own", () => {
    const pair = [0, 1].map((k) => ({ data: normals(4, k), grad: normals(4, 10 + k) }));
    const alone = pair.map(({ data, grad }) => ({ data: data.slice(), grad: grad.slice() }));
    const together = make(pair);
    const apart = alone.map((parameter) => make([parameter]));
    for (let step = 0; step < 3; step++) {
      together.step();
      for (const optimizer of apart) optimizer.step();
    }
    expect(pair.map(({ data }) => data)).toEqual(alone.map(({ data }) => data));
  });

  test("refuses to optimize nothing, as PyTorch does", () => {
    expect(() => make([])).toThrow(naming(kind, "parameters"));
  });

  test("trains gamma and beta of a layer towards a target", () => {
    const layer = new library.BatchNorm(3);
    const optimizer = new library[kind](layer.parameters(), { lr: 0.05, weightDecay: 0 });
    const x = normals(96, 1, 5, 2);
    const target = Float32Array.of(2, -1, 0.5);
    const shift = Float32Array.of(1, 0, -3);
    const xhat = layer.forward(x, [32, 3]);
    const wanted = xhat.map((value, i) => value * target[i % 3]! + shift[i % 3]!);
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
