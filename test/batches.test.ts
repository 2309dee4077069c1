/** Batch renormalization and ghost batches, against their papers' formulas. */
import { beforeAll, describe, expect, test } from "vitest";
import { ACTIVATIONS, type ActivationName } from "./activations.js";
import { type Library, load, normals, variants } from "./cases.js";
import { expectBackward, expectForward, u, within } from "./contract.js";
import * as batches from "./reference/batches.js";
import type { Layout } from "./reference.js";
import * as reference from "./reference.js";
import { expectRefused } from "./refusal.js";

const eps = 1e-5;

interface Case {
  readonly shape: number[];
  readonly layout: Layout;
  readonly activation: ActivationName;
  readonly residual: boolean;
  readonly masked: boolean;
}

const shapes: [number[], Layout][] = [
  [[12, 5], "channels-last"],
  [[12, 33], "channels-last"],
  [[6, 3, 8], "channels-last"],
  [[6, 5, 7], "channels-first"],
  [[12, 2, 33], "channels-first"],
  [[6, 9, 2, 2], "channels-first"],
];
const cases: Case[] = shapes.flatMap(([shape, layout]) =>
  (["none", "relu", "silu"] as const).flatMap((activation) =>
    [false, true].flatMap((residual) =>
      [false, true].map((masked) => ({ shape, layout, activation, residual, masked })),
    ),
  ),
);
const named = cases.map((one) => [JSON.stringify(one), one] as const);

/** What a case is given, the same for every run; `x` has another mean in each example, so that ghosts differ. */
function inputs({ shape, layout, residual, masked }: Case) {
  const channels = shape[layout === "channels-first" ? 1 : shape.length - 1]!;
  const size = shape.reduce((a, b) => a * b, 1);
  const each = size / shape[0]!;
  const x = normals(size, 1, 1.5, 0.3).map((value, i) => value + 0.4 * Math.floor(i / each));
  const flags = size / channels;
  return {
    channels,
    size,
    x,
    dy: normals(size, 2),
    gamma: normals(channels, 3, 0.5, 1),
    beta: normals(channels, 4, 0.5, 0.2),
    residual: residual ? normals(size, 5) : undefined,
    mask: masked ? Uint8Array.from({ length: flags }, (_, i) => (i % 4 === 1 ? 0 : 1)) : undefined,
    running: {
      mean: Float64Array.from(normals(channels, 6, 0.5, 1)),
      variance: Float64Array.from(normals(channels, 7), (v) => 0.5 + v * v),
    },
  };
}

type Made = "arrays" | "tensors" | "in place";

describe.each(variants)("batches, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  /** One training step, and what is left of it. */
  function step(one: Case, options: object, made: Made) {
    const given = inputs(one);
    const { shape, layout, activation } = one;
    const layer = new library.BatchNorm(given.channels, { layout, activation, eps, ...options });
    layer.gamma!.data.set(given.gamma);
    layer.beta!.data.set(given.beta);
    layer.runningMean = given.running.mean;
    layer.runningVar = given.running.variance;
    const tensors = made !== "arrays";
    const minibatch = (values: Float32Array) =>
      tensors ? library.tensor(shape, values.slice()) : values.slice();
    const array = (values: unknown) =>
      (values instanceof Float32Array ? values : (values as { toArray(): Float32Array }).toArray()).slice();
    const residual = given.residual && minibatch(given.residual);
    const call = { shape, ...(residual && { residual }), ...(given.mask && { mask: given.mask }) };
    const x = minibatch(given.x) as Float32Array;
    const out = made === "in place" ? ((residual ?? minibatch(given.dy)) as Float32Array) : undefined;
    const y =
      out && !(residual && activation !== "none") ? layer.forwardInto(x, out, call) : layer.forward(x, call);
    const yArray = array(y);
    const dy = minibatch(given.dy) as Float32Array;
    const dx =
      made === "in place"
        ? layer.backwardInto(dy, dy, residual ? { residualGrad: minibatch(given.dy) } : {})
        : layer.backward(dy);
    const result = {
      y: yArray,
      dx: array(dx),
      dgamma: layer.gamma!.grad.slice(),
      dbeta: layer.beta!.grad.slice(),
      dresidual: layer.residualGrad && array(layer.residualGrad),
      mean: layer.runningMean.slice(),
      variance: layer.runningVar.slice(),
      batches: layer.batchesTracked,
      batchMean: layer.batchMean!,
    };
    layer.dispose();
    return { given, result };
  }

  /** The gradient before the residual and the activation: dy of the affine map. */
  function through({ activation }: Case, { dy, residual }: ReturnType<typeof inputs>, n: Float64Array) {
    return dy.map((value, i) => value * ACTIVATIONS[activation].slope(n[i]! + (residual?.[i] ?? 0)));
  }
  const finished = ({ activation }: Case, residual: Float32Array | undefined, n: Float64Array) =>
    n.map((value, i) => ACTIVATIONS[activation].value(value + (residual?.[i] ?? 0)));

  describe.each([
    [1, 0],
    [1.2, 0.3],
    [3, 5],
    [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY],
  ])("renorm, r within %d and d within %d", (rMax, dMax) => {
    test.each(named)("%s", (_, one) => {
      const { given, result } = step(one, { renorm: { rMax, dMax } }, "arrays");
      const { x, gamma, beta, running, residual } = given;
      const g = reference.describe({ family: "batch", shape: one.shape, layout: one.layout });
      const include = given.mask && reference.included(one.shape, one.layout, given.mask);
      const statistics = reference.statistics(x, g, { eps, include });
      const by = batches.correction(statistics, running, eps, { rMax, dMax });
      const n = batches.renormalize(x, g, statistics, by, { gamma, beta });
      // A product with r, and the sum with d: each is rounded, as gamma and beta are.
      const bound = (i: number) => {
        const c = g.group[i]!;
        const xhat = Math.abs((x[i]! - statistics.mean[c]!) * statistics.rstd[c]!);
        return (
          4 *
          u *
          (Math.abs(gamma[c]!) * (by.r[c]! * Math.max(1, xhat) + Math.abs(by.d[c]!)) +
            Math.abs(beta[c]!) +
            Math.abs(residual?.[i] ?? 0))
        );
      };
      const y = finished(one, residual, n);
      within("y", result.y, y, (i) => 1.2 * bound(i) + 4 * u * Math.abs(y[i]!));
      const dz = through(one, given, n);
      const want = batches.renormalizeBackward(x, dz, g, statistics, by, { gamma, beta }, include);
      // What the activation's slope makes of n's error comes on top.
      const slack = one.activation === "silu" ? 8 : 1;
      within("dx", result.dx, want.dx, (i) => {
        const c = g.group[i]!;
        const xhat = Math.abs((x[i]! - statistics.mean[c]!) * statistics.rstd[c]!);
        return slack * 5 * u * statistics.rstd[c]! * want.largest[c]! * Math.max(1, xhat);
      });
      within("dgamma", result.dgamma, want.dgamma, (c) => slack * 4 * u * want.dgammaSize[c]!);
      within("dbeta", result.dbeta, want.dbeta, (c) => slack * 4 * u * want.dbetaSize[c]!);
      const next = reference.updateRunning({ ...running, batches: 0 }, statistics, 0.1);
      within("running mean", result.mean, next.mean, (c) => u * (1 + Math.abs(next.mean[c]!)));
      within("running variance", result.variance, next.variance, (c) => u * next.variance[c]!);
      for (const made of ["tensors", "in place"] as const)
        expect(step(one, { renorm: { rMax, dMax } }, made).result, made).toEqual(result);
    });
  });

  test("the bounds may be set from step to step; with 1 and 0 it is batch norm", () => {
    const x = normals(60, 1, 2, 3);
    const layer = new library.BatchNorm(5, { renorm: { rMax: 1, dMax: 0 } });
    const plain = new library.BatchNorm(5);
    expect(layer.forward(x)).toEqual(plain.forward(x));
    layer.renorm!.rMax = 1e6;
    layer.renorm!.dMax = 1e6;
    const { runningMean, runningVar } = layer;
    const want = reference.fixedStatistics(runningMean.slice(), runningVar.slice(), eps);
    const g = reference.geometry([12, 5], [1], [1]);
    const y = layer.forward(x);
    // Unbounded it is what evaluation gives.
    within("y", y, reference.forward(x, g, want).y, (i) => 8 * u * (3 + Math.abs(y[i]!)));
    expect(() => (layer.renorm!.rMax = 0.5)).toThrow(
      "BatchNorm(5): expected renorm.rMax to be a number from 1, got 0.5",
    );
    expect(() => (layer.renorm!.dMax = "5" as never)).toThrow("renorm.dMax");
    expect([layer.renorm!.rMax, layer.renorm!.dMax]).toEqual([1e6, 1e6]);
    expect(Object.keys(layer.stateDict())).toEqual(Object.keys(plain.stateDict()));
  });

  test("without gamma and beta, in another context, twice with retain, and in evaluation", () => {
    const [x, dy] = [normals(60, 1, 2, 3), normals(60, 2)];
    const renorm = { rMax: 1.5, dMax: 0.5 };
    const bare = new library.BatchNorm(5, { renorm, affine: false });
    const whole = new library.BatchNorm(5, { renorm });
    expect(bare.forward(x)).toEqual(whole.forward(x));
    const dx = whole.backward(dy, { retain: true });
    expect(bare.backward(dy)).toEqual(dx);
    expect(whole.backward(dy)).toEqual(dx);
    const once = new library.BatchNorm(5, { renorm });
    const context = once.context();
    once.forward(x, { context });
    once.forward(dy);
    expect(once.backward(dy, { context })).toEqual(dx);
    expect(whole.gamma!.grad).toEqual(once.gamma!.grad.map((value) => 2 * value));
    whole.eval();
    const plain = new library.BatchNorm(5);
    plain.loadStateDict(whole.stateDict());
    plain.eval();
    expect(whole.forward(x)).toEqual(plain.forward(x));
    expect(whole.backward(dy)).toEqual(plain.backward(dy));
    expect(plain.gamma!.grad.some((value) => value !== 0)).toBe(true);
  });

  test("recoverIdentity undoes a renormalization too", () => {
    const x = normals(60, 1, 2, 3);
    const layer = new library.BatchNorm(5, { renorm: { rMax: 1.5, dMax: 0.5 }, momentum: 0 });
    layer.forward(x);
    expect(layer.identityGap().rms).toBeGreaterThan(0.1);
    layer.recoverIdentity();
    expect(layer.identityGap().rms).toBeLessThan(1e-6);
    within("y", layer.forward(x), x, () => 32 * u);
  });

  describe.each([2, 3, 6])("ghost batches of %d", (ghost) => {
    // A statistic needs two values that count.
    test.each(named.filter(([, { shape, masked }]) => !masked || shape[0]! < 12 || ghost > 2))(
      "%s",
      (_, one) => {
        const options = { virtualBatchSize: ghost };
        const { given, result } = step(one, options, "arrays");
        const { x, gamma, beta, running, residual } = given;
        const g = batches.ghostGeometry(one.shape, one.layout, ghost);
        const include = given.mask && reference.included(one.shape, one.layout, given.mask);
        const statistics = reference.statistics(x, g, { eps, include });
        const n = reference.forward(x, g, statistics, { gamma, beta });
        const dz = through(one, given, n.y);
        const want = reference.backward(x, dz, g, statistics, { gamma, include });
        if (one.activation === "silu") {
          const y = finished(one, residual, n.y);
          const scale = (i: number) =>
            Math.abs(gamma[g.parameter[i]!]!) * Math.max(1, Math.abs(n.xhat[i]!)) + Math.abs(n.y[i]!);
          within(
            "y",
            result.y,
            y,
            (i) => 6 * u * (scale(i) + Math.abs(residual?.[i] ?? 0)) + 4 * u * Math.abs(y[i]!),
          );
          within(
            "dx",
            result.dx,
            want.dx,
            (i) =>
              40 *
              u *
              statistics.rstd[g.group[i]!]! *
              Math.max(1, want.largest[g.group[i]!]!) *
              Math.max(1, Math.abs(n.xhat[i]!)),
          );
          within("dgamma", result.dgamma, want.dgamma, (c) => 40 * u * want.dgammaSize[c]!);
          within("dbeta", result.dbeta, want.dbeta, (c) => 40 * u * want.dbetaSize[c]!);
        } else {
          const activation = one.activation === "relu" ? ("relu" as const) : undefined;
          expectForward(
            result.y,
            reference.forward(x, g, statistics, { gamma, beta, residual, activation }),
            g,
            gamma,
            "ghosts",
          );
          expectBackward(result, x, want, g, statistics, "ghosts");
        }
        const next = batches.updateRunning({ ...running, batches: 0 }, statistics, given.channels, 0.1);
        within("running mean", result.mean, next.mean, (c) => u * (1 + Math.abs(next.mean[c]!)));
        within("running variance", result.variance, next.variance, (c) => u * next.variance[c]!);
        expect(result.batches).toBe(one.shape[0]! / ghost);
        expect(result.batchMean.length).toBe(given.channels * (one.shape[0]! / ghost));
        for (const made of ["tensors", "in place"] as const)
          expect(step(one, options, made).result, made).toEqual(result);
      },
    );
  });

  test("ghost batches are what so many calls give, and one ghost is the whole", () => {
    const x = normals(120, 1);
    const ghosts = new library.BatchNorm(5, { virtualBatchSize: 8, momentum: null });
    const plain = new library.BatchNorm(5, { momentum: null });
    const y = ghosts.forward(x);
    for (let i = 0; i < 3; i++)
      expect(y.slice(40 * i, 40 * i + 40)).toEqual(plain.forward(x.slice(40 * i, 40 * i + 40)));
    expect(ghosts.stateDict()).toEqual(plain.stateDict());
    expect(new library.BatchNorm(5, { virtualBatchSize: 24 }).forward(x)).toEqual(
      new library.BatchNorm(5).forward(x),
    );
  });

  test("evaluation takes any number of examples, and training goes on after it", () => {
    const layer = new library.BatchNorm(5, { virtualBatchSize: 4 });
    const x = normals(60, 1);
    const y = layer.forward(x);
    layer.eval();
    layer.forward(normals(35, 2));
    const plain = new library.BatchNorm(5);
    plain.loadStateDict(layer.stateDict());
    expect(layer.forward(x)).toEqual(plain.eval().forward(x));
    layer.train();
    expect(layer.forward(x)).toEqual(y);
    const own = new library.BatchNorm(5, { virtualBatchSize: 4, trackRunningStats: false });
    expect(own.eval().forward(x)).toEqual(new library.BatchNorm(5).forward(x));
  });

  test("a ghost of which nothing counts leaves the running statistics alone", () => {
    const x = normals(60, 1);
    const layer = new library.BatchNorm(5, { virtualBatchSize: 4, momentum: null });
    const mask = [1, 1, 0, 1, 0, 0, 0, 0, 1, 1, 1, 1];
    const y = layer.forward(x, { mask });
    const plain = new library.BatchNorm(5, { momentum: null });
    plain.forward(x.slice(0, 20), { mask: mask.slice(0, 4) });
    plain.forward(x.slice(40), { mask: mask.slice(8) });
    expect(y.slice(20, 40)).toEqual(new Float32Array(20));
    expect(layer.stateDict()).toEqual(plain.stateDict());
    expect(layer.skippedUpdates).toBe(5);
    expect(layer.backward(normals(60, 2)).slice(20, 40)).toEqual(new Float32Array(20));
  });

  test("what does not go together is refused", () => {
    const make = (options: object) => () => new library.BatchNorm(5, options);
    expectRefused("BatchNorm", make({ renorm: { rMax: 0.9 } }), /rMax/, /0.9/);
    expectRefused("BatchNorm", make({ renorm: { dMax: Number.NaN } }), /dMax/, /NaN/);
    expectRefused("BatchNorm", make({ renorm: { rmax: 3 } }), /rMax/);
    expectRefused("BatchNorm", make({ renorm: true }), /renorm/);
    expectRefused("BatchNorm", make({ renorm: {}, trackRunningStats: false }), /running statistics/);
    expectRefused("BatchNorm", make({ renorm: {}, virtualBatchSize: 4 }), /virtualBatchSize/, /renorm/);
    expectRefused("BatchNorm", make({ virtualBatchSize: 0 }), /virtualBatchSize/);
    const layer = new library.BatchNorm(5, { virtualBatchSize: 4 });
    const before = layer.stateDict();
    expectRefused(
      "BatchNorm",
      () => layer.forward(new Float32Array(50)),
      /multiple of virtualBatchSize 4/,
      /10/,
    );
    const masked = { mask: [1, 0, 0, 0, 1, 1, 1, 1] };
    expectRefused("BatchNorm", () => layer.forward(normals(40, 1), masked), /at least 2 unmasked/, /1/);
    expect(layer.stateDict()).toEqual(before);
    layer.forward(normals(40, 1));
    for (const use of [
      () => layer.recoverIdentity(),
      () => layer.identityGap(),
      () => layer.decomposeGradient(normals(40, 2)),
    ])
      expect(use).toThrow(/expected one batch's statistics, got those of 2 virtual batches/);
    layer.recoverIdentity("running");
  });
});

test("the reference's gradients are those of its forward, r and d constants", () => {
  const g = reference.geometry([7, 3], [1], [1]);
  const x = normals(21, 1);
  const dy = normals(21, 2);
  const affine = { gamma: normals(3, 3, 0.5, 1), beta: normals(3, 4) };
  const running = { mean: normals(3, 5), variance: [0.5, 1, 2] };
  const statistics = reference.statistics(x, g, { eps });
  const by = batches.correction(statistics, running, eps, { rMax: 1.3, dMax: 0.4 });
  const want = batches.renormalizeBackward(x, dy, g, statistics, by, affine);
  const check = (gradient: Float64Array, f: (v: Float64Array) => Float64Array, at: ArrayLike<number>) =>
    within("gradient", gradient, reference.centralDifferences(f, at, dy, 1e-5), () => 1e-7);
  check(want.dx, (v) => batches.renormalize(v, g, reference.statistics(v, g, { eps }), by, affine), x);
  check(
    want.dgamma,
    (gamma) => batches.renormalize(x, g, statistics, by, { ...affine, gamma }),
    affine.gamma,
  );
  check(want.dbeta, (beta) => batches.renormalize(x, g, statistics, by, { ...affine, beta }), affine.beta);
});
