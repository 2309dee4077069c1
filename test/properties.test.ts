/** What has to hold for any input at all, on inputs that fast-check makes up. */
import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";
import {
  build,
  type Functional,
  geometryOf,
  type Library,
  label,
  load,
  loadFunctional,
  normals,
  type Subject,
  variants,
} from "./cases.js";
import { compare, expectHolds } from "./contract.js";
import { gradientFor, judge } from "./judge.js";
import { naming } from "./refusal.js";

/** The same inputs every time, unless SEED says otherwise. */
const seed = Number(process.env.SEED ?? 20150211);
const runs = { numRuns: 150, seed };

/** Any layer on any small shape. */
const anySubject: fc.Arbitrary<Subject> = fc
  .record({
    family: fc.constantFrom("batch", "layer", "rms", "group", "instance") as fc.Arbitrary<Subject["family"]>,
    layout: fc.constantFrom("channels-last", "channels-first") as fc.Arbitrary<
      NonNullable<Subject["layout"]>
    >,
    n: fc.integer({ min: 2, max: 20 }),
    positions: fc.array(fc.integer({ min: 1, max: 7 }), { maxLength: 2 }),
    channels: fc.integer({ min: 1, max: 24 }),
    gamma: fc.boolean(),
    beta: fc.boolean(),
    relu: fc.boolean(),
    eps: fc.constantFrom(undefined, 1e-3, 1e-8),
  })
  .map(({ family, layout, n, positions, channels, gamma, beta, relu, eps }) => {
    const spatial = family === "instance" ? [2, ...positions] : positions;
    const first = layout === "channels-first" && family !== "layer" && family !== "rms";
    const groups = channels % 3 === 0 ? 3 : channels % 2 === 0 ? 2 : 1;
    return {
      family,
      layout: first ? "channels-first" : "channels-last",
      shape: first ? [n, channels, ...spatial] : [n, ...spatial, channels],
      ...(family === "group" && { groups }),
      affine: { gamma, beta: beta && family !== "rms" },
      activation: relu ? "relu" : undefined,
      eps,
    };
  });

/** Any finite float32 whose square float64 holds: all of them. */
const anyFloat = fc.float({ noNaN: true, noDefaultInfinity: true });
const anyArray = (size: number, value: fc.Arbitrary<number>) =>
  fc.array(value, { minLength: size, maxLength: size }).map((values) => Float32Array.from(values));
/** Numbers whose products are none of float32's subnormal ones, which have no u. */
const ordinary = fc
  .float({ min: -1000, max: 1000, noNaN: true })
  .map((value) => (Math.abs(value) < 1e-12 ? 0 : value));

describe.each(variants)("properties, %s", (variant) => {
  let library: Library;
  let functional: Functional;
  beforeAll(async () => {
    library = await load(variant);
    functional = await loadFunctional();
  });

  test("any layer on any shape keeps the contract, forward and backward", () => {
    const trial = anySubject.chain((subject) => {
      const { size } = geometryOf(subject);
      return fc.record({
        subject: fc.constant(subject),
        x: anyArray(size, ordinary),
        dy: anyArray(size, ordinary),
      });
    });
    fc.assert(
      fc.property(trial, ({ subject, x, dy }) => {
        judge(library, { subject, x, dy });
      }),
      runs,
    );
  });

  test("any finite numbers at all keep the forward contract, without a trap", () => {
    const trial = anySubject.chain((subject) =>
      fc.record({ subject: fc.constant(subject), x: anyArray(geometryOf(subject).size, anyFloat) }),
    );
    fc.assert(
      fc.property(trial, ({ subject, x }) => {
        judge(library, { subject, x });
      }),
      runs,
    );
  });

  test("any bits at all, NaN and infinities too, neither trap nor reach another group", () => {
    const trial = anySubject.chain((subject) =>
      fc.record({ subject: fc.constant(subject), x: anyArray(geometryOf(subject).size, fc.float()) }),
    );
    fc.assert(
      fc.property(trial, ({ subject, x }) => {
        judge(library, { subject, x });
      }),
      runs,
    );
  });

  test("scaling and shifting the input by powers of two changes nothing but the scale (eps 0)", () => {
    const trial = fc.record({
      seed: fc.integer(),
      rows: fc.integer({ min: 2, max: 40 }),
      exponent: fc.integer({ min: -60, max: 60 }),
    });
    fc.assert(
      fc.property(trial, ({ seed, rows, exponent }) => {
        const layer = new library.BatchNorm(3, { eps: 0 });
        const x = normals(3 * rows, seed);
        const y = layer.forward(x, [rows, 3]);
        const scaled = layer.forward(
          x.map((value) => value * 2 ** exponent),
          [rows, 3],
        );
        const scale = (i: number) => Math.max(1, Math.abs(y[i]!));
        expectHolds(compare(scaled, y, { what: "y", limit: 4, scale }), `scaled by 2^${exponent}`);
        layer.dispose();
      }),
      runs,
    );
  });

  test("the order of the rows does not matter", () => {
    const trial = fc.record({ seed: fc.integer(), rows: fc.integer({ min: 2, max: 60 }), mean: ordinary });
    fc.assert(
      fc.property(trial, ({ seed, rows, mean }) => {
        const channels = 5;
        const x = normals(channels * rows, seed, 1, mean);
        const reversed = new Float32Array(x.length);
        for (let row = 0; row < rows; row++) {
          reversed.set(x.subarray(row * channels, (row + 1) * channels), (rows - 1 - row) * channels);
        }
        const layer = new library.BatchNorm(channels);
        const y = layer.forward(x, [rows, channels]);
        const back = layer.forward(reversed, [rows, channels]);
        const want = y.map((_, i) => {
          const row = rows - 1 - Math.floor(i / channels);
          return y[row * channels + (i % channels)]!;
        });
        const scale = (i: number) => Math.max(1, Math.abs(want[i]!));
        // each of the two may be 4u off, in either direction
        expectHolds(compare(back, want, { what: "y", limit: 8, scale }), "rows reversed");
        layer.dispose();
      }),
      runs,
    );
  });

  test("channels-first is channels-last of the transposed array", () => {
    const trial = fc.record({
      n: fc.integer({ min: 2, max: 6 }),
      positions: fc.integer({ min: 1, max: 40 }),
      channels: fc.integer({ min: 1, max: 20 }),
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(trial, ({ n, positions, channels, seed }) => {
        const last = normals(n * positions * channels, seed, 2, 3);
        const transpose = (from: Float32Array) =>
          from.map((_, i) => {
            const [example, rest] = [Math.floor(i / (positions * channels)), i % (positions * channels)];
            const [channel, position] = [Math.floor(rest / positions), rest % positions];
            return from[(example * positions + position) * channels + channel]!;
          });
        const subject = { family: "batch", shape: [n, positions, channels] } as const;
        const first = build(library, {
          ...subject,
          layout: "channels-first",
          shape: [n, channels, positions],
        });
        const layer = build(library, subject);
        const want = transpose(layer.forward(last, [n, positions, channels]));
        const got = first.forward(transpose(last), [n, channels, positions]);
        const scale = (i: number) => 2 * Math.max(1, Math.abs(want[i]!));
        expectHolds(compare(got, want, { what: "y", limit: 8, scale }), "channels-first");
        layer.dispose();
        first.dispose();
      }),
      runs,
    );
  });

  test("backward is linear in dy", () => {
    fc.assert(
      fc.property(anySubject, fc.integer({ min: -20, max: 20 }), (subject, exponent) => {
        const geometry = geometryOf(subject);
        const layer = build(library, subject);
        const dy = gradientFor(geometry);
        layer.forward(normals(geometry.size, 1), [...subject.shape]);
        const dx = layer.backward(dy, { retain: true });
        const scaled = layer.backward(dy.map((value) => value * 2 ** exponent));
        // a power of two scales every step exactly
        expect(scaled, label(subject)).toEqual(dx.map((value) => value * 2 ** exponent));
        layer.dispose();
      }),
      runs,
    );
  });

  test("moments merged over any cut are the moments of the whole", () => {
    const trial = fc.record({
      rows: fc.integer({ min: 0, max: 50 }),
      cut: fc.nat({ max: 50 }),
      mean: ordinary,
      seed: fc.integer(),
    });
    fc.assert(
      fc.property(trial, ({ rows, cut, mean, seed }) => {
        const at = Math.min(rows, cut);
        const x = normals(4 * rows, seed, 1, mean);
        const axes = { axes: [0] };
        const whole = functional.moments(x, [rows, 4], axes);
        const a = functional.moments(x.subarray(0, 4 * at), [at, 4], axes);
        const b = functional.moments(x.subarray(4 * at), [rows - at, 4], axes);
        const merged = functional.mergeMoments(a, b);
        expect(merged.count).toBe(whole.count);
        const scale = (c: number) => Math.abs(whole.mean[c]!) + Math.sqrt(whole.m2[c]! / (rows || 1));
        expectHolds(compare(merged.mean, whole.mean, { what: "mean", limit: 4, scale }), "merged");
        const size = (c: number) => whole.m2[c]!;
        expectHolds(compare(merged.m2, whole.m2, { what: "m2", limit: 8, scale: size }), "merged");
      }),
      runs,
    );
  });

  test("whatever is thrown at forward, it answers or refuses in words", () => {
    const layer = new library.BatchNorm(3);
    fc.assert(
      fc.property(fc.anything(), fc.anything(), (x, options) => {
        try {
          layer.forward(x as never, options as never);
        } catch (error) {
          expect(error instanceof TypeError || error instanceof RangeError, String(error)).toBe(true);
          expect((error as Error).message).toMatch(naming("BatchNorm"));
        }
      }),
      { numRuns: 1000, seed },
    );
  });
});
