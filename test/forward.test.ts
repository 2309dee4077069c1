import { beforeAll, describe, expect, test } from "vitest";
import {
  build,
  constants,
  edgeShapes,
  fill,
  geometryOf,
  hostileInputs,
  imageShapes,
  type Library,
  label,
  load,
  nonFiniteInput,
  normals,
  plain,
  presences,
  type Subject,
  subjectsOfEveryFamily,
  tailShapes,
  variants,
} from "./cases.js";
import { judge } from "./judge.js";

describe.each(variants)("forward, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  const forward = (subject: Subject, mode: "train" | "eval" = "train") =>
    judge(library, { subject, x: fill(plain, geometryOf(subject)), mode });

  test("runs on the binary it is asked for", () => {
    expect(library.runtimeInfo().variant).toBe(variant);
  });

  describe.each(presences)("gamma $gamma, beta $beta", (affine) => {
    test("batch norm over every tail and edge, both modes", () => {
      for (const shape of [...tailShapes, ...edgeShapes]) {
        if (shape[0] > 1) forward({ family: "batch", shape, affine });
        forward({ family: "batch", shape, affine }, "eval");
      }
    });

    test("every family and layout over every tail", () => {
      for (const [rows, columns] of tailShapes) {
        for (const subject of subjectsOfEveryFamily(rows + 1, columns)) {
          if (subject.family !== "rms" || !affine.beta) forward({ ...subject, affine });
        }
      }
    });

    test("every family and layout around the unrolled widths", () => {
      for (const [rows, columns] of edgeShapes.filter(([rows, columns]) => rows * columns < 5000)) {
        for (const subject of subjectsOfEveryFamily(rows, columns)) {
          if (subject.family !== "rms" || !affine.beta) forward({ ...subject, affine });
        }
      }
    });
  });

  test.each(imageShapes)("images: $name", ({ n, spatial, channels }) => {
    const last = [n, ...spatial, channels];
    const first = [n, channels, ...spatial];
    for (const mode of ["train", "eval"] as const) {
      forward({ family: "batch", layout: "channels-last", shape: last }, mode);
      forward({ family: "batch", layout: "channels-first", shape: first }, mode);
    }
    forward({ family: "group", layout: "channels-last", groups: 2, shape: last });
    forward({ family: "group", layout: "channels-first", groups: 2, shape: first });
    if (spatial.some((size) => size > 1)) {
      forward({ family: "instance", layout: "channels-last", shape: last });
      forward({ family: "instance", layout: "channels-first", shape: first });
    }
    forward({ family: "layer", shape: last });
    forward({ family: "layer", shape: first, trailing: 1 + spatial.length });
    forward({ family: "rms", shape: last });
  });

  test.each(hostileInputs)("hostile: $name", (input) => {
    for (const [rows, columns] of [
      [9, 5],
      [66, 16],
      [515, 9],
      [3, 67],
    ] as const) {
      for (const family of subjectsOfEveryFamily(rows, columns)) {
        const subject = { ...family, eps: input.eps };
        const x = fill(input, geometryOf(subject));
        judge(library, { subject, x, name: input.name });
        if (family.family === "batch") judge(library, { subject, x, name: input.name, mode: "eval" });
      }
    }
  });

  test.each(constants)("a constant %f gives exactly beta", (constant) => {
    for (const [rows, columns] of [
      [2, 3],
      [7, 16],
      [33, 5],
      [1000, 18],
    ] as const) {
      for (const subject of subjectsOfEveryFamily(rows, columns)) {
        if (subject.family === "rms") continue; // subtracts no mean
        const { size, parameter } = geometryOf(subject);
        const layer = build(library, subject);
        const y = layer.forward(new Float32Array(size).fill(constant), [...subject.shape]);
        const beta = layer.beta!.data;
        const wrong = y.findIndex((value, i) => value !== beta[parameter[i]!]);
        expect(wrong, `${label(subject)}: index of a value that is not beta`).toBe(-1);
        layer.dispose();
      }
    }
  });

  test("NaN and infinities go where the mathematics sends them, and nowhere else", () => {
    for (const [rows, columns] of [
      [8, 10],
      [67, 21],
      [40, 5],
    ] as const) {
      for (const subject of subjectsOfEveryFamily(rows, columns)) {
        const geometry = geometryOf(subject);
        const x = fill(nonFiniteInput, geometry);
        const { y } = judge(library, { subject, x, name: nonFiniteInput.name });

        // every clean group is bitwise what it is beside clean neighbours
        const clean = x.map((value) => (Number.isFinite(value) ? value : 0));
        const layer = build(library, subject);
        const cleanY = layer.forward(clean, [...subject.shape]);
        layer.dispose();
        const dirty = new Set(geometry.group.filter((_, i) => !Number.isFinite(x[i]!)));
        const wrong = y.findIndex((value, i) => !dirty.has(geometry.group[i]!) && value !== cleanY[i]);
        expect(wrong, `${label(subject)}: index of a value that a neighbour changed`).toBe(-1);
      }
    }
  });

  test.each([[[4_194_304, 1]], [[2_097_152, 2]], [[1_000_003, 3]]])(
    "millions of values a column, the mean a million sigmas away, an outlier first: %j",
    (shape) => {
      const x = normals(shape[0]! * shape[1]!, 3, 1, 1e6);
      x[0] = -1e9;
      judge(library, { subject: { family: "batch", shape }, x });
    },
  );

  test("millions of values a run, the mean a million sigmas away, an outlier first", () => {
    const x = normals(4_194_304, 3, 1, 1e6);
    judge(library, { subject: { family: "layer", shape: [1, 4_194_304] }, x });
    x[0] = -1e9;
    judge(library, { subject: { family: "layer", shape: [1, 4_194_304] }, x });
    judge(library, { subject: { family: "rms", shape: [1, 4_194_304] }, x });
    const image = { layout: "channels-first", shape: [2, 2, 1024, 1024] } as const;
    judge(library, { subject: { family: "batch", ...image }, x });
    judge(library, { subject: { family: "group", groups: 1, ...image }, x });
  });

  test("a mean of 1e4 and a variance of 1 over 65,536 rows, where sums in float32 say 9996.9 and 10.2", () => {
    const x = normals(65_536, 5, 1, 1e4);
    judge(library, { subject: { family: "batch", shape: [65_536, 1] }, x });
  });

  test("two calls with the same input give the same bits", () => {
    for (const subject of subjectsOfEveryFamily(65, 19)) {
      expect(forward(subject).y).toEqual(forward(subject).y);
    }
  });
});
