/** Activations, streams, modulation, residuals and gates, around every family, layout and tail, to the contract. */
import { beforeAll, describe, expect, test } from "vitest";
import { ACTIVATIONS, type ActivationName, NAMES } from "./activations.js";
import * as around from "./around.js";
import { type Library, load, normals, variants } from "./cases.js";
import { u, within } from "./contract.js";
import * as reference from "./reference.js";

interface Family {
  readonly name: string;
  readonly shape: readonly number[];
  readonly geometry: reference.Geometry;
  readonly centered: boolean;
  readonly streamed: boolean;
  readonly gated: boolean;
  /** Where the channels lie, and the axes of modulation. */
  readonly channel: number;
  readonly make: (library: Library, options: object) => InstanceType<Library["LayerNorm"]>;
}

const axesOf = (shape: readonly number[]) => shape.map((_, axis) => axis);

function families(width: number): Family[] {
  const list: Family[] = [];
  const push = (family: Omit<Family, "centered"> & { centered?: boolean }) =>
    list.push({ centered: true, ...family });
  const rows = [3, 2, width];
  const lead = { streamed: true, gated: true, channel: 2 };
  const g = reference.describe({ family: "layer", shape: rows });
  push({ ...lead, name: "LayerNorm", shape: rows, geometry: g, make: (l, o) => new l.LayerNorm(width, o) });
  push({
    ...lead,
    name: "RMSNorm",
    shape: rows,
    geometry: g,
    centered: false,
    make: (l, o) => new l.RMSNorm(width, o) as never,
  });
  const first = [2, width, 3];
  push({
    ...lead,
    name: "LayerNorm channels-first",
    shape: first,
    geometry: reference.geometry(first, [0, 2], [1]),
    channel: 1,
    make: (l, o) => new l.LayerNorm(width, { ...o, layout: "channels-first" }),
  });
  for (const layout of ["channels-last", "channels-first"] as const) {
    const channels = 2 * Math.max(1, width >> 3);
    const inner = width;
    const shape = layout === "channels-last" ? [3, inner, channels] : [3, channels, inner];
    const channel = layout === "channels-last" ? 2 : 1;
    const common = { shape, channel, gated: false };
    const of = (family: "batch" | "group" | "instance", groups = 1) =>
      reference.describe({ family, shape, layout, groups });
    push({
      ...common,
      name: `BatchNorm ${layout}`,
      streamed: false,
      geometry: of("batch"),
      make: (l, o) => new l.BatchNorm(channels, { ...o, layout }) as never,
    });
    push({
      ...common,
      name: `GroupNorm ${layout}`,
      streamed: true,
      geometry: of("group", 2),
      make: (l, o) => new l.GroupNorm(2, channels, { ...o, layout }) as never,
    });
    if (inner > 1) {
      push({
        ...common,
        name: `InstanceNorm ${layout}`,
        streamed: false,
        geometry: of("instance"),
        make: (l, o) => new l.InstanceNorm(channels, { affine: true, ...o, layout }) as never,
      });
    }
  }
  return list;
}

interface With {
  readonly activation: ActivationName;
  readonly stream?: boolean;
  readonly residual?: boolean;
  readonly modulation?: boolean;
  readonly gate?: boolean;
}

const combinations: With[] = [
  ...NAMES.map((activation) => ({ activation })),
  { activation: "none", stream: true },
  { activation: "relu", stream: true },
  { activation: "none", residual: true },
  { activation: "silu", residual: true },
  { activation: "none", modulation: true },
  { activation: "relu", modulation: true, residual: true },
  { activation: "gelu-tanh", modulation: true, residual: true, stream: true },
  { activation: "none", gate: true },
  { activation: "none", residual: true, gate: true, stream: true },
  { activation: "tanh", modulation: true, residual: true, gate: true, stream: true },
];

/** Inputs, the same for all runs of a case. */
function inputs(family: Family, choice: With) {
  const { shape, geometry, channel } = family;
  const size = geometry.size;
  const conditions = shape[0]! * shape[channel]!;
  const axes = axesOf(shape).filter((axis) => axis === 0 || axis === channel);
  return {
    x: normals(size, 1, 1.5, 0.3),
    dy: normals(size, 2),
    gamma: normals(geometry.parameters, 3, 0.5, 1),
    beta: normals(geometry.parameters, 4, 0.5, 0.2),
    stream: choice.stream ? normals(size, 5, 2) : undefined,
    residual: choice.residual ? normals(size, 6) : undefined,
    gate: choice.gate ? normals(size, 7, 2) : undefined,
    modulation: choice.modulation
      ? {
          scale: normals(conditions, 8, 0.4),
          shift: normals(conditions, 9, 0.4),
          place: reference.geometry(shape, axes, axes).group,
        }
      : undefined,
    dstream: choice.stream ? normals(size, 10) : undefined,
  };
}

const array = (minibatch: unknown): Float32Array =>
  minibatch instanceof Float32Array ? minibatch : (minibatch as { toArray(): Float32Array }).toArray();

describe.each(variants)("stages, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  function layerOf(family: Family, choice: With, given: ReturnType<typeof inputs>) {
    const layer = family.make(library, { activation: choice.activation });
    layer.gamma!.data.set(given.gamma);
    layer.beta?.data.set(given.beta);
    return layer;
  }

  /** One forward and backward, on arrays or Tensors. */
  function run(family: Family, choice: With, tensors: boolean, inPlace = false) {
    const given = inputs(family, choice);
    const layer = layerOf(family, choice, given);
    const { shape, channel } = family;
    const minibatch = (values: Float32Array, own: readonly number[] = shape) =>
      tensors ? library.tensor(own, values.slice()) : values.slice();
    const conditions = [shape[0]!, shape[channel]!];
    const options: Record<string, unknown> = { shape };
    const stream = given.stream && minibatch(given.stream);
    if (stream) options.stream = stream;
    if (given.residual) options.residual = minibatch(given.residual);
    if (given.gate) options.gate = minibatch(given.gate);
    if (given.modulation) {
      options.modulation = {
        scale: minibatch(given.modulation.scale, conditions),
        shift: minibatch(given.modulation.shift, conditions),
      };
    }
    const y = layer.forward(minibatch(given.x) as Float32Array, options);
    const sum = stream && array(stream).slice();
    const dy = minibatch(given.dy);
    const back: Record<string, unknown> = {};
    const dstream = given.dstream && minibatch(given.dstream);
    if (dstream) back.stream = dstream;
    let dx: unknown;
    if (inPlace) {
      if (given.residual) back.residualGrad = minibatch(given.dy);
      if (given.gate) back.gateGrad = minibatch(given.dy);
      if (given.modulation) {
        back.modulationGrad = {
          scale: minibatch(given.modulation.scale, conditions),
          shift: minibatch(given.modulation.shift, conditions),
        };
      }
      dx = layer.backwardInto(dy as Float32Array, (dstream ?? dy) as Float32Array, back);
    } else dx = layer.backward(dy as Float32Array, back);
    const modulationGrad = layer.modulationGrad;
    const result = {
      y: array(y),
      sum,
      dx: array(dx).slice(),
      dstream: dstream && array(dstream).slice(),
      dgamma: layer.gamma!.grad.slice(),
      dbeta: layer.beta?.grad.slice(),
      dresidual: layer.residualGrad && array(layer.residualGrad).slice(),
      dgate: layer.gateGrad && array(layer.gateGrad).slice(),
      dscale: modulationGrad && array(modulationGrad.scale).slice(),
      dshift: modulationGrad && array(modulationGrad.shift).slice(),
    };
    layer.dispose();
    return { given, result };
  }

  const cases = [1, 2, 3, 4, 5, 7, 8, 9, 33].flatMap((width) =>
    families(width).map((family) => [`${family.name} [${family.shape}]`, family] as const),
  );

  test.each(cases)("%s: every combination is what the formulas say", (_, family) => {
    for (const choice of combinations) {
      if ((choice.stream && !family.streamed) || (choice.gate && !family.gated)) continue;
      const { given, result } = run(family, choice, false);
      const what = `${family.name} ${JSON.stringify(choice)}`;
      const whole: around.Around = {
        ...given,
        beta: result.dbeta ? given.beta : null,
        eps: family.centered ? 1e-5 : 1e-6,
        centered: family.centered,
        activation: choice.activation,
      };
      const g = family.geometry;
      const forward = around.forward(whole, g);
      within(`${what}: y`, result.y, forward.y, (i) => forward.bound[i]!);
      if (result.sum) expect(result.sum).toEqual(Float32Array.from(forward.input));
      const want = around.backward(whole, given.dy, g);
      const dx = given.dstream ? want.dx.map((value, i) => value + given.dstream![i]!) : want.dx;
      within(
        `${what}: dx`,
        result.dx,
        dx,
        (i) => want.dxBound[i]! + (given.dstream ? u * Math.abs(dx[i]!) : 0),
      );
      if (given.dstream) expect(result.dstream).toEqual(result.dx);
      within(
        `${what}: dgamma`,
        result.dgamma,
        want.dgamma,
        (p) => 16 * u * sizeAt(g, p, want.upper, forward.xhat),
      );
      if (result.dbeta)
        within(`${what}: dbeta`, result.dbeta, want.dbeta, (p) => 16 * u * sizeAt(g, p, want.upper));
      if (given.residual)
        within(
          `${what}: dresidual`,
          result.dresidual!,
          want.dresidual,
          (i) =>
            16 * u * Math.abs(given.dy[i]! * (given.gate ? ACTIVATIONS.silu.value(given.gate[i]!) : 1)) +
            2 ** -140,
        );
      if (given.gate)
        within(
          `${what}: dgate`,
          result.dgate!,
          want.dgate,
          (i) =>
            1.2 *
            Math.abs(given.dy[i]!) *
            (8 * u * Math.abs(want.before[i]!) +
              forward.bound[i]! / Math.max(1e-9, Math.abs(ACTIVATIONS.silu.value(given.gate![i]!))) +
              8 * u),
        );
      if (given.modulation) {
        within(
          `${what}: dscale`,
          result.dscale!,
          want.dscale,
          (c) => 16 * u * (want.dscaleSize[c]! + want.dshiftSize[c]!),
        );
        within(`${what}: dshift`, result.dshift!, want.dshift, (c) => 16 * u * want.dshiftSize[c]!);
      }
    }
  });

  test.each(cases)("%s: Tensors and gradients in place give the same bits", (_, family) => {
    for (const choice of combinations) {
      if ((choice.stream && !family.streamed) || (choice.gate && !family.gated)) continue;
      const { result } = run(family, choice, false);
      expect(run(family, choice, true).result, JSON.stringify(choice)).toEqual(result);
      for (const tensors of [false, true]) {
        expect(run(family, choice, tensors, true).result, JSON.stringify(choice)).toEqual(result);
      }
    }
  });

  test("gradients of a modulation that no one asks for are written nowhere", () => {
    const shape = [3, 4, 5];
    const layer = new library.BatchNorm(4, { layout: "channels-first" });
    const row = normals(12, 3);
    const x = library.tensor(shape, normals(60, 1));
    layer.forward(x, { modulation: { scale: row, shift: row } });
    const below = () => Array.from(new Uint32Array(x.data.buffer, 0, 64));
    const before = below();
    layer.backwardInto(x, x);
    expect(below()).toEqual(before);
    layer.dispose();
  });

  test("an example of a row family has the same bits alone as among others", () => {
    for (const family of families(67).filter(({ gated, channel }) => gated && channel === 2)) {
      for (const choice of combinations) {
        const { given, result } = run(family, choice, false);
        const layer = layerOf(family, choice, given);
        const n = 67;
        for (const i of [0, 3, 5]) {
          const part = (values: Float32Array | undefined) => values?.slice(i * n, (i + 1) * n);
          const example = Math.floor(i / 2);
          const options: Record<string, unknown> = { shape: [1, n] };
          for (const name of ["stream", "residual", "gate"] as const) {
            if (given[name]) options[name] = part(given[name]);
          }
          if (given.modulation) {
            const cut = (values: Float32Array) => values.slice(example * n, (example + 1) * n);
            options.modulation = { scale: cut(given.modulation.scale), shift: cut(given.modulation.shift) };
          }
          const y = layer.forward(part(given.x)!, options);
          const dx = layer.backward(part(given.dy)!, given.dstream ? { stream: part(given.dstream)! } : {});
          expect(y, JSON.stringify(choice)).toEqual(part(result.y));
          expect(dx, JSON.stringify(choice)).toEqual(part(result.dx));
        }
        layer.dispose();
      }
    }
  });
});

/** The sum of what dgamma's (with xhat) or dbeta's terms can be. */
function sizeAt(
  g: reference.Geometry,
  p: number,
  upper: ArrayLike<number>,
  xhat?: ArrayLike<number>,
): number {
  let size = 0;
  for (let i = 0; i < g.size; i++) {
    if (g.parameter[i] === p) size += upper[i]! * (xhat ? Math.max(1, Math.abs(xhat[i]!)) : 1);
  }
  return size;
}

test("the gradients of the reference are those of its forward", () => {
  for (const family of families(3)) {
    for (const choice of combinations) {
      const given = inputs(family, choice);
      const g = family.geometry;
      const { centered } = family;
      const whole = {
        ...given,
        beta: given.beta,
        eps: 1e-3,
        centered,
        activation: choice.activation,
        stream: undefined,
      };
      const want = around.backward(whole, given.dy, g);
      const check = (
        name: string,
        gradient: Float64Array,
        f: (values: Float64Array) => around.Around,
        at: ArrayLike<number>,
      ) => {
        const differences = reference.centralDifferences(
          (values) => around.forward(f(values), g).y,
          at,
          given.dy,
          1e-5,
        );
        within(`${family.name} ${JSON.stringify(choice)} ${name}`, gradient, differences, () => 2e-6);
      };
      check("dx", want.dx, (x) => ({ ...whole, x }), given.x);
      check("dgamma", want.dgamma, (gamma) => ({ ...whole, gamma }), given.gamma);
      check("dbeta", want.dbeta, (beta) => ({ ...whole, beta }), given.beta);
      if (given.residual)
        check("dresidual", want.dresidual, (residual) => ({ ...whole, residual }), given.residual);
      if (given.gate) check("dgate", want.dgate, (gate) => ({ ...whole, gate }), given.gate);
      const { modulation } = given;
      if (!modulation) continue;
      check(
        "dscale",
        want.dscale,
        (scale) => ({ ...whole, modulation: { ...modulation, scale } }),
        modulation.scale,
      );
      check(
        "dshift",
        want.dshift,
        (shift) => ({ ...whole, modulation: { ...modulation, shift } }),
        modulation.shift,
      );
    }
  }
});

test("decomposeGradient takes dy through the activation", async () => {
  const library = await load();
  const x = normals(60, 1);
  const dy = normals(60, 2);
  const smooth = new library.BatchNorm(5, { activation: "silu" });
  const plain = new library.BatchNorm(5);
  const before = plain.forward(x);
  smooth.forward(x);
  const through = dy.map((value, i) => value * ACTIVATIONS.silu.slope(before[i]!));
  const got = smooth.decomposeGradient(dy);
  const want = plain.decomposeGradient(through);
  for (const [name, shares] of Object.entries(want) as [keyof typeof want, ArrayLike<number>][]) {
    const is = got[name] as ArrayLike<number>;
    for (let c = 0; c < shares.length; c++) expect(Math.abs(is[c]! - shares[c]!)).toBeLessThan(1e-5);
  }
});

test("a modulation without places for its gradients writes nowhere else", async () => {
  const { tensor, InstanceNorm, LayerNorm } = await load("simd");
  // What lies first in memory.
  const first = tensor([4096], new Float32Array(4096).fill(7));
  for (const layer of [new InstanceNorm(33), new LayerNorm(33, { layout: "channels-first" })]) {
    const shape = [11, 33, 5];
    const [x, y, dx] = [tensor(shape, normals(1815, 1)), tensor(shape), tensor(shape)];
    const modulation = { scale: tensor([11, 33]), shift: tensor([11, 33]) };
    layer.forwardInto(x, y, { modulation });
    layer.backwardInto(x, dx);
  }
  expect(first.toArray().every((value) => value === 7)).toBe(true);
});
