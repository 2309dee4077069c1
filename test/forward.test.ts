import { beforeAll, describe, expect, test } from "vitest";
import {
  build,
  constants,
  fill,
  geometryOf,
  hostileInputs,
  type Library,
  label,
  load,
  nonFiniteInput,
  normals,
  subjectsOfEveryFamily,
  variants,
} from "./cases.js";
import { judge } from "./judge.js";
import { hostile, ordinary, trialOf } from "./trials.js";

describe.each(variants)("forward, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  test("runs on the binary it is asked for", () => {
    expect(library.runtimeInfo().variant).toBe(variant);
  });

  test.each(ordinary)("$name", ({ entries }) => {
    for (const entry of entries) {
      const { dy: _, ...trial } = trialOf(entry);
      judge(library, trial);
    }
  });

  test.each(hostileInputs)("hostile: $name", (input) => {
    for (const { dy: _, ...trial } of hostile(input)) judge(library, trial);
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
      const trial = trialOf({ subject });
      expect(judge(library, trial)).toEqual(judge(library, trial));
    }
  });
});
