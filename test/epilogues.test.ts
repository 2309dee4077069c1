/** ReLU, residual and padding masks, which run in the same pass, and the layer as an affine map of its own. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  build,
  fill,
  geometryOf,
  hostileInputs,
  type Library,
  label,
  load,
  normals,
  plain,
  type Subject,
  seeded,
  statisticsOf,
  subjectsOfEveryFamily,
  tailShapes,
  variants,
} from "./cases.js";
import { compare, expectForward, expectHolds } from "./contract.js";
import { gradientFor, judge } from "./judge.js";
import * as reference from "./reference.js";
import { naming, refusal } from "./refusal.js";

const layouts = ["channels-last", "channels-first"] as const;
const modes = ["train", "eval"] as const;

/** BatchNorm on every tail, as [N, C] and as channels-first images. */
const batchSubjects = tailShapes.flatMap(([rows, columns]): Subject[] => [
  { family: "batch", layout: "channels-last", shape: [rows + 1, columns] },
  { family: "batch", layout: "channels-first", shape: [2, columns, rows] },
]);
const largerSubjects: Subject[] = [
  { family: "batch", layout: "channels-last", shape: [130, 67] },
  { family: "batch", layout: "channels-last", shape: [3, 6, 5, 32] },
  { family: "batch", layout: "channels-first", shape: [3, 32, 6, 5] },
  { family: "batch", layout: "channels-first", shape: [2, 3, 17, 19] },
  { family: "batch", layout: "channels-first", shape: [40, 33] },
];

/** A mask that leaves at least two rows, with a run of padding at the end as in sequences. */
function maskFor(rows: number, seed = 5): Uint8Array {
  const random = seeded(seed);
  const mask = Uint8Array.from({ length: rows }, (_, i) => (i < 0.7 * rows && random() < 0.8 ? 1 : 0));
  mask[0] = 1;
  mask[rows >> 1] = 1;
  return mask;
}
const rowsOf = ({ shape, layout }: Subject) =>
  shape.reduce((a, b) => a * b, 1) / (layout === "channels-first" ? shape[1]! : shape.at(-1)!);

describe.each(variants)("epilogues, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  const trial = (subject: Subject, x = fill(plain, geometryOf(subject))) => {
    const geometry = geometryOf(subject);
    return { subject, x, dy: gradientFor(geometry) };
  };

  test("ReLU on every layer, over every tail", () => {
    for (const [rows, columns] of [...tailShapes, [67, 33], [17, 64]] as const) {
      for (const subject of subjectsOfEveryFamily(rows + 1, columns)) {
        judge(library, trial({ ...subject, activation: "relu" }));
        if (subject.family === "batch")
          judge(library, { ...trial({ ...subject, activation: "relu" }), mode: "eval" });
      }
    }
  });

  test("ReLU gives zeros, and never -0 or NaN for numbers", () => {
    for (const subject of subjectsOfEveryFamily(33, 6)) {
      const { y } = judge(library, { ...trial({ ...subject, activation: "relu" }), name: "signs" });
      expect(y.some((value) => value === 0)).toBe(true);
      expect(
        y.every((value) => value > 0 || Object.is(value, 0)),
        label(subject),
      ).toBe(true);
    }
  });

  test("ReLU keeps NaN where it is", () => {
    const layer = new library.BatchNorm(2, { activation: "relu" });
    const y = layer.forward(Float32Array.of(1, 1, Number.NaN, 2, 3, 3), [3, 2]);
    expect([y[0], y[2], y[4]]).toEqual([Number.NaN, Number.NaN, Number.NaN]);
    expect(Number.isNaN(y[1])).toBe(false);
  });

  test.each(modes)("a residual, with and without ReLU, %s", (mode) => {
    for (const subject of [...batchSubjects, ...largerSubjects]) {
      const residual = normals(geometryOf(subject).size, 77, 2);
      judge(library, { ...trial(subject), residual, mode });
      judge(library, { ...trial({ ...subject, activation: "relu" }), residual, mode });
    }
  });

  test("a residual that takes beta away again, and one that is infinite", () => {
    for (const subject of largerSubjects) {
      const geometry = geometryOf(subject);
      const x = fill(plain, geometry);
      const layer = build(library, subject) as InstanceType<Library["BatchNorm"]>;
      const gamma = layer.gamma!.data.fill(0.01);
      const beta = layer.beta!.data.fill(100.3);
      const residual = normals(x.length, 77, 0.01, -100.3);
      residual[5] = Infinity;
      residual[6] = -Infinity;
      const y = layer.forward(x, { shape: [...subject.shape], residual });
      const want = reference.forward(x, geometry, statisticsOf(subject, x, geometry), {
        gamma,
        beta,
        residual,
      });
      expectForward(y, want, geometry, gamma, label(subject));
      layer.dispose();
    }
  });

  test.each(modes)("a mask, with and without ReLU and residual, %s", (mode) => {
    for (const subject of [...batchSubjects, ...largerSubjects]) {
      if (rowsOf(subject) < 2) continue;
      const mask = maskFor(rowsOf(subject));
      if (mask.filter(Boolean).length < 2) continue;
      judge(library, { ...trial(subject), mask, mode });
      judge(library, { ...trial({ ...subject, activation: "relu" }), mask, mode });
      const residual = normals(geometryOf(subject).size, 77, 2);
      judge(library, { ...trial({ ...subject, activation: "relu" }), residual, mask, mode });
    }
  });

  test.each(hostileInputs)("every epilogue on a hostile input: $name", (input) => {
    const subjects: Subject[] = [
      ...largerSubjects,
      { family: "batch", layout: "channels-last", shape: [600, 9] },
      { family: "batch", layout: "channels-first", shape: [2, 9, 300] },
    ];
    for (const base of subjects) {
      const subject = { ...base, eps: input.eps };
      const geometry = geometryOf(subject);
      const mask = maskFor(rowsOf(subject));
      const trial = { x: fill(input, geometry), dy: gradientFor(geometry, input.dyScale), name: input.name };
      judge(library, { ...trial, subject, mask });
      judge(library, { ...trial, subject: { ...subject, activation: "relu" } });
      judge(library, { ...trial, subject: { ...subject, activation: "relu" }, mask });
    }
  });

  test.each(layouts)("%s: what padded rows hold changes nothing else", (layout) => {
    const shape = layout === "channels-first" ? [4, 5, 6] : [4, 6, 5];
    const subject: Subject = { family: "batch", layout, shape };
    const geometry = geometryOf(subject);
    const mask = maskFor(24);
    const include = reference.included(shape, layout, mask);
    const x = fill(plain, geometry);
    const dy = gradientFor(geometry);
    const run = (padding: number) => {
      const layer = build(library, subject) as InstanceType<Library["BatchNorm"]>;
      const y = layer.forward(
        x.map((value, i) => (include[i] ? value : padding)),
        { shape, mask },
      );
      const dx = layer.backward(dy.map((value, i) => (include[i] ? value : padding)));
      const running = [layer.runningMean!.slice(), layer.runningVar!.slice()];
      return {
        y: y.filter((_, i) => include[i]),
        padded: dx.filter((_, i) => !include[i]),
        dx: dx.filter((_, i) => include[i]),
        grads: layer.parameters().map(({ grad }) => grad.slice()),
        running,
        skipped: layer.skippedUpdates,
      };
    };
    const zeros = run(0);
    expect(zeros.padded.every((value) => value === 0)).toBe(true);
    for (const padding of [1e30, -5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(run(padding), `padded with ${padding}`).toEqual(zeros);
    }
  });

  test.each(layouts)("%s: a mask of ones is no mask, and booleans are as good as bytes", (layout) => {
    const shape = layout === "channels-first" ? [4, 5, 6] : [4, 6, 5];
    const subject: Subject = { family: "batch", layout, shape };
    const geometry = geometryOf(subject);
    const x = fill(plain, geometry);
    const dy = gradientFor(geometry);
    const run = (mask?: Uint8Array | boolean[]) => {
      const layer = build(library, subject);
      const y = layer.forward(x, { shape, ...(mask && { mask }) });
      return { y, dx: layer.backward(dy), state: layer.stateDict() };
    };
    const bare = run();
    const ones = run(new Uint8Array(24).fill(1));
    const close = { limit: 2, rounding: 0.5, scale: (i: number) => Math.max(1, Math.abs(bare.y[i]!)) };
    expectHolds(compare(ones.y, bare.y, { what: "y", ...close }), "ones");
    expect(run(new Uint8Array(24).fill(255))).toEqual(ones);
    expect(run(new Array(24).fill(true))).toEqual(ones);
    const mask = maskFor(24);
    expect(run(Array.from(mask, Boolean))).toEqual(run(mask));
  });

  test("the running statistics come from the rows that count", () => {
    const layer = new library.BatchNorm(1, { momentum: 1 });
    const mask = Uint8Array.of(1, 0, 1, 0);
    layer.forward(Float32Array.of(1, 100, 3, 1000), { shape: [4, 1], mask });
    expect(layer.runningMean).toEqual(Float64Array.of(2));
    expect(layer.runningVar).toEqual(Float64Array.of(2));
    expect(layer.batchVar).toEqual(Float32Array.of(1));
  });

  test("the residual's gradient is of dy's kind, and goes where backwardInto is told", () => {
    for (const layout of layouts) {
      const shape = layout === "channels-first" ? [4, 5, 6] : [4, 6, 5];
      const subject: Subject = { family: "batch", layout, shape, activation: "relu" };
      const [x, residual, dy] = [normals(120, 1), normals(120, 2), normals(120, 3)];
      const layer = build(library, subject) as InstanceType<Library["BatchNorm"]>;
      const y = layer.forward(x, { shape, residual });
      const dx = layer.backward(dy);
      const want = dy.map((value, i) => (y[i]! > 0 ? value : 0));
      expect(layer.residualGrad).toEqual(want);

      layer.forward(library.tensor(shape, x), { residual: library.tensor(shape, residual) });
      const dxTensor = layer.backward(library.tensor(shape, dy));
      const gradTensor = layer.residualGrad as InstanceType<Library["Tensor"]>;
      expect(gradTensor).toBeInstanceOf(library.Tensor);
      expect(gradTensor.toArray()).toEqual(want);
      expect(dxTensor.toArray()).toEqual(dx);

      for (const out of [new Float32Array(120), library.tensor(shape)]) {
        const into = new Float32Array(120);
        layer.forward(x, { shape, residual });
        layer.backwardInto(dy, into, { residualGrad: out });
        expect(into).toEqual(dx);
        expect(out instanceof Float32Array ? out : out.toArray()).toEqual(want);
      }
    }
  });

  test("a backward of a forward without a residual leaves none of an earlier one's gradient", () => {
    const layer = new library.LayerNorm(4);
    const make = () => library.tensor([3, 4], normals(12, 1));
    const plain: [string, () => unknown][] = [
      ["into a Tensor", () => layer.backwardInto(make(), make())],
      ["anew", () => layer.backward(make())],
    ];
    for (const [name, backward] of plain) {
      layer.forward(make(), { residual: make() });
      layer.backward(make());
      expect(layer.residualGrad, name).not.toBeNull();
      layer.forward(make());
      backward();
      expect(layer.residualGrad, name).toBeNull();
    }
  });

  test("is what central differences of the reference say: residual, ReLU and mask together", () => {
    const subject: Subject = { family: "batch", shape: [9, 3], activation: "relu" };
    const geometry = geometryOf(subject);
    const mask = Uint8Array.of(1, 1, 0, 1, 1, 0, 1, 1, 0);
    const include = reference.included(subject.shape, "channels-last", mask);
    const [x, residual] = [normals(27, 1), normals(27, 2)];
    // the loss does not look at padded rows
    const dy = normals(27, 3).map((value, i) => (include[i] ? value : 0));
    const layer = build(library, subject) as InstanceType<Library["BatchNorm"]>;
    const [gamma, beta] = [layer.gamma!.data.slice(), layer.beta!.data.slice()];
    const f = (v: { x?: Float64Array; gamma?: Float64Array; residual?: Float64Array }) => {
      const statistics = reference.statistics(v.x ?? x, geometry, { eps: 1e-5, include });
      const options = { gamma, beta, residual, activation: "relu" as const, ...v };
      return reference.forward(v.x ?? x, geometry, statistics, options).y;
    };
    layer.forward(x, { shape: [9, 3], residual, mask });
    const dx = layer.backward(dy);
    const pairs = [
      ["dx", dx, reference.centralDifferences((v) => f({ x: v }), x, dy, 1e-5)],
      ["dgamma", layer.gamma!.grad, reference.centralDifferences((v) => f({ gamma: v }), gamma, dy, 1e-5)],
      [
        "residual",
        layer.residualGrad,
        reference.centralDifferences((v) => f({ residual: v }), residual, dy, 1e-5),
      ],
    ] as const;
    for (const [name, got, want] of pairs) {
      for (let i = 0; i < want.length; i++) {
        expect((got as Float32Array)[i], `${name}[${i}]`).toBeCloseTo(want[i]!, 5);
      }
    }
  });
});

describe("an evaluation-mode BatchNorm as an affine map", () => {
  let library: Library;
  beforeAll(async () => {
    library = await load();
  });

  function trained(features: number) {
    const layer = build(library, { family: "batch", shape: [20, features] }) as InstanceType<
      Library["BatchNorm"]
    >;
    for (let step = 0; step < 3; step++) layer.forward(normals(20 * features, step, 2, 5), [20, features]);
    layer.eval();
    return layer;
  }

  /** y = W x + b in float64: weight [out, in], a row of x a row of y. */
  const dense = (x: Float32Array, weight: Float32Array, bias: ArrayLike<number>, out: number) => {
    const inputs = weight.length / out;
    return Float64Array.from({ length: (x.length / inputs) * out }, (_, i) => {
      const [row, unit] = [Math.floor(i / out), i % out];
      let value = bias[unit]!;
      for (let k = 0; k < inputs; k++) value += x[row * inputs + k]! * weight[unit * inputs + k]!;
      return value;
    });
  };

  test("toAffine: scale and shift give what forward gives", () => {
    for (const affine of [true, false, { gamma: true, beta: false }]) {
      const layer = new library.BatchNorm(6, { affine });
      layer.forward(normals(120, 1, 3, 7), [20, 6]);
      layer.gamma?.data.set(normals(6, 2));
      layer.beta?.data.set(normals(6, 3));
      layer.eval();
      const { scale, shift } = layer.toAffine();
      expect([scale.length, shift.length]).toEqual([6, 6]);
      const x = normals(120, 4, 3, 7);
      const y = layer.forward(x, [20, 6]);
      y.forEach((value, i) => {
        expect(value).toBeCloseTo(x[i]! * scale[i % 6]! + shift[i % 6]!, 4);
      });
    }
  });

  test("foldBatchNorm: the folded dense layer gives what the two gave", () => {
    const [inputs, out] = [7, 5];
    const layer = trained(out);
    const weight = normals(out * inputs, 1);
    const bias = normals(out, 2);
    const x = normals(10 * inputs, 3);
    const before = layer.forward(Float32Array.from(dense(x, weight, bias, out)), [10, out]);
    const kept = [weight.slice(), bias.slice()];
    const folded = library.foldBatchNorm(layer, { weight, bias });
    expect(folded.weight).toHaveLength(out * inputs);
    expect(folded.bias).toHaveLength(out);
    dense(x, folded.weight, folded.bias, out).forEach((value, i) => {
      expect(before[i]).toBeCloseTo(value, 4);
    });
    // new arrays: the ones given are the caller's
    expect([weight, bias]).toEqual(kept);
  });

  test("foldBatchNorm: a convolution's weight [out, in, kh, kw], and no bias before", () => {
    const out = 4;
    const layer = trained(out);
    const weight = normals(out * 3 * 3 * 3, 1);
    const folded = library.foldBatchNorm(layer, { weight });
    const { scale, shift } = layer.toAffine();
    folded.weight.forEach((value, i) => {
      expect(value).toBeCloseTo(weight[i]! * scale[Math.floor(i / 27)]!, 5);
    });
    folded.bias.forEach((value, c) => {
      expect(value).toBeCloseTo(shift[c]!, 5);
    });
  });

  test("wrong calls are refused", () => {
    const layer = trained(4);
    const weight = normals(12, 1);
    // biome-ignore lint/suspicious/noExplicitAny: wrong values are the point
    const any = (value: unknown) => value as any;
    for (const call of [
      () => library.foldBatchNorm(layer, { weight: new Float32Array(13), bias: new Float32Array(4) }),
      () => library.foldBatchNorm(layer, { weight, bias: new Float32Array(3) }),
      () => library.foldBatchNorm(layer, any({ weight: new Float64Array(12) })),
      () => library.foldBatchNorm(layer, any({})),
      () => library.foldBatchNorm(layer, any(null)),
      () => library.foldBatchNorm(any({}), { weight }),
      () => library.foldBatchNorm(any(new library.LayerNorm(4)), { weight }),
      () => library.foldBatchNorm(new library.BatchNorm(4, { trackRunningStats: false }), { weight }),
    ]) {
      const error = refusal(call);
      expect(error instanceof TypeError || error instanceof RangeError, `${call}: ${error}`).toBe(true);
      expect(error.message).toMatch(naming("(foldBatchNorm|BatchNorm)"));
    }
    expect(() => new library.BatchNorm(4, { trackRunningStats: false }).toAffine()).toThrow(
      naming("BatchNorm"),
    );
  });
});
