/** The steps as pure functions: moments, merge, normalize, backward reduce and apply. */
import { beforeAll, describe, expect, test } from "vitest";
import {
  betas,
  type Functional,
  fill,
  gammas,
  hostileInputs,
  type Library,
  load,
  loadFunctional,
  nonFiniteInput,
  normals,
  plain,
  variants,
} from "./cases.js";
import { expectBackward, expectForward, expectStatistics } from "./contract.js";
import { gradientFor } from "./judge.js";
import type { Geometry, Statistics } from "./reference.js";
import * as reference from "./reference.js";
import { expectRefused } from "./refusal.js";

/** What the layers of the field reduce over, and where their gamma and beta lie. */
interface View {
  readonly name: string;
  readonly shape: number[];
  readonly axes: number[];
  readonly parameterAxes: number[];
}

const views: View[] = [
  { name: "batch norm on [N, C]", shape: [37, 11], axes: [0], parameterAxes: [1] },
  { name: "batch norm, channels last", shape: [3, 4, 5, 7], axes: [0, 1, 2], parameterAxes: [3] },
  { name: "batch norm, channels first", shape: [3, 7, 4, 5], axes: [0, 2, 3], parameterAxes: [1] },
  { name: "layer norm", shape: [13, 18], axes: [1], parameterAxes: [1] },
  { name: "layer norm over two dimensions", shape: [5, 6, 7], axes: [1, 2], parameterAxes: [1, 2] },
  { name: "instance norm, channels first", shape: [3, 5, 4, 6], axes: [2, 3], parameterAxes: [1] },
  { name: "instance norm, channels last", shape: [3, 4, 6, 5], axes: [1, 2], parameterAxes: [3] },
  { name: "group norm, channels first", shape: [3, 2, 4, 9], axes: [2, 3], parameterAxes: [1, 2] },
  { name: "group norm, channels last", shape: [3, 9, 2, 4], axes: [1, 3], parameterAxes: [2, 3] },
  { name: "one statistic for all", shape: [6, 7], axes: [0, 1], parameterAxes: [] },
];

const kept = ({ shape, axes }: View) => shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
const geometryOf = (view: View): Geometry => reference.geometry(view.shape, kept(view), view.parameterAxes);

describe.each(variants)("functional, %s", (variant) => {
  let library: Library;
  let functional: Functional;
  beforeAll(async () => {
    library = await load(variant);
    functional = await loadFunctional();
  });

  const variance = ({ count, m2 }: { count: number; m2: Float64Array }) => m2.map((value) => value / count);

  describe.each(views)("$name", (view) => {
    const { shape, axes, parameterAxes } = view;
    const geometry = geometryOf(view);
    const eps = 1e-5;
    const gamma = gammas(geometry.parameters);
    const beta = betas(geometry.parameters);
    const dy = gradientFor(geometry);

    test("moments: count, mean and the sum of squares about it", () => {
      for (const input of [plain, ...hostileInputs]) {
        const x = fill(input, geometry);
        const got = functional.moments(x, shape, { axes });
        const want = reference.statistics(x, geometry, { eps });
        expect(got.count).toBe(geometry.size / geometry.groups);
        expect(got.mean).toBeInstanceOf(Float64Array);
        expect(got.m2).toBeInstanceOf(Float64Array);
        expectStatistics({ mean: got.mean, variance: variance(got) }, want, input.eps ?? eps, input.name);
      }
    });

    test("the whole way: moments, normalize, reduce, apply", () => {
      for (const input of [plain, ...hostileInputs]) {
        const x = fill(input, geometry);
        const options = { axes, eps: input.eps ?? eps, gamma, beta, parameterAxes };
        const scaled = dy.map((value) => value * (input.dyScale ?? 1));
        const statistics = reference.statistics(x, geometry, options);
        const moments = functional.moments(x, shape, { axes });
        const y = functional.normalize(x, shape, moments, options);
        expectForward(y, reference.forward(x, geometry, statistics, options), geometry, gamma, input.name);

        const sums = functional.backwardReduce(x, scaled, shape, moments, options);
        const dx = functional.backwardApply(x, scaled, shape, moments, sums, options);
        const want = reference.backward(x, scaled, geometry, statistics, { gamma });
        expectBackward({ ...sums, dx }, x, want, geometry, statistics, input.name);
      }
    });

    // along an axis that is reduced over, and that has no gamma and beta of its own, as a minibatch is split
    const axis = axes.find((axis) => shape[axis]! >= 4 && !parameterAxes.includes(axis));
    if (axis !== undefined) {
      test("in four pieces, merged, it is the whole minibatch's", () => {
        const x = normals(geometry.size, 21, 1, 1e4);
        const options = { axes, eps, gamma, beta, parameterAxes };
        const pieces = split(shape, axis!, 4).map((part) => ({
          shape: part.shape,
          x: part.take(x),
          dy: part.take(dy),
          put: part.put,
        }));

        const moments = pieces
          .map((piece) => functional.moments(piece.x, piece.shape, { axes }))
          .reduce((a, b) => functional.mergeMoments(a, b));
        const y = new Float32Array(x.length);
        for (const piece of pieces)
          piece.put(y, functional.normalize(piece.x, piece.shape, moments, options));

        const sums = pieces
          .map((piece) => functional.backwardReduce(piece.x, piece.dy, piece.shape, moments, options))
          .reduce(addSums);
        const dx = new Float32Array(x.length);
        for (const piece of pieces) {
          piece.put(dx, functional.backwardApply(piece.x, piece.dy, piece.shape, moments, sums, options));
        }

        const statistics = reference.statistics(x, geometry, { eps });
        expect(moments.count).toBe(geometry.size / geometry.groups);
        expectStatistics({ mean: moments.mean, variance: variance(moments) }, statistics, eps, "merged");
        const want = reference.forward(x, geometry, statistics, { gamma, beta });
        expectForward(y, want, geometry, gamma, "in four pieces");
        const wantBack = reference.backward(x, dy, geometry, statistics, { gamma });
        expectBackward(
          { dx, dgamma: sums.dgamma, dbeta: sums.dbeta },
          x,
          wantBack,
          geometry,
          statistics,
          "pieces",
        );
      });
    }
  });

  test("a BatchNorm on the whole minibatch gives what four workers give together", () => {
    const [rows, channels] = [64, 5];
    const x = normals(rows * channels, 31, 2, 100);
    const dy = normals(rows * channels, 32);
    const layer = new library.BatchNorm(channels);
    const y = layer.forward(x, [rows, channels]);
    const dx = layer.backward(dy);

    const quarter = (array: Float32Array, k: number) =>
      array.subarray(k * 16 * channels, (k + 1) * 16 * channels);
    const shape = [16, channels];
    const options = { axes: [0], eps: 1e-5, parameterAxes: [1] };
    const workers = [0, 1, 2, 3].map((k) => ({ x: quarter(x, k), dy: quarter(dy, k) }));
    const moments = workers
      .map((worker) => functional.moments(worker.x, shape, { axes: [0] }))
      .reduceRight((a, b) => functional.mergeMoments(a, b));
    const sums = workers
      .map((worker) => functional.backwardReduce(worker.x, worker.dy, shape, moments, options))
      .reduce(addSums);
    workers.forEach((worker, k) => {
      const part = functional.normalize(worker.x, shape, moments, options);
      expectClose(part, quarter(y, k), 1e-6);
      const partDx = functional.backwardApply(worker.x, worker.dy, shape, moments, sums, options);
      expectClose(partDx, quarter(dx, k), 1e-6);
    });
    expectClose(sums.dgamma, layer.gamma!.grad, 1e-5);
    expectClose(sums.dbeta, layer.beta!.grad, 1e-5);
  });

  test("merging is exact up to rounding, in any order and grouping", () => {
    const [rows, channels] = [1000, 4];
    const x = normals(rows * channels, 41, 1, 1e6);
    const geometry = reference.geometry([rows, channels], [1], [1]);
    const want = reference.statistics(x, geometry, { eps: 1e-5 });
    const cuts = [0, 1, 8, 9, 300, 301, 999, 1000];
    const parts = cuts.slice(1).map((end, k) => {
      const piece = x.subarray(cuts[k]! * channels, end * channels);
      return functional.moments(piece, [end - cuts[k]!, channels], { axes: [0] });
    });
    const merge = functional.mergeMoments;
    const [a, b, c, d, e, f, g] = parts as [M, M, M, M, M, M, M];
    for (const merged of [
      parts.reduce(merge),
      [...parts].reverse().reduce(merge),
      merge(merge(a, merge(b, c)), merge(merge(d, e), merge(f, g))),
    ]) {
      expect(merged.count).toBe(1000);
      expectStatistics({ mean: merged.mean, variance: variance(merged) }, want, 1e-5, "merged");
    }
  });

  test("merging with nothing changes nothing", () => {
    const full = functional.moments(normals(40, 1), [10, 4], { axes: [0] });
    const empty = functional.moments(new Float32Array(0), [0, 4], { axes: [0] });
    expect(empty.count).toBe(0);
    expect(functional.mergeMoments(full, empty)).toEqual(full);
    expect(functional.mergeMoments(empty, full)).toEqual(full);
    const none = functional.mergeMoments(empty, empty);
    expect([none.count, Array.from(none.mean), Array.from(none.m2)]).toEqual([0, [0, 0, 0, 0], [0, 0, 0, 0]]);
  });

  test("merging leaves its arguments as they are", () => {
    const a = functional.moments(normals(40, 1), [10, 4], { axes: [0] });
    const b = functional.moments(normals(40, 2), [10, 4], { axes: [0] });
    const kept = structuredClone([a, b]);
    functional.mergeMoments(a, b);
    expect([a, b]).toEqual(kept);
  });

  test("NaN and infinities stay in their groups", () => {
    for (const view of views.filter(({ shape, axes }) => kept({ shape, axes } as View).length)) {
      const geometry = geometryOf(view);
      const x = fill(nonFiniteInput, geometry);
      const got = functional.moments(x, view.shape, { axes: view.axes });
      const want = reference.statistics(x, geometry, { eps: 1e-5 });
      expectStatistics({ mean: got.mean, variance: variance(got) }, want, 1e-5, view.name);
    }
  });

  test("gamma and beta may be left out", () => {
    const view = views[0]!;
    const geometry = geometryOf(view);
    const x = fill(plain, geometry);
    const dy = gradientFor(geometry);
    const options = { axes: view.axes, eps: 1e-5 };
    const moments = functional.moments(x, view.shape, options);
    const statistics: Statistics = reference.statistics(x, geometry, options);
    const y = functional.normalize(x, view.shape, moments, options);
    expectForward(y, reference.forward(x, geometry, statistics), geometry, null, "without gamma and beta");
    const sums = functional.backwardReduce(x, dy, view.shape, moments, options);
    const dx = functional.backwardApply(x, dy, view.shape, moments, sums, options);
    const want = reference.backward(x, dy, geometry, statistics);
    expectBackward({ dx }, x, want, geometry, statistics, "without gamma and beta");
  });

  test("negative axes count from the end", () => {
    const x = normals(40, 1);
    expect(functional.moments(x, [10, 4], { axes: [-2] })).toEqual(
      functional.moments(x, [10, 4], { axes: [0] }),
    );
  });

  test("wrong calls are refused", () => {
    const x = normals(40, 1);
    const good = functional.moments(x, [10, 4], { axes: [0] });
    // biome-ignore lint/suspicious/noExplicitAny: wrong values are the point
    const any = (value: unknown) => value as any;
    const options = { axes: [0], eps: 1e-5 };
    for (const call of [
      () => functional.moments(any([1, 2]), [1, 2], { axes: [0] }),
      () => functional.moments(any(new Float64Array(40)), [10, 4], { axes: [0] }),
      () => functional.moments(x, [10, 5], { axes: [0] }),
      () => functional.moments(x, [10, 4], any({})),
      () => functional.moments(x, [10, 4], any({ axes: 0 })),
      () => functional.moments(x, [10, 4], { axes: [2] }),
      () => functional.moments(x, [10, 4], { axes: [0, 0] }),
      () => functional.moments(x, [10, 4], { axes: [0.5] }),
    ]) {
      expectRefused("moments", call);
    }
    const other = functional.moments(x, [8, 5], { axes: [0] });
    expectRefused("mergeMoments", () => functional.mergeMoments(good, other), /4/, /5/);
    expectRefused("mergeMoments", () => functional.mergeMoments(good, any(null)));
    expectRefused("mergeMoments", () => functional.mergeMoments(any({ count: 1 }), good));
    expectRefused("normalize", () => functional.normalize(x, [10, 4], other, options), /4/, /5/);
    expectRefused("normalize", () => functional.normalize(x, [10, 4], good, { ...options, eps: -1 }), /eps/);
    const short = { ...options, gamma: new Float32Array(3), parameterAxes: [1] };
    expectRefused("normalize", () => functional.normalize(x, [10, 4], good, short), /gamma/, /4/, /3/);
    const dy = new Float32Array(39);
    expectRefused(
      "backwardReduce",
      () => functional.backwardReduce(x, dy, [10, 4], good, options),
      /40/,
      /39/,
    );
    expectRefused("backwardApply", () => functional.backwardApply(x, x, [10, 4], good, any({}), options));
  });
});

type M = ReturnType<Functional["moments"]>;

type S = ReturnType<Functional["backwardReduce"]>;

const add = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + b[i]!);
const addSums = (a: S, b: S): S => ({
  dgamma: add(a.dgamma, b.dgamma),
  dbeta: add(a.dbeta, b.dbeta),
  sumDy: add(a.sumDy, b.sumDy),
  sumDyXhat: add(a.sumDyXhat, b.sumDyXhat),
});

function expectClose(got: ArrayLike<number>, want: ArrayLike<number>, within: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!);
    expect(error, `[${i}]: ${got[i]} instead of ${want[i]}`).toBeLessThanOrEqual(
      within * Math.max(1, Math.abs(want[i]!)),
    );
  }
}

/** Cuts a row-major array along an axis, into pieces as even as they come. */
function split(shape: number[], axis: number, pieces: number) {
  const extent = shape[axis]!;
  const inner = shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  const outer = shape.slice(0, axis).reduce((a, b) => a * b, 1);
  return Array.from({ length: pieces }, (_, k) => {
    const from = Math.floor((extent * k) / pieces);
    const to = Math.floor((extent * (k + 1)) / pieces);
    const length = (to - from) * inner;
    const place = (o: number) => (o * extent + from) * inner;
    return {
      shape: shape.map((size, a) => (a === axis ? to - from : size)),
      take(array: Float32Array): Float32Array {
        const piece = new Float32Array(outer * length);
        for (let o = 0; o < outer; o++) piece.set(array.subarray(place(o), place(o) + length), o * length);
        return piece;
      },
      put(array: Float32Array, piece: Float32Array): void {
        for (let o = 0; o < outer; o++) array.set(piece.subarray(o * length, (o + 1) * length), place(o));
      },
    };
  });
}
