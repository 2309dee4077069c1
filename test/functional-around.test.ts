/** The steps as pure functions over any set of axes, about 0, under a mask, and with what comes around a normalization. */
import { beforeAll, describe, expect, test } from "vitest";
import { NAMES } from "./activations.js";
import * as around from "./around.js";
import { betas, type Functional, gammas, load, loadFunctional, normals, variants } from "./cases.js";
import { expectBackward, expectForward, expectStatistics, u, within } from "./contract.js";
import * as reference from "./reference.js";
import { expectRefused } from "./refusal.js";

const subsets = (n: number) =>
  Array.from({ length: 2 ** n }, (_, bits) =>
    Array.from({ length: n }, (_, i) => i).filter((i) => bits & (1 << i)),
  );
const others = (shape: readonly number[], axes: readonly number[]) =>
  shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));

describe.each(variants)("functional around, %s", (variant) => {
  let f: Functional;
  beforeAll(async () => {
    await load(variant);
    f = await loadFunctional();
  });

  const variance = ({ count, m2 }: { count: number; m2: Float64Array }) => m2.map((value) => value / count);
  const eps = 1e-5;

  test.each([
    [[3, 4, 2, 5], false],
    [[3, 4, 2, 5], true],
    [[9, 2, 17], false],
    [[5, 33], true],
  ])("%s over any axes, with gamma and beta along any, about 0: %s", (shape, rms) => {
    for (const axes of subsets(shape.length)) {
      for (const parameterAxes of subsets(shape.length)) {
        const what = `axes ${axes}, parameters ${parameterAxes}`;
        const geometry = reference.geometry(shape, others(shape, axes), parameterAxes);
        const x = normals(geometry.size, 1, 1.5, 0.3);
        const dy = normals(geometry.size, 2);
        const options = {
          axes,
          parameterAxes,
          rms,
          eps,
          gamma: gammas(geometry.parameters),
          beta: betas(geometry.parameters),
        };
        const statistics = reference.statistics(x, geometry, { eps, centered: !rms });
        const moments = f.moments(x, shape, options);
        expectStatistics({ mean: moments.mean, variance: variance(moments) }, statistics, eps, what);
        const y = f.normalize(x, shape, moments, options);
        expectForward(y, reference.forward(x, geometry, statistics, options), geometry, options.gamma, what);
        const sums = f.backwardReduce(x, dy, shape, moments, options);
        const dx = f.backwardApply(x, dy, shape, moments, sums, options);
        const want = reference.backward(x, dy, geometry, statistics, {
          gamma: options.gamma,
          centered: !rms,
        });
        expectBackward({ ...sums, dx }, x, want, geometry, statistics, what);
      }
    }
  });

  test("moments about 0 merge as those about the mean do", () => {
    const x = normals(60, 1, 1, 3);
    const whole = f.moments(x, [12, 5], { axes: [0], rms: true });
    const parts = [
      f.moments(x.slice(0, 15), [3, 5], { axes: [0], rms: true }),
      f.moments(x.slice(15), [9, 5], { axes: [0], rms: true }),
    ] as const;
    const merged = f.mergeMoments(...parts);
    expect(merged.count).toBe(12);
    expect(merged.mean).toEqual(new Float64Array(5));
    within("m2", merged.m2, whole.m2, (i) => u * whole.m2[i]!);
  });

  interface View {
    readonly name: string;
    readonly shape: number[];
    readonly axes: number[];
    readonly parameterAxes: number[];
    /** The axes that a row of modulation is for; undefined where there is none. */
    readonly conditions?: number[];
  }
  const views: View[] = [
    { name: "layer norm", shape: [6, 19], axes: [1], parameterAxes: [1], conditions: [0] },
    {
      name: "layer norm, a row for several",
      shape: [3, 4, 9],
      axes: [2],
      parameterAxes: [2],
      conditions: [0],
    },
    { name: "layer norm, a row for all", shape: [3, 4, 9], axes: [2], parameterAxes: [2], conditions: [] },
    { name: "batch norm", shape: [3, 5, 7], axes: [0, 1], parameterAxes: [2], conditions: [0] },
    {
      name: "batch norm, channels first",
      shape: [3, 5, 7],
      axes: [0, 2],
      parameterAxes: [1],
      conditions: [0],
    },
    {
      name: "instance norm, channels last",
      shape: [3, 9, 6],
      axes: [1],
      parameterAxes: [2],
      conditions: [0],
    },
    {
      name: "group norm, channels first",
      shape: [3, 2, 4, 9],
      axes: [2, 3],
      parameterAxes: [1, 2],
      conditions: [0],
    },
    {
      name: "axes that are moved",
      shape: [3, 4, 2, 5],
      axes: [0, 2],
      parameterAxes: [1, 3],
      conditions: [0],
    },
    { name: "axes that are moved, gamma too", shape: [3, 4, 2, 5], axes: [1, 2], parameterAxes: [1, 3] },
  ];
  const choices = [
    ...NAMES.map((activation) => ({ activation })),
    { activation: "none", residual: true },
    { activation: "relu", residual: true },
    { activation: "none", gate: true },
    { activation: "none", modulation: true },
    { activation: "silu", modulation: true, residual: true, gate: true },
  ] as const;

  test.each(views)("$name: every epilogue is what the formulas say", (view) => {
    const { shape, axes, parameterAxes, conditions } = view;
    const g = reference.geometry(shape, others(shape, axes), parameterAxes);
    const x = normals(g.size, 1, 1.5, 0.3);
    const dy = normals(g.size, 2);
    const own = { gamma: gammas(g.parameters), beta: betas(g.parameters) };
    for (const choice of choices as readonly {
      activation: (typeof NAMES)[number];
      residual?: boolean;
      gate?: boolean;
      modulation?: boolean;
    }[]) {
      const what = `${view.name} ${JSON.stringify(choice)}`;
      const rowAxes = [...(conditions ?? []), ...parameterAxes].sort();
      const places = reference.geometry(shape, rowAxes, rowAxes);
      const modulation =
        choice.modulation && conditions
          ? {
              scale: normals(places.groups, 8, 0.4),
              shift: normals(places.groups, 9, 0.4),
              place: places.group,
            }
          : undefined;
      const residual = choice.residual ? normals(g.size, 6) : undefined;
      const gate = choice.gate ? normals(g.size, 7, 2) : undefined;
      const whole = {
        x,
        ...own,
        eps,
        centered: true,
        activation: choice.activation,
        modulation,
        residual,
        gate,
      };
      const grads = {
        residualGrad: residual && new Float32Array(g.size),
        gateGrad: gate && new Float32Array(g.size),
        modulationGrad: modulation && {
          scale: new Float32Array(places.groups),
          shift: new Float32Array(places.groups),
        },
      };
      const options = {
        axes,
        parameterAxes,
        eps,
        ...own,
        activation: choice.activation,
        residual,
        gate,
        modulation: modulation && { scale: modulation.scale, shift: modulation.shift },
        ...grads,
      };
      const given = [x, dy, residual, gate].map((values) => values?.slice());
      const moments = f.moments(x, shape, options);
      const forward = around.forward(whole, g);
      within(`${what}: y`, f.normalize(x, shape, moments, options), forward.y, (i) => forward.bound[i]!);
      const sums = f.backwardReduce(x, dy, shape, moments, options);
      const dx = f.backwardApply(x, dy, shape, moments, sums, options);
      const want = around.backward(whole, dy, g);
      within(`${what}: dx`, dx, want.dx, (i) => want.dxBound[i]!);
      const size = new Float64Array(g.parameters);
      for (let i = 0; i < g.size; i++)
        size[g.parameter[i]!]! += want.upper[i]! * Math.max(1, Math.abs(forward.xhat[i]!));
      within(`${what}: dgamma`, sums.dgamma, want.dgamma, (p) => 16 * u * size[p]!);
      within(`${what}: dbeta`, sums.dbeta, want.dbeta, (p) => 16 * u * size[p]!);
      if (grads.residualGrad)
        within(
          `${what}: dresidual`,
          grads.residualGrad,
          want.dresidual,
          (i) => 16 * u * Math.abs(dy[i]! * (gate ? 2.2 : 1)) * Math.max(1, Math.abs(gate?.[i] ?? 1)),
        );
      if (grads.gateGrad)
        within(
          `${what}: dgate`,
          grads.gateGrad,
          want.dgate,
          (i) => 40 * u * Math.abs(dy[i]!) * Math.max(1, Math.abs(want.before[i]!)),
        );
      if (grads.modulationGrad) {
        within(
          `${what}: dscale`,
          grads.modulationGrad.scale,
          want.dscale,
          (c) => 16 * u * (want.dscaleSize[c]! + want.dshiftSize[c]!),
        );
        within(
          `${what}: dshift`,
          grads.modulationGrad.shift,
          want.dshift,
          (c) => 16 * u * want.dshiftSize[c]!,
        );
      }
      expect([x, dy, residual, gate], `${what}: what was given`).toEqual(given);
    }
  });

  test.each([
    [[7, 5], [0], [1], 7],
    [[4, 3, 5], [0, 1], [2], 12],
    [[4, 3, 5], [0, 2], [1], 20],
    [[4, 3, 2, 5], [0, 2], [1, 3], 8],
  ])("%s over %s under a mask: what counts is as if it were alone", (shape, axes, parameterAxes, flags) => {
    const g = reference.geometry(shape, others(shape, axes), parameterAxes);
    const mask = Uint8Array.from({ length: flags }, (_, i) => (i % 3 === 1 ? 0 : 1));
    const include = Uint8Array.from(reference.geometry(shape, axes, axes).group, (flag) => mask[flag]!);
    const x = normals(g.size, 1, 1.5, 0.3);
    const dy = normals(g.size, 2);
    x.forEach((_, i) => {
      if (!include[i]) [x[i], dy[i]] = [1e30, Number.NaN];
    });
    const own = { gamma: gammas(g.parameters), beta: betas(g.parameters) };
    for (const activation of ["none", "tanh"] as const) {
      const options = { axes, parameterAxes, eps, ...own, mask, activation };
      const statistics = reference.statistics(x, g, { eps, include });
      const moments = f.moments(x, shape, options);
      expect(moments.count).toBe(mask.filter(Boolean).length);
      expectStatistics({ mean: moments.mean, variance: variance(moments) }, statistics, eps, activation);
      const sums = f.backwardReduce(x, dy, shape, moments, options);
      const dx = f.backwardApply(x, dy, shape, moments, sums, options);
      const n = reference.forward(x, g, statistics, own).y;
      const through = dy.map((value, i) =>
        activation === "tanh" && include[i] ? value / Math.cosh(n[i]!) ** 2 : value,
      );
      const want = reference.backward(x, through, g, statistics, { gamma: own.gamma, include });
      if (activation === "none") expectBackward({ ...sums, dx }, x, want, g, statistics, "masked");
      else within("dx", dx, want.dx, (i) => 16 * u * statistics.rstd[g.group[i]!]! * 4);
      dx.forEach((value, i) => {
        if (!include[i]) expect(value).toBe(0);
      });
    }
    const none = { axes, parameterAxes, ...own, mask: mask.map(() => 0) };
    const empty = f.moments(x, shape, none);
    expect(empty).toEqual({ count: 0, mean: new Float64Array(g.groups), m2: new Float64Array(g.groups) });
    const whole = f.moments(normals(g.size, 3), shape, { axes });
    const sums = f.backwardReduce(x, dy, shape, whole, none);
    expect(sums.dgamma).toEqual(new Float64Array(g.parameters));
    expect(f.backwardApply(x, dy, shape, whole, sums, none)).toEqual(new Float32Array(g.size));
  });

  test("under a mask modulation and residual get nothing from what does not count", () => {
    const [x, dy] = [normals(35, 1), normals(35, 2)];
    const mask = [1, 1, 0, 1, 1, 0, 1];
    for (const values of [x, dy]) values.fill(Number.NaN, 10, 15).fill(Number.NaN, 25, 30);
    const zeros = () => new Float32Array(5);
    const modulationGrad = { scale: zeros(), shift: zeros() };
    const residualGrad = new Float32Array(35);
    const around = { modulation: { scale: zeros(), shift: zeros() }, residual: new Float32Array(35) };
    const options = { axes: [0], mask, ...around, modulationGrad, residualGrad };
    const moments = f.moments(x, [7, 5], options);
    f.backwardApply(x, dy, [7, 5], moments, f.backwardReduce(x, dy, [7, 5], moments, options), options);
    const counted = dy.map((value, i) => (mask[Math.floor(i / 5)] ? value : 0));
    expect(residualGrad).toEqual(counted);
    for (let c = 0; c < 5; c++) {
      const column = counted.filter((_, i) => i % 5 === c);
      const size = column.reduce((sum, value) => sum + Math.abs(value), 0);
      expect(Math.abs(modulationGrad.shift[c]! - column.reduce((a, b) => a + b))).toBeLessThan(u * size);
      expect(Number.isFinite(modulationGrad.scale[c])).toBe(true);
    }
  });

  test("wrong options are refused", () => {
    const x = normals(60, 1);
    const shape = [3, 4, 5];
    const options = { axes: [2], parameterAxes: [2] };
    const good = f.moments(x, shape, options);
    const normalize = (more: object) => f.normalize(x, shape, good, { ...options, ...more });
    expectRefused("moments", () => f.moments(x, shape, { axes: [2], rms: 1 as never }), /rms/);
    expectRefused("moments", () => f.moments(x, shape, { axes: [2], mask: [1, 1, 1, 1, 1] }), /mask/);
    expectRefused(
      "moments",
      () => f.moments(x, shape, { axes: [0, 1], mask: [1, 1, 1, 1, 1] }),
      /mask/,
      /12/,
      /5/,
    );
    expectRefused("normalize", () => normalize({ activation: "mish" }), /activation/, /mish/);
    expectRefused("normalize", () => normalize({ residual: new Float32Array(59) }), /residual/, /60/, /59/);
    expectRefused("normalize", () => normalize({ gate: [1] }), /gate/);
    expectRefused("normalize", () => normalize({ stream: x }), /stream/);
    const scale = new Float32Array(7);
    expectRefused(
      "normalize",
      () => normalize({ modulation: { scale, shift: scale } }),
      /scale/,
      /5 or 15 or 60/,
      /7/,
    );
    const rows = new Float32Array(15);
    expectRefused(
      "normalize",
      () => normalize({ modulation: { scale: rows, shift: scale } }),
      /shift/,
      /15/,
      /7/,
    );
    const moved = { axes: [1, 2], parameterAxes: [1, 3], modulation: { scale: rows, shift: rows } };
    const deep = f.moments(x, [3, 2, 2, 5], { axes: [1, 2] });
    expectRefused("normalize", () => f.normalize(x, [3, 2, 2, 5], deep, moved), /modulation/, /moved/);
    const sums = f.backwardReduce(x, x, shape, good, options);
    const apply = (more: object) => f.backwardApply(x, x, shape, good, sums, { ...options, ...more });
    expectRefused("backwardApply", () => apply({ gateGrad: x }), /gateGrad/, /gate/);
    expectRefused("backwardApply", () => apply({ modulationGrad: {} }), /modulationGrad/);
    expectRefused(
      "backwardApply",
      () => apply({ residual: x, residualGrad: rows }),
      /residualGrad/,
      /60/,
      /15/,
    );
  });
});
