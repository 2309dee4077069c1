/** StandardScaler: its numbers against scikit-learn's (golden/scaler.py made them) and against float64. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { tensor } from "../src/index.js";
import { RevIN, StandardScaler } from "../src/scaler.js";
import { columnOf, reference, U, uniforms } from "./scaler-reference.js";

interface Golden {
  readonly name: string;
  readonly type: "float64" | "float32" | "int16";
  readonly rows: number;
  readonly seed: number;
  readonly columns: { offset: number; scale: number; missing: number }[];
  readonly weighted: boolean;
  readonly options: { withMean?: boolean; withStd?: boolean };
  readonly count: number[];
  readonly mean: (number | null)[];
  readonly variance?: (number | null)[];
  readonly scale?: (number | null)[];
  readonly transformed: (number | null)[];
}

const golden: Golden[] = JSON.parse(
  readFileSync(new URL("golden/scaler.json", import.meta.url), "utf8"),
).cases;
const KINDS = { float64: Float64Array, float32: Float32Array, int16: Int16Array };

function draw({ rows, columns, seed, type, weighted }: Golden) {
  const uniform = uniforms(seed);
  const values: number[] = [];
  for (let row = 0; row < rows; row++) {
    for (const { offset, scale, missing } of columns) {
      const value = offset + scale * (uniform() + uniform() + uniform() + uniform() - 2);
      values.push(uniform() < missing ? Number.NaN : value);
    }
  }
  const x = KINDS[type].from(values) as Float64Array;
  return { x, weights: weighted ? Float64Array.from({ length: rows }, () => 1 + 3 * uniform()) : undefined };
}

/** Both sides are float64 sums: 1e-12 of what was added, and squares about means that agree to that. */
function expectClose(got: ArrayLike<number>, want: (number | null)[], scales: number[], what: string) {
  expect(got.length, what).toBe(want.length);
  want.forEach((value, i) => {
    if (value === null) expect(got[i], `${what} ${i}`).toBeNaN();
    else expect(Math.abs(got[i]! - value) / scales[i % scales.length]!, `${what} ${i}`).toBeLessThan(1e-12);
  });
}

describe.each(golden)("scikit-learn's numbers: $name", (each) => {
  const { x, weights } = draw(each);
  const features = each.columns.length;
  const sizes = each.columns.map(({ offset, scale }) => Math.abs(offset) + scale || 1);

  test.each([1, 3, 7, 64, 1000, 10_000])("in minibatches of %i", (size) => {
    const scaler = new StandardScaler(features, each.options);
    // Last rows first, so that the order is another one than scikit-learn's.
    for (let from = Math.floor((each.rows - 1) / size) * size; from >= 0; from -= size) {
      const to = Math.min(each.rows, from + size);
      const part = weights && { weights: weights.subarray(from, to) };
      scaler.partialFit(x.slice(from * features, to * features), part);
    }
    expectClose(
      scaler.count,
      each.count,
      each.count.map((n) => n || 1),
      "count",
    );
    expectClose(scaler.mean, each.mean, sizes, "mean");
    // What scikit-learn's float64 makes of the mean comes into its squares once; some 1e-10 of them at 1e6 deviations.
    if (each.variance) {
      const spread = each.columns.map(
        ({ offset, scale }) => (scale * scale || 1) * Math.max(1, Math.abs(offset / (scale || 1)) / 1e4),
      );
      expectClose(scaler.variance, each.variance, spread, "variance");
      expectClose(
        scaler.scale,
        each.scale!,
        each.columns.map(({ scale }, j) => (scale || 1) * Math.max(1, sizes[j]! / (scale || 1) / 1e4)),
        "scale",
      );
    }
    const some = Float64Array.from(x.slice(0, 5 * features));
    const results = each.columns.map(
      ({ offset, scale }) => Math.max(1, Math.abs(offset) / (scale || 1)) * 10,
    );
    expectClose(scaler.transform(some), each.transformed, results, "transformed");
  });
});

describe("the numerics contract", () => {
  const N = 20_000;

  test.each([0, 1, 1e3, 1e5, 1e6])(
    "float32 and float64, a mean of %f deviations, an outlier first",
    (ratio) => {
      const uniform = uniforms(7);
      const x = Float32Array.from({ length: N }, () => ratio + (uniform() - 0.5) * Math.sqrt(12));
      x[0] = -1e6 * (ratio + 1);
      for (const values of [x, Float64Array.from(x)]) {
        const { mean, variance } = reference(values);
        const sigma = Math.sqrt(variance);
        const scaler = new StandardScaler(1).partialFit(values);
        expect(Math.abs(scaler.mean[0]! - mean)).toBeLessThanOrEqual(1e-13 * Math.max(Math.abs(mean), sigma));
        expect(Math.abs(Math.sqrt(scaler.variance[0]!) / sigma - 1)).toBeLessThan(1e-11);
        const y = scaler.transform(values);
        let worst = 0;
        for (let i = 0; i < N; i++) {
          const want = (values[i]! - mean) / sigma;
          const limit = 4 * U * Math.max(1, Math.abs(want)) + (U / 2) * Math.abs(want);
          worst = Math.max(worst, Math.abs(y[i]! - want) / limit);
        }
        expect(worst).toBeLessThanOrEqual(1);
      }
    },
  );

  test("a column of 1e9 values at a mean of 1e6 deviations", () => {
    // The statistics of 2^16 rows, doubled by merging until they are of 1.07e9, then fed row by row as well.
    const uniform = uniforms(11);
    const x = Float64Array.from({ length: 2 ** 16 }, () => 1e6 + (uniform() - 0.5) * Math.sqrt(12));
    const { mean, variance } = reference(x);
    const scaler = new StandardScaler(1).partialFit(x);
    for (let doubling = 0; doubling < 14; doubling++) scaler.merge(scaler);
    expect(scaler.count[0]).toBe(2 ** 30);
    for (let i = 0; i < 2 ** 16; i += 8) scaler.partialFit(x.subarray(i, i + 8));
    expect(scaler.count[0]).toBe(2 ** 30 + 2 ** 16);
    // A mean without what its additions lose would have drifted by 1e-7 of a deviation.
    expect(Math.abs(scaler.mean[0]! - mean)).toBeLessThan(3e-10);
    expect(Math.abs(scaler.variance[0]! / variance - 1)).toBeLessThan(1e-10);
  });

  test.each([Float64Array, Float32Array])("1e9 values fed one minibatch after another, %o", (Kind) => {
    const uniform = uniforms(12);
    const x = new Kind(2 ** 20).map(() => 1e6 + (uniform() - 0.5) * Math.sqrt(12));
    const { mean, variance } = reference(x);
    const scaler = new StandardScaler(1);
    for (let i = 0; i < 954; i++) scaler.partialFit(x);
    expect(scaler.count[0]).toBe(954 * 2 ** 20);
    // Contract: 2u of the mean, which is 2.4e-1 of a deviation, and 2u of rstd; float64 keeps far more.
    expect(Math.abs(scaler.mean[0]! - mean)).toBeLessThan(3e-10);
    expect(Math.abs(scaler.variance[0]! / variance - 1)).toBeLessThan(1e-10);
  });

  test("a constant column gives exactly 0, whatever the constant and the cut", () => {
    for (const constant of [14.62, 0.1, 1234, 1e7, 1e30, -3.3e38, 1e308, -1e-320, 0]) {
      for (const Kind of [Float32Array, Float64Array]) {
        // Without its sign, where float32 makes it 0.
        const x = new Kind(1000).fill(constant).map((value) => value + 0);
        if (!Number.isFinite(x[0]!)) continue;
        for (const size of [1000, 7, 1]) {
          const scaler = new StandardScaler(1);
          for (let i = 0; i < 1000; i += size) scaler.partialFit(x.subarray(i, i + size));
          expect([scaler.mean[0], scaler.variance[0], scaler.scale[0]]).toEqual([x[0], 0, 1]);
          expect(scaler.transform(x).every((y) => y === 0)).toBe(true);
          expect([...new Set(scaler.inverseTransform(new Kind(3)))]).toEqual([x[0]]);
        }
      }
    }
  });

  test("counts, means and squares that leave float64 when multiplied", () => {
    const big = Float64Array.of(1e308, 1.1e308, 1.2e308, -1.7e308);
    const scaler = new StandardScaler(1).partialFit(big).partialFit(big.slice().reverse());
    expect(scaler.mean[0]).toBeCloseTo(0.4e308, -294);
    // sqrt(mean of squares): 1.1, 1.21, 1.28 and 4.41 over 4, less 0.16 * 10, in units of 1e616.
    const deviation = Math.sqrt((1 + 1.21 + 1.44 + 2.89) / 4 - 0.16) * 1e308;
    expect(scaler.scale[0]! / deviation).toBeCloseTo(1, 12);
    const y = scaler.transform(big);
    big.forEach((value, i) => {
      expect(y[i]).toBeCloseTo((value / 1e308 - 0.4) / (deviation / 1e308), 11);
    });
    expect(scaler.inverseTransform(y)[3]! / -1.7e308).toBeCloseTo(1, 12);
    // Merged, with a count of 2^40.
    for (let i = 0; i < 37; i++) scaler.merge(scaler);
    expect(scaler.count[0]).toBe(2 ** 40);
    expect(scaler.mean[0]! / 1e308).toBeCloseTo(0.4, 12);
    expect(scaler.scale[0]! / deviation).toBeCloseTo(1, 12);
  });

  test("squares that underflow", () => {
    const small = Float64Array.from([1, 2, 3, 6], (v) => v * 1e-300);
    const scaler = new StandardScaler(1).partialFit(small.subarray(0, 3)).partialFit(small.subarray(3));
    expect(scaler.mean[0]! / 1e-300).toBeCloseTo(3, 12);
    expect(scaler.scale[0]! / 1e-300).toBeCloseTo(Math.sqrt(14 / 4), 12);
    expect([...scaler.transform(small)].map((y) => y * Math.sqrt(14 / 4))).toEqual(
      [-2, -1, 0, 3].map((v) => expect.closeTo(v, 12)),
    );
    // An ordinary column later: what underflows beside it is nothing.
    scaler.partialFit(Float64Array.of(4, 8));
    expect(scaler.variance[0]).toBeCloseTo(reference([0, 0, 0, 0, 4, 8]).variance, 12);
  });

  test("float32 columns beyond the fast arithmetic's range", () => {
    for (const size of [1e38, 1e-38, 3e-45]) {
      const x = Float32Array.from([1, 2, 3, -1, 3], (v) => v * size);
      const { mean, variance } = reference(x);
      const y = new StandardScaler(1).fitTransform(x);
      y.forEach((value, i) => {
        expect(Math.abs(value - (x[i]! / size - mean / size) / (Math.sqrt(variance) / size))).toBeLessThan(
          4 * U,
        );
      });
    }
  });
});

describe("arrays that say what they are not", () => {
  class Lying extends Float32Array {
    override get length() {
      return Infinity;
    }
  }

  test("are gone through to their end, as a whole and as columns", () => {
    const whole = new StandardScaler(2).partialFit(new Lying([1, 2, 3, 6]));
    expect([...whole.mean]).toEqual([2, 4]);
    const columns = new StandardScaler(2).partialFit([new Lying([1, 3]), new Lying([2, 6])]);
    expect([...columns.mean]).toEqual([2, 4]);
    expect(new RevIN(1).normalize(new Lying([1, 3]), { shape: [2, 1] })).toHaveLength(2);
  });

  test("masks and weights of another length are refused unread", () => {
    const many = new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 53 - 1 : true) });
    const scaler = new StandardScaler(1);
    for (const options of [{ mask: many }, { weights: many as number[] }]) {
      expect(() => scaler.partialFit(Float32Array.of(1, 2), options)).toThrow(
        /to have 2 values, one for each row/,
      );
    }
  });

  test("without their memory they are refused", () => {
    const gone = new Float32Array(4);
    structuredClone(gone.buffer, { transfer: [gone.buffer] });
    const scaler = new StandardScaler(2).partialFit(Float32Array.of(1, 2, 3, 6));
    for (const call of [
      () => scaler.partialFit(gone),
      () => scaler.partialFit([gone, gone]),
      () => scaler.transform(gone),
      () => scaler.transformInto(new Float32Array(0), gone),
      () => new RevIN(2).normalize(gone, { shape: [0, 1, 2] }),
    ]) {
      expect(call).toThrow(/with its memory, got one that is detached/);
    }
  });
});

describe("what it takes and gives", () => {
  const N = 37;
  const C = 5;
  const uniform = uniforms(3);
  const x = Float32Array.from({ length: N * C }, (_, i) => (i % C) * 10 + Math.fround(uniform() * 8 - 4));
  const whole = new StandardScaler(C).partialFit(x);
  const near = (got: ArrayLike<number>, want: ArrayLike<number>, limit: number) => {
    expect(got.length).toBe(want.length);
    for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!)).toBeLessThanOrEqual(limit);
  };

  test("mean, variance, count, scale per column; every width and every number of rows", () => {
    for (const features of [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 31, 48, 100, 1001]) {
      for (const rows of [1, 2, 3, 15, 16, 17, 40]) {
        const u = uniforms(features * 100 + rows);
        for (const Kind of [Float32Array, Float64Array]) {
          const values = new Kind(rows * features).map(() => 50 + u());
          const scaler = new StandardScaler(features).partialFit(values);
          const y = scaler.transform(values);
          const back = scaler.inverseTransform(y);
          for (let j = 0; j < features; j += Math.ceil(features / 9)) {
            const want = reference(columnOf(values, features, j));
            expect(scaler.count[j]).toBe(rows);
            expect(scaler.mean[j]).toBeCloseTo(want.mean, 12);
            expect(scaler.variance[j]).toBeCloseTo(want.variance, 12);
            const sigma = Math.sqrt(want.variance) || 1;
            columnOf(y, features, j).forEach((value, row) => {
              const at = values[row * features + j]!;
              expect(Math.abs(value - (at - want.mean) / sigma)).toBeLessThan(4 * U * 2);
              expect(Math.abs(back[row * features + j]! - at)).toBeLessThan(50 * U);
            });
          }
        }
      }
    }
  });

  test("kinds of arrays", () => {
    const integers = Float64Array.from(x, Math.trunc);
    const want = new StandardScaler(C).partialFit(integers);
    for (const Kind of [Int8Array, Int16Array, Int32Array, Float64Array]) {
      const given = Kind.from(integers);
      const got = new StandardScaler(C).partialFit(given);
      expect(got.mean).toEqual(want.mean);
      expect(got.variance).toEqual(want.variance);
      const y = got.transform(given);
      expect(y).toBeInstanceOf(Float64Array);
      near(y, want.transform(integers), 1e-15);
    }
    const unsigned = integers.map(Math.abs);
    const wantUnsigned = new StandardScaler(C).partialFit(unsigned);
    for (const Kind of [Uint8Array, Uint8ClampedArray, Uint16Array, Uint32Array]) {
      expect(new StandardScaler(C).partialFit(Kind.from(unsigned)).variance).toEqual(wantUnsigned.variance);
    }
    const long = BigInt64Array.from(integers, (value) => BigInt(value) + 1_700_000_000n);
    const got = new StandardScaler(C).partialFit(long);
    near(
      got.mean,
      want.mean.map((value) => value + 1.7e9),
      1e-6,
    );
    near(got.variance, want.variance, 1e-9);
    // 1.7e9 is a multiple of 2.4e-7 in float64, and so is the mean that it gives.
    near(got.transform(long), want.transform(integers), 2.4e-7 / Math.min(...want.scale));
  });

  test("seconds since 1970 in float64", () => {
    // float32 steps by 128 there, so that whole minutes would be one value.
    const seconds = Float64Array.from({ length: 60 }, (_, i) => 1.7e9 + i);
    const scaler = new StandardScaler(1).partialFit(seconds);
    expect(scaler.mean[0]).toBe(1.7e9 + 29.5);
    expect(scaler.variance[0]).toBeCloseTo((60 ** 2 - 1) / 12, 9);
    near(scaler.inverseTransform(scaler.transform(seconds)), seconds, 1e-6);
  });

  test("Float16Array, where the platform has it", () => {
    const { Float16Array: Half } = globalThis as { Float16Array?: Float32ArrayConstructor };
    // Node 20 and 22 have none; there the scaler names what it takes.
    if (!Half)
      expect(() => whole.transform({ length: 5 } as unknown as Float32Array)).toThrow(/Float16Array/);
    else {
      const half = Half.from(x);
      const y = new StandardScaler(C).fitTransform(half);
      expect(y).toBeInstanceOf(Half);
      near(y, Half.from(new StandardScaler(C).fitTransform(Float32Array.from(half))), 0);
    }
  });

  test("Tensors, read and written where they lie", () => {
    const t = tensor([N, C], x);
    const scaler = new StandardScaler(C).partialFit(t);
    expect(scaler.mean).toEqual(whole.mean);
    const y = scaler.transform(t);
    expect(y.shape).toEqual([N, C]);
    expect(y.data).toEqual(whole.transform(x));
    const three = tensor([1, N, C], x);
    scaler.transformInto(three, three);
    expect(three.data).toEqual(y.data);
    for (const each of [t, y, three]) each.dispose();
  });

  test("a bfloat16 Tensor: its bits are widened, and rounded to nearest even on the way out", () => {
    const bits = Uint16Array.of(0x3f80, 0x4000, 0xc040, 0x7fc0); // 1, 2, -3, NaN
    const given = { shape: [4, 1], dtype: "bfloat16", data: bits };
    const scaler = new StandardScaler(1, { withStd: false }).partialFit(given);
    expect([scaler.count[0], scaler.mean[0]]).toEqual([3, 0]);
    const exact = { shape: [4, 1], dtype: "bfloat16", data: new Uint16Array(4) };
    new StandardScaler(1, { withStd: false, withMean: false })
      .partialFit(Float32Array.of(1))
      .transformInto(Float32Array.of(1 + 2 ** -8, 1 + 3 * 2 ** -8, -3.01, Number.NaN), exact);
    // Ties: down to 1, up to 1 + 2^-6.
    expect([...exact.data.subarray(0, 3)]).toEqual([0x3f80, 0x3f82, 0xc041]);
    expect((exact.data[3]! & 0x7fff) > 0x7f80).toBe(true);
  });

  test("a float16 Tensor whose data is bits, as where there is no Float16Array", () => {
    const bits = Uint16Array.of(0x3c00, 0x4000, 0xc200, 0x7e00, 0x0001, 0x8001, 0x7bff, 0xfbff); // 1, 2, -3, NaN, +-2^-24, +-65504
    const scaler = new StandardScaler(1, { withStd: false }).partialFit({
      shape: [8, 1],
      dtype: "float16",
      data: bits,
    });
    expect([scaler.count[0], scaler.mean[0]]).toEqual([7, 0]);
    const exact = { shape: [8, 1], dtype: "float16", data: new Uint16Array(8) };
    const values = Float32Array.of(
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      65519.99,
      65520,
      2 ** -25,
      3 * 2 ** -25,
      -(2 ** -14),
      -Infinity,
    );
    new StandardScaler(1, { withStd: false, withMean: false })
      .partialFit(Float32Array.of(1))
      .transformInto(values, exact);
    // Ties go to even: 1, 1 + 2^-9, and below 2^-24 0 and 2 of its steps.
    expect([...exact.data]).toEqual([0x3c00, 0x3c02, 0x7bff, 0x7c00, 0, 2, 0x8400, 0xfc00]);
  });

  test("a 16-bit Tensor of this package fits as its numbers do", () => {
    const values = Float32Array.of(1, 2.5, -3, 65504, 0.125, 7);
    for (const dtype of ["float16", "bfloat16"] as const) {
      const half = tensor([3, 2], values, { dtype });
      const got = new StandardScaler(2).partialFit(half);
      const want = new StandardScaler(2).partialFit(half.toArray());
      expect([...got.mean]).toEqual([...want.mean]);
      expect([...got.variance]).toEqual([...want.variance]);
      const y = got.transform(half);
      expect(y.dtype).toBe(dtype);
      expect(y.toArray()).toEqual(tensor([3, 2], got.transform(half.toArray()), { dtype }).toArray());
      for (const each of [half, y]) each.dispose();
    }
  });

  test("columns as Apache Arrow keeps them, without transposing", () => {
    const columns = Array.from({ length: C }, (_, j) => Float32Array.from(columnOf(x, C, j)));
    const scaler = new StandardScaler(C).partialFit(columns);
    near(scaler.mean, whole.mean, 1e-13);
    near(scaler.variance, whole.variance, 1e-12);
    expect([...scaler.count]).toEqual(Array(C).fill(N));
    const y = scaler.transform(columns);
    const want = scaler.transform(x);
    y.forEach((column, j) => {
      expect([...column]).toEqual(columnOf(want, C, j));
    });
    // Mixed kinds, in place.
    const mixed = [columns[0]!, Float64Array.from(columns[1]!), ...columns.slice(2)];
    expect(scaler.transformInto(mixed, mixed)).toBe(mixed);
    expect([...mixed[0]!]).toEqual(columnOf(want, C, 0));
    expect(mixed[1]![3]).toBeCloseTo(want[3 * C + 1]!, 6);
  });

  test("NaN is left out column by column, and stays where it is", () => {
    const holes = x.map((value, i) => (i % 7 === 3 ? Number.NaN : value));
    const scaler = new StandardScaler(C).partialFit(holes);
    const y = scaler.transform(holes);
    for (let j = 0; j < C; j++) {
      const want = reference(columnOf(holes, C, j));
      expect(scaler.count[j]).toBe(want.count);
      expect(scaler.mean[j]).toBeCloseTo(want.mean, 12);
      expect(scaler.variance[j]).toBeCloseTo(want.variance, 12);
    }
    holes.forEach((value, i) => {
      expect(Number.isNaN(y[i])).toBe(Number.isNaN(value));
    });
  });

  test("a mask leaves rows out; weights count them more than once", () => {
    const mask = Uint8Array.from({ length: N }, (_, row) => (row % 3 ? 1 : 0));
    const kept = x.filter((_, i) => mask[Math.floor(i / C)]);
    const masked = new StandardScaler(C).partialFit(x, { mask });
    const want = new StandardScaler(C).partialFit(kept);
    near(masked.mean, want.mean, 1e-13);
    near(masked.variance, want.variance, 1e-12);
    expect(masked.rows).toBe(kept.length / C);
    expect(new StandardScaler(C).partialFit(x, { mask: Array.from(mask, Boolean) }).mean).toEqual(
      masked.mean,
    );
    const weights = Array.from(mask, (flag, row) => (flag ? row % 4 : 0));
    const repeated: number[] = [];
    for (let row = 0; row < N; row++)
      for (let k = 0; k < weights[row]!; k++) repeated.push(...x.subarray(row * C, row * C + C));
    const weighted = new StandardScaler(C, { ddof: 1 }).partialFit(x, { weights });
    const wantRepeated = new StandardScaler(C, { ddof: 1 }).partialFit(Float32Array.from(repeated));
    near(weighted.mean, wantRepeated.mean, 1e-13);
    near(weighted.variance, wantRepeated.variance, 1e-12);
    expect(weighted.count).toEqual(wantRepeated.count);
    // A row that does not count may hold anything.
    const bad = x.slice();
    bad[0] = Infinity;
    expect(new StandardScaler(C).partialFit(bad, { mask }).mean).toEqual(masked.mean);
  });

  test("ddof, withMean, withStd", () => {
    const { variance } = reference(columnOf(x, C, 2));
    expect(new StandardScaler(C, { ddof: 1 }).partialFit(x).variance[2]).toBeCloseTo(
      (variance * N) / (N - 1),
      12,
    );
    const one = new StandardScaler(1, { ddof: 1 }).partialFit(Float32Array.of(3));
    expect([one.mean[0], one.variance[0]]).toEqual([3, Number.NaN]);
    expect([
      ...new StandardScaler(1, { withMean: false, withStd: false }).fitTransform(Float32Array.of(3, 8)),
    ]).toEqual([3, 8]);
    near(
      new StandardScaler(C, { withStd: false }).fitTransform(x),
      x.map((v, i) => v - whole.mean[i % C]!),
      4 * U * 50,
    );
    near(
      new StandardScaler(C, { withMean: false }).fitTransform(x),
      x.map((v, i) => v / whole.scale[i % C]!),
      4 * U * 50,
    );
  });

  test("into: other kinds, in place, the same numbers", () => {
    const y = whole.transform(x);
    const wide = whole.transformInto(x, new Float64Array(N * C));
    for (let i = 0; i < N * C; i++) {
      const j = i % C;
      expect(wide[i]).toBeCloseTo((x[i]! - whole.mean[j]!) / whole.scale[j]!, 14);
    }
    const own = x.slice();
    expect(whole.transformInto(own, own)).toBe(own);
    expect(own).toEqual(y);
    whole.inverseTransformInto(own, own);
    near(own, x, 50 * U);
  });

  test("fitTransform forgets what was before, partialFit does not", () => {
    const scaler = new StandardScaler(C).partialFit(x.map((v) => v * 3 + 100));
    expect(scaler.fitTransform(x)).toEqual(whole.transform(x));
    expect(scaler.mean).toEqual(whole.mean);
    expect(scaler.reset().rows).toBe(0);
    expect(() => scaler.transform(x)).toThrow(
      "StandardScaler.transform: expected partialFit or fit before it",
    );
  });

  test("what comes back is the caller's own", () => {
    whole.mean.fill(7);
    whole.scale.fill(7);
    whole.count.fill(7);
    expect(whole.mean[0]).not.toBe(7);
    expect(whole.scale[0]).not.toBe(7);
    expect(whole.count[0]).toBe(N);
  });
});
