/**
 * Minibatches of 16 bits through every family, with all that comes around a normalization, each operand of a type of its own: within
 * the contract of the float64 reference, and the float32 result rounded once, to the bit.
 */
import { beforeAll, describe, expect, test } from "vitest";
import type { DType } from "../src/index.js";
import type { ActivationName } from "./activations.js";
import * as around from "./around.js";
import { betas, gammas, type Library, load, normals, type Random, seeded, variants } from "./cases.js";
import { halfUnit, nearest } from "./halves.js";
import * as reference from "./reference.js";

const TYPES: readonly DType[] = ["float32", "float16", "bfloat16"];
const rounded = (type: DType, value: number) => (type === "float32" ? value : nearest(type, value));
const allRounded = (type: DType, values: ArrayLike<number>) =>
  Float32Array.from(values, (value) => rounded(type, value));

interface Subject {
  readonly name: string;
  readonly shape: readonly number[];
  /** Where the channels lie. */
  readonly channel: number;
  readonly geometry: reference.Geometry;
  readonly centered: boolean;
  readonly streamed: boolean;
  readonly gated: boolean;
  readonly make: (library: Library, options: object) => InstanceType<Library["LayerNorm"]>;
}

function subjects(rows: number, width: number): Subject[] {
  const row = { shape: [rows, 2, width], channel: 2, streamed: true, gated: true };
  const rowGeometry = reference.describe({ family: "layer", shape: row.shape });
  const turned = [rows, width, 3];
  const list: Subject[] = [
    {
      ...row,
      name: "layer",
      geometry: rowGeometry,
      centered: true,
      make: (l, o) => new l.LayerNorm(width, o),
    },
    {
      ...row,
      name: "rms",
      geometry: rowGeometry,
      centered: false,
      make: (l, o) => new l.RMSNorm(width, o) as never,
    },
    {
      ...row,
      name: "layer, channels-first",
      shape: turned,
      channel: 1,
      geometry: reference.geometry(turned, [0, 2], [1]),
      centered: true,
      make: (l, o) => new l.LayerNorm(width, { ...o, layout: "channels-first" }),
    },
  ];
  for (const layout of ["channels-last", "channels-first"] as const) {
    const channels = 6;
    const first = layout === "channels-first";
    const shape = first ? [rows, channels, width] : [rows, width, channels];
    const common = { shape, channel: first ? 1 : 2, gated: false, centered: true };
    const of = (family: "batch" | "group" | "instance", groups = 1) =>
      reference.describe({ family, shape, layout, groups });
    list.push(
      {
        ...common,
        name: `batch, ${layout}`,
        streamed: false,
        geometry: of("batch"),
        make: (l, o) => new l.BatchNorm(channels, { ...o, layout }) as never,
      },
      {
        ...common,
        name: `group, ${layout}`,
        streamed: true,
        geometry: of("group", 2),
        make: (l, o) => new l.GroupNorm(2, channels, { ...o, layout }) as never,
      },
      {
        ...common,
        name: `instance, ${layout}`,
        streamed: false,
        geometry: of("instance"),
        make: (l, o) => new l.InstanceNorm(channels, { affine: true, ...o, layout }) as never,
      },
    );
  }
  return list;
}

/** What comes around, in turn. */
const choices: { activation: ActivationName; names: readonly string[] }[] = [
  { activation: "none", names: [] },
  { activation: "relu", names: [] },
  { activation: "silu", names: [] },
  { activation: "none", names: ["residual"] },
  { activation: "relu", names: ["residual"] },
  { activation: "gelu", names: ["residual"] },
  { activation: "none", names: ["stream"] },
  { activation: "none", names: ["modulation"] },
  { activation: "tanh", names: ["modulation", "residual", "stream"] },
  { activation: "none", names: ["gate"] },
  { activation: "silu", names: ["modulation", "residual", "stream", "gate"] },
];

/** A type for each operand of a call. */
type Types = Record<string, DType>;
const OPERANDS = [
  "x",
  "y",
  "dy",
  "dx",
  "residual",
  "dresidual",
  "stream",
  "dstream",
  "gate",
  "dgate",
  "scale",
  "shift",
  "dscale",
  "dshift",
];

function typesFor(random: Random): Types {
  return Object.fromEntries(OPERANDS.map((name) => [name, TYPES[Math.floor(3 * random())]!]));
}

/** Inputs whose values the operands' types have. */
function inputsFor({ shape, channel, geometry }: Subject, names: readonly string[], types: Types) {
  const { size, parameters } = geometry;
  const conditions = shape[0]! * shape[channel]!;
  const values = (name: string, seed: number, scale: number, mean = 0, n = size) =>
    allRounded(types[name]!, normals(n, seed, scale, mean));
  const axes = [0, channel];
  return {
    x: values("x", 1, 1.5, 0.3),
    dy: values("dy", 2, 1),
    gamma: gammas(parameters),
    beta: betas(parameters),
    stream: names.includes("stream") ? values("stream", 5, 2) : undefined,
    dstream: names.includes("stream") ? values("dstream", 10, 1) : undefined,
    residual: names.includes("residual") ? values("residual", 6, 1) : undefined,
    gate: names.includes("gate") ? values("gate", 7, 2) : undefined,
    modulation: names.includes("modulation")
      ? {
          scale: values("scale", 8, 0.4, 0, conditions),
          shift: values("shift", 9, 0.4, 0, conditions),
          place: reference.geometry(shape, axes, axes).group,
        }
      : undefined,
  };
}

type Inputs = ReturnType<typeof inputsFor>;

describe.each(variants)("16-bit minibatches, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  /** One forward and backward on Tensors of these types; every result as numbers. */
  function run(subject: Subject, activation: ActivationName, given: Inputs, types: Types) {
    const { shape, channel } = subject;
    const conditions = [shape[0]!, shape[channel]!];
    const layer = subject.make(library, { activation });
    layer.gamma!.data.set(given.gamma);
    layer.beta?.data.set(given.beta);
    return library.tidy(() => {
      const of = (name: string, values: ArrayLike<number> | undefined, own: readonly number[] = shape) =>
        library.tensor(own, values, { dtype: types[name]! });
      const x = of("x", given.x);
      const stream = given.stream && of("stream", given.stream);
      const options = {
        shape,
        ...(stream && { stream }),
        ...(given.residual && { residual: of("residual", given.residual) }),
        ...(given.gate && { gate: of("gate", given.gate) }),
        ...(given.modulation && {
          modulation: {
            scale: of("scale", given.modulation.scale, conditions),
            shift: of("shift", given.modulation.shift, conditions),
          },
        }),
      };
      const y = layer.forwardInto(x, of("y", undefined), options);
      const dstream = given.dstream && of("dstream", given.dstream);
      const back = {
        ...(dstream && { stream: dstream }),
        ...(given.residual && { residualGrad: of("dresidual", undefined) }),
        ...(given.gate && { gateGrad: of("dgate", undefined) }),
        ...(given.modulation && {
          modulationGrad: {
            scale: of("dscale", undefined, conditions),
            shift: of("dshift", undefined, conditions),
          },
        }),
      };
      const dx = layer.backwardInto(of("dy", given.dy), of("dx", undefined), back);
      const results: Record<string, Float32Array> = { y: y.toArray(), dx: dx.toArray() };
      if (stream) results.stream = stream.toArray();
      if (dstream) results.dstream = dstream.toArray();
      if (back.residualGrad) results.dresidual = back.residualGrad.toArray();
      if (back.gateGrad) results.dgate = back.gateGrad.toArray();
      if (back.modulationGrad) {
        results.dscale = back.modulationGrad.scale.toArray();
        results.dshift = back.modulationGrad.shift.toArray();
      }
      const parameters = { dgamma: layer.gamma!.grad.slice(), dbeta: layer.beta?.grad.slice() };
      layer.dispose();
      return { results, parameters };
    });
  }

  const wide: Types = Object.fromEntries(OPERANDS.map((name) => [name, "float32"]));

  function check(subject: Subject, { activation, names }: (typeof choices)[number], types: Types) {
    const what = `${subject.name} [${subject.shape}] ${activation} ${names} ${JSON.stringify(types)}`;
    const given = inputsFor(subject, names, types);
    const got = run(subject, activation, given, types);
    const exact = run(subject, activation, given, wide);
    // Rounded once: the float32 result's nearest value, and sums of parameters that no rounding reached.
    for (const [name, values] of Object.entries(exact.results)) {
      const want = allRounded(types[name]!, values);
      const wrong = want.findIndex((value, i) => !Object.is(got.results[name]![i], value));
      if (wrong >= 0)
        expect.fail(`${what}: ${name}[${wrong}]: ${got.results[name]![wrong]}, not ${want[wrong]}`);
    }
    expect(got.parameters, what).toEqual(exact.parameters);

    const g = subject.geometry;
    const { centered } = subject;
    const eps = centered ? 1e-5 : 1e-6;
    const beta = got.parameters.dbeta ? given.beta : null;
    const whole: around.Around = { ...given, beta, eps, centered, activation };
    const forward = around.forward(whole, g);
    const backward = around.backward(whole, given.dy, g);
    within(`${what}: y`, types.y!, got.results.y!, forward.y, forward.bound);
    const dx = backward.dx.map((value, i) => value + (given.dstream?.[i] ?? 0));
    const bound = backward.dxBound.map((value, i) => value + 2 ** -23 * Math.abs(dx[i]!));
    within(`${what}: dx`, types.dx!, got.results.dx!, dx, bound);
    if (got.results.stream)
      within(`${what}: stream`, types.stream!, got.results.stream, forward.input, new Float32Array(g.size));
  }

  test.each([
    [1, 9],
    [3, 5],
    [4, 16],
    [5, 33],
  ])("every family on %i examples, width %i", (rows, width) => {
    const random = seeded(31 * rows + width);
    for (const subject of subjects(rows, width)) {
      for (const choice of choices) {
        const { names } = choice;
        if ((names.includes("stream") && !subject.streamed) || (names.includes("gate") && !subject.gated))
          continue;
        check(subject, choice, typesFor(random));
        const half = random() < 0.5 ? "float16" : "bfloat16";
        check(subject, choice, Object.fromEntries(OPERANDS.map((name) => [name, half])));
      }
    }
  });

  test.each([
    ["layer", 40, 2048, 4],
    ["rms", 40, 2048, 10],
    ["batch, channels-last", 12, 3001, 5],
    ["batch, channels-first", 12, 3001, 1],
    ["group, channels-last", 12, 3001, 8],
    ["instance, channels-first", 12, 3001, 4],
  ] as const)("%s norm of a minibatch that falls into tiles", (name, rows, width, at) => {
    const subject = subjects(rows, width).find((one) => one.name === name)!;
    check(subject, choices[at]!, typesFor(seeded(at)));
  });
});

/** `got` is what rounding can have made of something within `bound` of `want`. */
function within(
  what: string,
  type: DType,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  bound: ArrayLike<number>,
) {
  for (let i = 0; i < want.length; i++) {
    const half = type === "float32" ? 0 : halfUnit(type, Math.abs(want[i]!) + bound[i]!);
    const error = Math.abs(got[i]! - want[i]!);
    if (!(error <= bound[i]! + half)) expect.fail(`${what}[${i}]: ${got[i]} instead of ${want[i]}`);
  }
}
