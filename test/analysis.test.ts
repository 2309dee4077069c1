/** `wasm-norm/analysis`: reports on trained layers, against values worked out by hand and properties. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { medianOf, quantile, ranks } from "../src/analysis/rank.js";
import { healthReport, identityReport, type NormLayer, spearman, verdict } from "../src/analysis.js";
import { BatchNorm } from "../src/index.js";

const layer = (given: Partial<NormLayer> = {}): NormLayer => ({
  name: "bn",
  gamma: [2, 1, 3, 1],
  beta: [5, 0, 1, 0],
  mean: [5, 0, 1, 4],
  variance: [4, 1, 1, 16],
  eps: 0,
  ...given,
});

describe("identityReport by hand", () => {
  // scale 2/2, 1/1, 3/1, 1/4 and shift 0, 0, 0, -4/4: two units are undone
  const report = identityReport([layer()]);
  const one = report.layers[0]!;

  test("scale, shift, gap and the count within the tolerance", () => {
    expect([...one.scale]).toEqual([1, 1, 3, 0.25]);
    expect([...one.shift]).toEqual([0, 0, 0, -1]);
    expect([one.units, one.measured, one.within, one.share]).toEqual([4, 4, 2, 0.5]);
    expect(one.gap).toBeCloseTo(Math.sqrt((2 ** 2 + 0.75 ** 2 + 1) / 4), 12);
  });

  test("quartiles of scale", () => {
    // 0.25, 1, 1, 3: at 0.75, 1.5 and 2.25 between the four
    expect(one.scaleQuartiles).toEqual([0.8125, 1, 1.5]);
  });

  test("correlations: beta follows the mean in ranks 2, 0.5, 1, 0.5 against 3, 0, 1, 2", () => {
    // beta 5, 0, 1, 0 has ranks 3, 0.5, 2, 0.5; mean 5, 0, 1, 4 has 3, 0, 1, 2; about 1.5 each:
    // 1.5 * 1.5 + -1 * -1.5 + 0.5 * -0.5 + -1 * 0.5 = 3, of sqrt(4.5 * 5)
    expect(one.betaMean!.rho).toBeCloseTo(3 / Math.sqrt(22.5), 12);
    // gamma 2, 1, 3, 1 has ranks 2, 0.5, 3, 0.5; sigma 2, 1, 1, 4 has 2, 0.5, 0.5, 3: 0.25 + 1 - 1.5 - 1.5
    expect(one.gammaSigma!.rho).toBeCloseTo((0.25 + 1 - 1.5 - 1.5) / 4.5, 12);
  });

  test("dealt exactly: of two units, one order of two undoes both and the other none", () => {
    const pair = layer({ gamma: [2, 1], beta: [5, 0], mean: [5, 0], variance: [4, 1] });
    const { dealt, dealtApart } = identityReport([pair], { deals: 4000 }).all;
    // together: both or none, with one half each. Apart: each unit has a chance of a quarter, both then at once.
    expect(dealt.mean).toBeGreaterThan(0.93);
    expect(dealt.mean).toBeLessThan(1.07);
    expect([dealt.low, dealt.high]).toEqual([0, 2]);
    expect(dealt.atLeast).toBeCloseTo(0.5, 1);
    expect(dealtApart.mean).toBeCloseTo(0.5, 1);
  });

  test("the tolerance counts from 0 to itself", () => {
    const off = layer({ gamma: [1.25], beta: [0.25], mean: [0], variance: [1] });
    expect(identityReport([off], { tolerance: 0.25 }).all.within).toBe(1);
    expect(identityReport([off], { tolerance: 0.2499 }).all.within).toBe(0);
  });

  test("without gamma and beta they are 1 and 0, and nothing is said of their correlation", () => {
    const bare = identityReport([layer({ gamma: null, beta: null })]).layers[0]!;
    expect([...bare.scale]).toEqual([0.5, 1, 1, 0.25]);
    expect([...bare.shift]).toEqual([-2.5, -0, -1, -1].map((v) => v + 0));
    expect(bare.gammaSigma).toBeNull();
    expect(bare.betaMean).toBeNull();
  });
});

describe("what is left out", () => {
  test("a variance at the lowest level of its quantization, counted", () => {
    const levels = { variance: { lowest: 1, step: 0.5 } };
    const { all, layers, limits } = identityReport([layer({ levels })]);
    expect([all.units, all.measured, all.atLowest, all.within]).toEqual([4, 2, 2, 1]);
    expect(layers[0]!.counted).toEqual([true, false, false, true]);
    expect(limits.join(" ")).toContain("2 units left out");
  });

  test("what is not finite, and a negative variance, counted", () => {
    const broken = layer({ gamma: [2, Number.NaN, 3, 1], variance: [4, 1, -1, 16] });
    const { all } = identityReport([broken]);
    expect([all.measured, all.notFinite, all.within]).toEqual([2, 2, 1]);
    expect(all.gap).toBeCloseTo(Math.sqrt((0.75 ** 2 + 1) / 2), 12);
  });

  test("layers without statistics, such as layer norm", () => {
    const { layers, limits } = identityReport([layer({ mean: null, variance: null })]);
    expect(layers).toEqual([]);
    expect(limits).toHaveLength(1);
    expect(verdict(identityReport([]))).toEqual(["There is no unit with running statistics to judge."]);
  });
});

describe("half a step of quantization", () => {
  test("moves units over the edge both ways", () => {
    // scale between 0.975 and 1.025 surely within 0.1; between 0.9 and 0.95 / between 1.075 and 1.125 possibly
    const given = { gamma: [1, 1.1, 1.2], beta: [0, 0, 0], mean: [0, 0, 0], variance: [1, 1, 1] };
    const { all } = identityReport([layer({ ...given, levels: { gamma: { lowest: 0, step: 0.05 } } })]);
    expect([all.surely, all.possibly]).toEqual([1, 2]);
  });

  test("of the variance works through the root, and of the mean through the shift", () => {
    const given = { gamma: [1], beta: [0], mean: [0], variance: [1] };
    const reach = (levels: NonNullable<NormLayer["levels"]>, tolerance: number) => {
      const { surely, possibly } = identityReport([layer({ ...given, levels })], { tolerance }).all;
      return [surely, possibly];
    };
    // 1 / sqrt(0.75) is 0.1547 above 1
    expect(reach({ variance: { lowest: 0, step: 0.5 } }, 0.155)).toEqual([1, 1]);
    expect(reach({ variance: { lowest: 0, step: 0.5 } }, 0.154)).toEqual([0, 1]);
    expect(reach({ mean: { lowest: 0, step: 0.5 } }, 0.25)).toEqual([1, 1]);
    expect(reach({ mean: { lowest: 0, step: 0.5 } }, 0.249)).toEqual([0, 1]);
  });
});

const layersOf = fc.integer({ min: 1, max: 12 }).chain((n) => {
  const values = (min: number, max: number) =>
    fc.array(fc.double({ min, max, noNaN: true }), { minLength: n, maxLength: n });
  return fc.record({
    name: fc.constant("bn"),
    gamma: fc.option(values(-3, 3)),
    beta: fc.option(values(-3, 3)),
    mean: values(-3, 3),
    variance: values(0, 5),
  });
});

describe("properties", () => {
  test("recovering the identity leaves no gap, and every deal of it the layer's own units", () => {
    fc.assert(
      fc.property(layersOf, (given) => {
        const undone = {
          ...given,
          gamma: given.variance.map((v) => Math.sqrt(v + 1e-5)),
          beta: given.mean,
        };
        const { all } = identityReport([undone], { deals: 5 });
        expect(all.gap).toBeLessThan(1e-12);
        expect(all.within).toBe(all.units);
        expect(all.dealt.high).toBeLessThanOrEqual(all.units);
      }),
    );
  });

  test("the same seed gives the same report; all layers are the sum of the kinds", () => {
    fc.assert(
      fc.property(fc.array(layersOf, { minLength: 1, maxLength: 4 }), fc.nat(), (layers, seed) => {
        const mixed = layers.map((one, i) => ({
          ...one,
          kind: i % 2 ? ("dense" as const) : ("depthwise" as const),
        }));
        const report = identityReport(mixed, { deals: 8, seed });
        expect(identityReport(mixed, { deals: 8, seed })).toEqual(report);
        for (const key of ["units", "measured", "within", "atLowest", "possibly"] as const) {
          expect(report.kinds.reduce((sum, kind) => sum + kind[key], 0)).toBe(report.all[key]);
        }
        const mean = report.layers.reduce((sum, { dealt }) => sum + dealt.mean, 0);
        expect(report.all.dealt.mean).toBeCloseTo(mean, 9);
        expect(report.all.surely).toBeLessThanOrEqual(report.all.within);
        expect(report.all.possibly).toBeGreaterThanOrEqual(report.all.within);
      }),
    );
  });

  test("agrees with BatchNorm.identityGap on the layer itself", () => {
    const bn = new BatchNorm(3, { eps: 1e-3 });
    bn.gamma!.data.set([0.5, 2, 1]);
    bn.beta!.data.set([-1, 0, 4]);
    bn.runningMean!.set([1, 2, 3]);
    bn.runningVar!.set([0.25, 4, 9]);
    const gap = bn.identityGap("running");
    const given = {
      gamma: bn.gamma!.data,
      beta: bn.beta!.data,
      mean: bn.runningMean,
      variance: bn.runningVar,
    };
    const one = identityReport([{ name: "bn", ...given, eps: 1e-3 }]).layers[0]!;
    expect(Float32Array.from(one.scale)).toEqual(gap.scale);
    expect(Float32Array.from(one.shift)).toEqual(gap.shift);
    expect(one.gap).toBeCloseTo(gap.rms, 6);
  });

  test("units of one order in both are correlated with 1, of opposite order with -1", () => {
    fc.assert(
      fc.property(fc.uniqueArray(fc.integer(), { minLength: 4, maxLength: 40 }), (values) => {
        expect(
          spearman(
            values,
            values.map((v) => 3 * v + 1),
          )!.rho,
        ).toBeCloseTo(1, 12);
        expect(
          spearman(
            values,
            values.map((v) => -v),
          )!.rho,
        ).toBeCloseTo(-1, 12);
        const { rho, low, high } = spearman(
          values,
          values.map((v) => (v * 7919) % 101),
        )!;
        expect(low).toBeLessThanOrEqual(rho);
        expect(high).toBeGreaterThanOrEqual(rho);
      }),
    );
  });
});

describe("ranks", () => {
  test("ties share their mean", () => {
    expect([...ranks([10, 20, 10, 5])]).toEqual([1.5, 3, 1.5, 0]);
  });

  test("Spearman's correlation without ties is 1 - 6 sum(d^2) / (n (n^2 - 1))", () => {
    // ranks 0 1 2 3 4 against 1 0 2 4 3: d^2 sums to 4
    const { rho, low, high, pairs } = spearman([1, 2, 3, 4, 5], [20, 10, 30, 50, 40])!;
    expect(rho).toBeCloseTo(1 - 24 / 120, 12);
    // z = atanh(0.8) = 1.098612; half width 1.959964 * sqrt((1 + 0.32) / 2) = 1.592281
    expect(low).toBeCloseTo(Math.tanh(1.098612 - 1.592281), 5);
    expect(high).toBeCloseTo(Math.tanh(1.098612 + 1.592281), 5);
    expect(pairs).toBe(5);
  });

  test("no correlation of three pairs, or of a constant", () => {
    expect(spearman([1, 2, 3], [1, 2, 3])).toBeNull();
    expect(spearman([1, 1, 1, 1], [1, 2, 3, 4])).toBeNull();
  });

  test("quantiles are linear between neighbours", () => {
    expect([0, 0.25, 0.5, 1].map((p) => quantile([4, 1, 3, 2], p))).toEqual([1, 1.75, 2.5, 4]);
  });

  test("the median's interval is the binomial's: the 2nd and 9th of 10, none of 5", () => {
    // P(at most 1 of 10 below) = 11 / 1024 = 1.1 %; at most 2: 5.5 %
    const ten = medianOf([10, 9, 8, 7, 6, 5, 4, 3, 2, 1])!;
    expect(ten).toEqual({ median: 5.5, low: 2, high: 9, count: 10 });
    expect(medianOf([1, 2, 3, 4, 5])).toEqual({ median: 3, low: null, high: null, count: 5 });
    expect(medianOf([])).toBeNull();
  });
});

describe("healthReport", () => {
  const healthy = layer({ gamma: [1, 1.1, 0.9, 1], variance: [4, 1, 1, 16] });
  const of = (given: Partial<NormLayer>) => healthReport([{ ...healthy, ...given }])[0]!;

  test("finds nothing in a healthy layer", () => {
    const found = of({});
    expect([found.dead, found.silent, found.atEps, found.notFinite, found.outlying]).toEqual([
      [],
      [],
      [],
      [],
      [],
    ]);
    expect(found.neverUpdated).toBe(false);
    expect(found.medianGamma).toBe(1);
  });

  test("dead: a gamma of 0 or an input that never varied", () => {
    expect(of({ gamma: [1, 0, 1, 1e-9], variance: [0, 1, 1, 1] }).dead).toEqual([0, 1, 3]);
  });

  test("silent behind a ReLU alone: beta below -4 |gamma|", () => {
    const given = { gamma: [1, -1, 1, 1], beta: [-4.1, -4.1, -3.9, 5] };
    expect(of({ ...given, activation: "relu" }).silent).toEqual([0, 1]);
    expect(of({ ...given, activation: "linear" }).silent).toEqual([]);
  });

  test("variances at eps, and what is not finite", () => {
    expect(of({ variance: [1e-5, 2e-5, 0, -1], eps: 1e-5 }).atEps).toEqual([0, 2]);
    expect(
      of({ variance: [1, -1, 1, Number.POSITIVE_INFINITY], beta: [Number.NaN, 0, 0, 0] }).notFinite,
    ).toEqual([0, 1, 3]);
  });

  test("gammas more than 8 times the median, or less than an eighth of it", () => {
    expect(of({ gamma: [1, 1, 8.1, -0.12] }).outlying).toEqual([2, 3]);
    expect(of({ gamma: [1, 1, 7.9, -0.13] }).outlying).toEqual([]);
  });

  test("never updated: mean 0 and variance 1 everywhere, or no minibatch counted", () => {
    const fresh = { mean: [0, 0, 0, 0], variance: [1, 1, 1, 1] };
    expect(of(fresh).neverUpdated).toBe(true);
    expect(of({ batches: 0 }).neverUpdated).toBe(true);
    expect(of({ ...fresh, mean: [0, 0, 0, 1e-6] }).neverUpdated).toBe(false);
  });

  test("folding multiplies by gamma / sigma and leaves beta - mean * factor", () => {
    // factors 1/2, 1.1, 0.9, 1/4; biases 5 - 2.5, 0, 1 - 0.9, 0 - 1
    const { least, greatest, ratio, bias, finite } = of({}).folding!;
    expect([least, greatest]).toEqual([0.25, 1.1]);
    expect(ratio).toBeCloseTo(4.4, 12);
    expect(bias).toBeCloseTo(2.5, 12);
    expect(finite).toBe(true);
    expect(of({ variance: [1e-90, 1, 1, 1], gamma: [1e6, 1, 1, 1] }).folding!.finite).toBe(false);
  });

  test("judges a layer norm by its gamma", () => {
    const found = of({ mean: null, variance: null, gamma: [0.01, 0, 0.012, 2] });
    expect([found.folding, found.dead, found.outlying]).toEqual([null, [1], [3]]);
  });
});

describe("refusals", () => {
  test.each([
    [() => identityReport({} as never), "identityReport: expected an array of layers, got Object"],
    [() => identityReport([null as never]), "identityReport: expected layer 0 to be an object, got null"],
    [
      () => identityReport([layer({ beta: [1] })]),
      "identityReport: expected bn.beta to have 4 values, got 1",
    ],
    [() => identityReport([layer({ mean: null })]), /expected bn to have a mean and a variance or neither/],
    [
      () => identityReport([layer({ gamma: "abcd" as never })]),
      /expected bn.gamma to be an array of numbers/,
    ],
    [
      () => identityReport([layer({ eps: -1 })]),
      /expected the eps of bn to be a finite number from 0, got -1/,
    ],
    [
      () => identityReport([layer({ kind: "lstm" as never })]),
      /expected the kind of bn to be one of depthwise/,
    ],
    [() => identityReport([layer()], { deals: 0 }), /expected deals to be an integer from 1/],
    [() => identityReport([layer()], { tolerance: Number.NaN }), /expected tolerance to be a finite number/],
    [() => healthReport(5 as never), "healthReport: expected an array of layers, got 5"],
  ])("%s", (call, message) => {
    expect(call).toThrow(message);
  });
});
