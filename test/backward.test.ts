import { beforeAll, describe, expect, test } from "vitest";
import {
  build,
  defaultEps,
  fill,
  geometryOf,
  hostileInputs,
  isCentered,
  type Library,
  label,
  load,
  nonFiniteInput,
  normals,
  plain,
  subjectsOfEveryFamily,
  variants,
} from "./cases.js";
import { gradientFor, judge } from "./judge.js";
import * as reference from "./reference.js";
import { hostile, ordinary, trialOf } from "./trials.js";

describe.each(variants)("backward, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  test.each(ordinary)("$name", ({ entries }) => {
    for (const entry of entries) judge(library, trialOf(entry));
  });

  test.each(hostileInputs)("hostile: $name", (input) => {
    for (const trial of hostile(input)) judge(library, trial);
  });

  test.each([
    { name: "a dy whose mean is a million times its spread", dy: (i: number, z: number) => 1e6 + z + 0 * i },
    { name: "a dy with an outlier in the first row", dy: (i: number, z: number) => (i < 9 ? 1e6 : z) },
    { name: "a dy of 1e30", dy: (_: number, z: number) => 1e30 * z },
    { name: "a dy of 1e-30", dy: (_: number, z: number) => 1e-30 * z },
    { name: "a dy that is mostly 0", dy: (i: number, z: number) => (i % 37 === 0 ? z : 0) },
  ])("hostile: $name", ({ name, dy }) => {
    for (const subject of subjectsOfEveryFamily(201, 9)) {
      const geometry = geometryOf(subject);
      const z = normals(geometry.size, 12);
      judge(library, { subject, x: fill(plain, geometry), dy: z.map((value, i) => dy(i, value)), name });
    }
  });

  test("what gamma and dy cannot multiply to in float32, dx can hold", () => {
    // gamma * dy is 1e60, rstd 1e-30: dx is 1e30
    for (const family of subjectsOfEveryFamily(40, 6)) {
      const subject = { ...family, eps: 0 };
      const geometry = geometryOf(subject);
      const x = normals(geometry.size, 13, 1e30);
      const dy = normals(geometry.size, 14, 1e30);
      const eps = 0;
      const statistics = reference.statistics(x, geometry, { eps, centered: isCentered(family.family) });
      const layer = build(library, subject);
      const gamma = layer.gamma!.data;
      gamma.forEach((_, i) => {
        gamma[i] = 1e30;
      });
      layer.forward(x, [...subject.shape]);
      const dx = layer.backward(dy);
      const want = reference.backward(x, dy, geometry, statistics, {
        gamma: new Float32Array(geometry.parameters).fill(1e30),
        centered: isCentered(family.family),
      });
      const worst = dx.findIndex((value, i) => !(Math.abs(value - want.dx[i]!) <= 1e-5 * 1e30 * 10));
      expect(worst, `${label(subject)}: index of a wrong dx`).toBe(-1);
      layer.dispose();
    }
  });

  test("NaN and infinities stay in their group's dx", () => {
    for (const subject of subjectsOfEveryFamily(40, 10)) {
      const geometry = geometryOf(subject);
      judge(library, { subject, x: fill(nonFiniteInput, geometry), dy: gradientFor(geometry) });
    }
  });

  test("NaN in dy stays in its group's dx", () => {
    for (const subject of subjectsOfEveryFamily(40, 10)) {
      const geometry = geometryOf(subject);
      const dy = gradientFor(geometry);
      dy[geometry.size >> 1] = Number.NaN;
      judge(library, { subject, x: fill(plain, geometry), dy });
    }
  });

  test("millions of values a group, the mean a million sigmas away, an outlier first", () => {
    for (const subject of [
      { family: "batch", shape: [1_048_583, 2] },
      { family: "layer", shape: [1, 2_097_152] },
      { family: "batch", layout: "channels-first", shape: [2, 1, 1024, 1024] },
    ] as const) {
      const geometry = geometryOf(subject);
      const x = normals(geometry.size, 3, 1, 1e6);
      x[0] = -1e9;
      judge(library, { subject, x, dy: gradientFor(geometry) });
    }
  });

  test.each([[[40_007, 83]], [[1_511, 2100]]])(
    "columns that come from memory, some of which take scales or a mean's low half: %j",
    (shape) => {
      const subject = { family: "batch", shape } as const;
      const geometry = geometryOf(subject);
      const x = normals(geometry.size, 3);
      const channels = shape[1]!;
      for (let at = 0; at < x.length; at += channels) {
        x[at + 20]! *= 1e30;
        x[at + 50]! += 1e6;
      }
      for (const mode of ["train", "eval"] as const) {
        judge(library, { subject, x, dy: gradientFor(geometry), mode });
      }
    },
  );

  test("channels whose runs are long, taken a few at a time, one of which takes scales", () => {
    const subject = { family: "batch", layout: "channels-first", shape: [2, 9, 1, 476_107] } as const;
    const geometry = geometryOf(subject);
    const x = normals(geometry.size, 3);
    const [, channels, , length] = subject.shape;
    for (let at = 3 * length; at < x.length; at += channels * length) {
      for (let i = at; i < at + length; i++) x[i]! *= 1e30;
    }
    judge(library, { subject, x, dy: gradientFor(geometry) });
  });

  test("is what central differences of the reference say", () => {
    for (const subject of subjectsOfEveryFamily(7, 3)) {
      const geometry = geometryOf(subject);
      const options = { eps: defaultEps(subject.family), centered: isCentered(subject.family) };
      const x = fill(plain, geometry);
      const dy = gradientFor(geometry);
      const layer = build(library, subject);
      const gamma = layer.gamma!.data.slice();
      const beta = layer.beta?.data.slice();
      const y = (v: { x?: Float64Array; gamma?: Float64Array; beta?: Float64Array }) => {
        const values = v.x ?? x;
        const statistics = reference.statistics(values, geometry, options);
        return reference.forward(values, geometry, statistics, { gamma, beta, ...v }).y;
      };
      layer.forward(x, [...subject.shape]);
      const dx = layer.backward(dy);
      const pairs = [
        ["dx", dx, reference.centralDifferences((values) => y({ x: values }), x, dy, 1e-5)],
        ["dgamma", layer.gamma!.grad, reference.centralDifferences((v) => y({ gamma: v }), gamma, dy, 1e-3)],
        ...(beta
          ? [
              [
                "dbeta",
                layer.beta!.grad,
                reference.centralDifferences((v) => y({ beta: v }), beta, dy, 1e-3),
              ] as const,
            ]
          : []),
      ] as const;
      for (const [name, got, want] of pairs) {
        for (let i = 0; i < want.length; i++) {
          // differences of step 1e-5 in float64 are good to about 1e-9 where values are about 1
          expect(got[i], `${label(subject)} ${name}[${i}]`).toBeCloseTo(want[i]!, 5);
        }
      }
      layer.dispose();
    }
  });

  test("adds to the gradients that are there, until zeroGrad", () => {
    // Many channels are added by a kernel.
    for (const subject of [...subjectsOfEveryFamily(12, 5), ...subjectsOfEveryFamily(12, 131)]) {
      const geometry = geometryOf(subject);
      const x = fill(plain, geometry);
      const dy = gradientFor(geometry);
      const layer = build(library, subject);
      layer.forward(x, [...subject.shape]);
      const dx = layer.backward(dy);
      const once = layer.parameters().map(({ grad }) => grad.slice());
      layer.forward(x, [...subject.shape]);
      layer.backward(dy, { retain: true });
      layer.parameters().forEach(({ grad }, k) => {
        expect(grad, label(subject)).toEqual(once[k]!.map((value) => 2 * value));
      });
      layer.zeroGrad();
      for (const { grad } of layer.parameters()) expect(grad.every((value) => value === 0)).toBe(true);
      // Of the same forward once more: adding has left what the layer computes with.
      expect(layer.backward(dy), label(subject)).toEqual(dx);
      expect(
        layer.parameters().map(({ grad }) => grad),
        label(subject),
      ).toEqual(once);
      layer.dispose();
    }
  });

  test.each([5, 131])("adds both gradients of %i channels to one array", (channels) => {
    const x = normals(6 * channels, 22);
    const dy = normals(6 * channels, 23);
    const layer = new library.BatchNorm(channels);
    layer.forward(x, [6, channels]);
    layer.backward(dy, { retain: true });
    const [dgamma, dbeta] = layer.parameters().map(({ grad }) => grad);
    const shared = new Float32Array(channels);
    for (const parameter of layer.parameters()) parameter.grad = shared;
    layer.backward(dy);
    for (let c = 0; c < channels; c++) {
      expect(shared[c], `${c}`).toBeCloseTo(dgamma![c]! + dbeta![c]!, 4);
    }
    layer.dispose();
  });

  test.each([
    { channels: 5, gamma: true, beta: true },
    { channels: 131, gamma: true, beta: true },
    { channels: 131, gamma: true, beta: false },
    { channels: 131, gamma: false, beta: true },
  ])(
    "adds what is not finite as well: $channels channels, gamma $gamma, beta $beta",
    ({ channels, ...affine }) => {
      const geometry = reference.geometry([6, channels], [1], [1]);
      const x = normals(6 * channels, 21);
      const dy = Float32Array.from(x, (_, i) => (i % 7) - 3);
      dy[1] = Number.NaN;
      dy[2] = Number.POSITIVE_INFINITY;
      dy[channels - 1] = Number.NEGATIVE_INFINITY;
      const statistics = reference.statistics(x, geometry, { eps: 1e-5 });
      const want = reference.backward(x, dy, geometry, statistics, {});

      const layer = new library.BatchNorm(channels, { affine });
      for (const { grad } of layer.parameters()) grad.fill(0.5);
      layer.forward(x, [6, channels]);
      layer.backward(dy);
      expect(layer.parameters()).toHaveLength(Number(affine.gamma) + Number(affine.beta));
      for (let c = 0; c < channels; c++) {
        if (affine.beta) expect(layer.beta!.grad[c], `dbeta ${c}`).toBe(0.5 + want.dbeta[c]!);
        if (!affine.gamma) continue;
        const dgamma = 0.5 + want.dgamma[c]!;
        if (Number.isFinite(dgamma)) expect(layer.gamma!.grad[c], `dgamma ${c}`).toBeCloseTo(dgamma, 5);
        else expect(layer.gamma!.grad[c], `dgamma ${c}`).toBe(dgamma);
      }
      expect(want.dbeta.slice(1, 3)).toEqual(Float64Array.of(Number.NaN, Infinity));
      layer.dispose();
    },
  );
});
