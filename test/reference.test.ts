/** The judge, judged: by hand, by exact integers, by central differences. */
import { describe, expect, test } from "vitest";
import { fill, geometryOf, isCentered, normals, plain, subjectsOfEveryFamily } from "./cases.js";
import { compare, u } from "./contract.js";
import * as reference from "./reference.js";

describe("the reference", () => {
  test("batch norm of two rows by hand", () => {
    const geometry = reference.describe({ family: "batch", shape: [2, 2] });
    const x = [1, 2, 3, 8];
    const statistics = reference.statistics(x, geometry, { eps: 0 });
    expect([...statistics.mean]).toEqual([2, 5]);
    expect([...statistics.variance]).toEqual([1, 9]);
    expect([...statistics.count]).toEqual([2, 2]);
    const { y, xhat } = reference.forward(x, geometry, statistics, { gamma: [2, 3], beta: [10, 0] });
    expect([...xhat]).toEqual([-1, -1, 1, 1]);
    expect([...y]).toEqual([8, -3, 12, 3]);
    const { dx, dgamma, dbeta } = reference.backward(x, [1, 0, 0, 6], geometry, statistics, {
      gamma: [2, 3],
    });
    // two rows: all of the gradient lies along 1 and xhat
    expect([...dx]).toEqual([0, 0, 0, 0]);
    expect([...dgamma]).toEqual([-1, 6]);
    expect([...dbeta]).toEqual([1, 6]);
  });

  test("knows which values belong together", () => {
    const groupsOf = (description: reference.Description) => [...reference.describe(description).group];
    const parametersOf = (description: reference.Description) => [
      ...reference.describe(description).parameter,
    ];
    const first = { layout: "channels-first", shape: [2, 2, 3] } as const;
    expect(groupsOf({ family: "batch", ...first })).toEqual([0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1]);
    expect(groupsOf({ family: "instance", ...first })).toEqual([0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]);
    expect(groupsOf({ family: "group", groups: 1, ...first })).toEqual([0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    expect(parametersOf({ family: "group", groups: 1, ...first })).toEqual([
      0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 1,
    ]);
    expect(groupsOf({ family: "batch", shape: [2, 3, 2] })).toEqual([0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1]);
    expect(groupsOf({ family: "instance", shape: [2, 3, 2] })).toEqual([0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]);
    expect(groupsOf({ family: "layer", shape: [2, 3, 2] })).toEqual([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]);
    expect(groupsOf({ family: "layer", shape: [2, 3, 2], trailing: 2 })).toEqual([
      0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1,
    ]);
    expect(parametersOf({ family: "layer", shape: [2, 3, 2], trailing: 2 })).toEqual([
      0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5,
    ]);
    expect(groupsOf({ family: "group", groups: 2, shape: [1, 2, 4] })).toEqual([0, 0, 1, 1, 0, 0, 1, 1]);
    expect(parametersOf({ family: "group", groups: 2, shape: [1, 2, 4] })).toEqual([0, 1, 2, 3, 0, 1, 2, 3]);
  });

  test("sums millions of values at a mean of a million sigmas as exact integers do", () => {
    const x = normals(2_000_000, 1, 1, 1e6);
    const geometry = reference.describe({ family: "batch", shape: [2_000_000, 1] });
    const { mean, variance } = reference.statistics(x, geometry, { eps: 0 });
    // float32 values near 1e6 are multiples of 1/16
    let sum = 0n;
    let squares = 0n;
    for (const value of x) {
      const integer = BigInt(value * 16);
      sum += integer;
      squares += integer * integer;
    }
    const n = 2_000_000n;
    const exactVariance = Number(((n * squares - sum * sum) * 1_000_000n) / (n * n)) / 1_000_000 / 256;
    expect(mean[0]).toBeCloseTo(Number((sum * 1_000_000n) / n) / 1_000_000 / 16, 8);
    expect(variance[0]).toBeCloseTo(exactVariance, 6);
  });

  test("its gradients are what central differences of its forward say", () => {
    for (const subject of subjectsOfEveryFamily(6, 3)) {
      const geometry = geometryOf(subject);
      const x = Float64Array.from(fill(plain, geometry));
      const dy = normals(geometry.size, 2);
      const gamma = normals(geometry.parameters, 3);
      const beta = normals(geometry.parameters, 4);
      const residual = normals(geometry.size, 5);
      const centered = isCentered(subject.family);
      const batch = subject.family === "batch";
      const mask = Uint8Array.from({ length: geometry.size }, (_, i) => (i % 5 === 1 ? 0 : 1));
      const include = batch ? reference.included(subject.shape, subject.layout!, mask) : undefined;
      // the loss does not look at what takes no part
      const seen = dy.map((value, i) => (include && !include[i] ? 0 : value));
      const options = { eps: 1e-3, centered, include };
      const f = (v: {
        x?: Float64Array;
        gamma?: Float64Array;
        beta?: Float64Array;
        residual?: Float64Array;
      }) => {
        const statistics = reference.statistics(v.x ?? x, geometry, options);
        const given = { gamma, beta, residual, activation: "relu" as const, ...v };
        return reference.forward(v.x ?? x, geometry, statistics, given).y;
      };
      const statistics = reference.statistics(x, geometry, options);
      const got = reference.backward(x, seen, geometry, statistics, {
        gamma,
        centered,
        include,
        activated: f({}),
      });
      const pairs = [
        [got.dx, reference.centralDifferences((v) => f({ x: v }), x, seen, 1e-6)],
        [got.dgamma, reference.centralDifferences((v) => f({ gamma: v }), gamma, seen, 1e-6)],
        [got.dbeta, reference.centralDifferences((v) => f({ beta: v }), beta, seen, 1e-6)],
        [got.dz, reference.centralDifferences((v) => f({ residual: v }), residual, seen, 1e-6)],
      ] as const;
      for (const [gradient, differences] of pairs) {
        gradient.forEach((value, i) => {
          expect(value, `${subject.family} [${i}]`).toBeCloseTo(differences[i]!, 7);
        });
      }
    }
  });

  test("with fixed statistics, the gradient is gamma * rstd * dy", () => {
    const geometry = reference.describe({ family: "batch", shape: [3, 2] });
    const statistics = reference.fixedStatistics([1, 2], [4, 16], 0);
    const { dx } = reference.backward([1, 2, 3, 4, 5, 6], [1, 1, 2, 2, 3, 3], geometry, statistics, {
      gamma: [2, 4],
      statistics: "fixed",
    });
    expect([...dx]).toEqual([1, 1, 2, 2, 3, 3]);
  });
});

describe("the contract's comparison", () => {
  const rule = { what: "y", limit: 4, scale: () => 1 };

  test("counts in units of u, and holds up to the limit", () => {
    expect(compare([1 + 2 * u], [1], rule).units).toBeCloseTo(2, 6);
    expect(compare([1 + 4 * u], [1], rule).holds).toBe(true);
    expect(compare([1 + 5 * u], [1], rule).holds).toBe(false);
    expect(compare([1 + 4.5 * u], [1], { ...rule, rounding: 0.5 }).holds).toBe(true);
    expect(compare([1000 + 500 * u], [1000], rule).holds).toBe(false);
  });

  test("finds the worst place", () => {
    const { index, got, want, holds } = compare([1, 2, 3.5, 4.1], [1, 2, 3, 4], rule);
    expect({ index, got, want, holds }).toEqual({ index: 2, got: 3.5, want: 3, holds: false });
  });

  test("knows NaN and infinities", () => {
    const holds = (got: number, want: number) => compare([got], [want], rule).holds;
    expect(holds(Number.NaN, Number.NaN)).toBe(true);
    expect(holds(Number.NaN, 1)).toBe(false);
    expect(holds(1, Number.NaN)).toBe(false);
    expect(holds(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY)).toBe(true);
    expect(holds(Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY)).toBe(false);
    expect(holds(3e38, Number.POSITIVE_INFINITY)).toBe(false);
    expect(holds(Number.POSITIVE_INFINITY, 1e39)).toBe(true);
    expect(holds(Number.POSITIVE_INFINITY, 3e38)).toBe(false);
  });

  test("does not pass over a missing value", () => {
    expect(compare([1, 2], [1, 2, 3], rule).holds).toBe(false);
    expect(compare([1, 2, 3], [1, 2], rule).holds).toBe(false);
  });
});
