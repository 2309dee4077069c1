/** Order and cut of a stream do not matter beyond the contract; merging is feeding. Random streams, by fast-check. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { StandardScaler } from "../src/scaler.js";
import { columnOf, reference } from "./scaler-reference.js";

/** A value of a column: ordinary, missing, or far out. */
const value = fc.oneof(
  { weight: 8, arbitrary: fc.double({ min: -10, max: 10, noNaN: true }) },
  { weight: 1, arbitrary: fc.constant(Number.NaN) },
  { weight: 1, arbitrary: fc.double({ min: -1e7, max: 1e7, noNaN: true }) },
);
/** A matrix of some columns about an offset, and where to cut and how to order it. */
const stream = fc
  .record({
    features: fc.integer({ min: 1, max: 6 }),
    rows: fc.integer({ min: 1, max: 60 }),
    offset: fc.constantFrom(0, 1e3, -1e6, 1e9),
    wide: fc.boolean(),
  })
  .chain((shape) =>
    fc.record({
      shape: fc.constant(shape),
      values: fc.array(value, {
        minLength: shape.rows * shape.features,
        maxLength: shape.rows * shape.features,
      }),
      order: fc.shuffledSubarray(
        Array.from({ length: shape.rows }, (_, i) => i),
        {
          minLength: shape.rows,
          maxLength: shape.rows,
        },
      ),
      cuts: fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 60, maxLength: 60 }),
    }),
  );

interface Stream {
  shape: { features: number; rows: number; offset: number; wide: boolean };
  values: number[];
  order: number[];
  cuts: number[];
}

const matrixOf = ({ shape, values }: Stream) =>
  new (shape.wide ? Float64Array : (Float32Array as unknown as Float64ArrayConstructor))(
    values.map((v) => v + shape.offset),
  );

/** The rows in the stream's order, cut into minibatches. */
function minibatches({ shape: { features, rows }, order, cuts }: Stream, x: Float64Array): Float64Array[] {
  const ordered = x.slice();
  order.forEach((from, to) => {
    ordered.set(x.subarray(from * features, (from + 1) * features), to * features);
  });
  const parts: Float64Array[] = [];
  for (let row = 0, i = 0; row < rows; row += cuts[i++]!) {
    parts.push(ordered.slice(row * features, Math.min(rows, row + cuts[i]!) * features));
  }
  return parts;
}

/** Against two passes in float64: counts the same, mean and variance within what float64 sums of 60 values lose. */
function expectStatistics(scaler: StandardScaler, x: ArrayLike<number>, features: number) {
  for (let j = 0; j < features; j++) {
    const column = columnOf(x, features, j);
    const want = reference(column);
    expect(scaler.count[j]).toBe(want.count);
    if (want.count === 0) {
      expect([scaler.mean[j], scaler.variance[j]]).toEqual([Number.NaN, Number.NaN]);
      continue;
    }
    const sigma = Math.sqrt(want.variance);
    // Means of subnormal numbers are multiples of the smallest of them.
    const limit = 1e-15 * Math.abs(want.mean) + 1e-13 * sigma + Number.MIN_VALUE;
    expect(Math.abs(scaler.mean[j]! - want.mean)).toBeLessThanOrEqual(limit);
    // The mean itself is rounded, in the reference as well.
    const rounding = (2 ** -52 * Math.abs(want.mean)) ** 2;
    expect(Math.abs(scaler.variance[j]! - want.variance)).toBeLessThanOrEqual(
      1e-12 * want.variance + rounding,
    );
  }
}

describe("statistics of a stream", () => {
  test("do not depend on its order and cut", () => {
    fc.assert(
      fc.property(stream, (each) => {
        const x = matrixOf(each);
        const scaler = new StandardScaler(each.shape.features);
        for (const part of minibatches(each, x)) scaler.partialFit(part);
        expectStatistics(scaler, x, each.shape.features);
      }),
      { numRuns: 300 },
    );
  });

  test("merge from any parts, in any order, as if they had been one", () => {
    fc.assert(
      fc.property(stream, fc.infiniteStream(fc.nat()), (each, choices) => {
        const { features } = each.shape;
        const x = matrixOf(each);
        const parts = minibatches(each, x).map((part) => new StandardScaler(features).partialFit(part));
        while (parts.length > 1) {
          const [one] = parts.splice(choices.next().value! % parts.length, 1);
          parts[choices.next().value! % parts.length]!.merge(one!);
        }
        expectStatistics(parts[0]!, x, features);
      }),
      { numRuns: 200 },
    );
  });

  test("are the same for columns, for a mask that keeps all, and for weights of 1", () => {
    fc.assert(
      fc.property(stream, (each) => {
        const { features, rows } = each.shape;
        const x = matrixOf(each);
        const columns = Array.from({ length: features }, (_, j) =>
          Float64Array.from(columnOf(x, features, j)),
        );
        for (const scaler of [
          new StandardScaler(features).partialFit(columns),
          new StandardScaler(features).partialFit(x, { mask: new Uint8Array(rows).fill(1) }),
          new StandardScaler(features).partialFit(x, { weights: new Float32Array(rows).fill(1) }),
        ]) {
          expectStatistics(scaler, x, features);
        }
      }),
      { numRuns: 100 },
    );
  });

  test("survive JSON and safetensors to the bit", () => {
    fc.assert(
      fc.property(stream, fc.constantFrom(null, 5), (each, halfLife) => {
        const scaler = new StandardScaler(each.shape.features, { halfLife });
        for (const part of minibatches(each, matrixOf(each))) scaler.partialFit(part);
        const text = JSON.stringify(scaler);
        for (const back of [
          StandardScaler.fromJSON(JSON.parse(text)),
          StandardScaler.fromSafetensors(scaler.toSafetensors()),
        ]) {
          expect(back.toJSON()).toEqual(scaler.toJSON());
          expect(back.toSafetensors()).toEqual(scaler.toSafetensors());
          expect(back.variance).toEqual(scaler.variance);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe("with a half-life", () => {
  const HALF_LIFE = 3;

  /** Row `row` of `rows` counts `2^(-(rows - 1 - row) / halfLife)`. */
  const fading = (rows: number) =>
    Float64Array.from({ length: rows }, (_, row) => 2 ** (-(rows - 1 - row) / HALF_LIFE));

  test("a row counts half after so many more, whatever the cut", () => {
    fc.assert(
      fc.property(stream, (each) => {
        const { features, rows } = each.shape;
        const x = matrixOf({ ...each, shape: { ...each.shape, offset: 100 } });
        const inOrder = { ...each, order: Array.from({ length: rows }, (_, i) => i) };
        const scaler = new StandardScaler(features, { halfLife: HALF_LIFE });
        for (const part of minibatches(inOrder, x)) scaler.partialFit(part);
        for (let j = 0; j < features; j++) {
          const want = reference(columnOf(x, features, j), fading(rows));
          expect(scaler.count[j]! / (want.count || 1)).toBeCloseTo(want.count ? 1 : 0, 12);
          if (want.count === 0) continue;
          const sigma = Math.sqrt(want.variance);
          expect(Math.abs(scaler.mean[j]! - want.mean)).toBeLessThanOrEqual(
            1e-12 * (Math.abs(want.mean) + sigma),
          );
          expect(Math.abs(scaler.variance[j]! - want.variance)).toBeLessThanOrEqual(
            1e-9 * want.variance + 1e-20 * 1e14,
          );
        }
      }),
      { numRuns: 200 },
    );
  });

  test("weights and masks: masked rows do not age the others", () => {
    const x = Float64Array.of(1, 2, 50, 4, 8);
    const mask = [true, true, false, true, true];
    const kept = new StandardScaler(1, { halfLife: HALF_LIFE }).partialFit(Float64Array.of(1, 2, 4, 8));
    const masked = new StandardScaler(1, { halfLife: HALF_LIFE }).partialFit(x, { mask });
    expect(masked.toJSON()).toEqual(kept.toJSON());
    const weighted = new StandardScaler(1, { halfLife: HALF_LIFE }).partialFit(x, {
      weights: [1, 0, 2, 1, 1],
    });
    const want = reference(
      x,
      fading(5).map((fade, row) => fade * [1, 0, 2, 1, 1][row]!),
    );
    expect(weighted.mean[0]).toBeCloseTo(want.mean, 12);
    expect(weighted.variance[0]).toBeCloseTo(want.variance, 10);
  });

  test("a column that has long had no value keeps its mean, and its next value is all there is", () => {
    const scaler = new StandardScaler(2, { halfLife: 1 }).partialFit(Float64Array.of(5, 1, 7, 2));
    const mean = scaler.mean[0]!;
    for (let i = 0; i < 3000; i++) scaler.partialFit(Float64Array.of(Number.NaN, i));
    expect([scaler.mean[0], scaler.count[0]]).toEqual([mean, 0]);
    scaler.partialFit(Float64Array.of(-4, 0));
    expect([scaler.mean[0], scaler.count[0], scaler.variance[0]]).toEqual([-4, 1, 0]);
  });

  test("a jump of 1e9 deviations is forgotten, in one block or in many", () => {
    const u = [0.3, 1.7, 0.9, 1.1, 0.2, 1.9, 1.3];
    const x = Float64Array.from({ length: 400 }, (_, row) => (row < 150 ? 1e9 : 0) + u[row % 7]!);
    const want = reference(x, fading(400));
    for (const size of [400, 200, 7, 1]) {
      const scaler = new StandardScaler(1, { halfLife: HALF_LIFE });
      for (let row = 0; row < 400; row += size) scaler.partialFit(x.subarray(row, row + size));
      expect(scaler.mean[0]! / want.mean).toBeCloseTo(1, 12);
      expect(scaler.variance[0]! / want.variance).toBeCloseTo(1, 12);
    }
  });

  test("streams that ran side by side merge", () => {
    const [a, b] = [Float64Array.of(1, 5, 2), Float64Array.of(7, 3, 4)];
    const scaler = new StandardScaler(1, { halfLife: HALF_LIFE }).partialFit(a);
    scaler.merge(new StandardScaler(1, { halfLife: HALF_LIFE }).partialFit(b));
    const want = reference([...a, ...b], [...fading(3), ...fading(3)]);
    expect(scaler.mean[0]).toBeCloseTo(want.mean, 13);
    expect(scaler.variance[0]).toBeCloseTo(want.variance, 13);
    expect(scaler.count[0]).toBeCloseTo(want.count, 13);
  });
});
