/** One table of variants, shapes, parameters and inputs, for every test and every layer. */
import { setFlagsFromString } from "node:v8";
import { vi } from "vitest";
import type { Family, Geometry, Layout, Statistics } from "./reference.js";
import * as reference from "./reference.js";

// Node 20 has relaxed SIMD behind this flag, later versions have it without: both binaries are tested on all
if (Number.parseInt(process.versions.node, 10) < 22) setFlagsFromString("--experimental-wasm-relaxed-simd");

export type Library = typeof import("../src/index.js");
export type Functional = Awaited<ReturnType<typeof loadFunctional>>;
export type Variant = "simd" | "relaxed-simd";

export const variants: readonly Variant[] = ["simd", "relaxed-simd"];

/** The package as a fresh import, on a memory of its own, with the given binary. */
export async function load(variant?: Variant): Promise<Library> {
  vi.resetModules();
  const library = await import("../src/index.js");
  if (variant) await library.init({ variant });
  return library;
}

/** The steps as pure functions, on the memory of the last `load`. */
export function loadFunctional(): Promise<typeof import("../src/functional.js")> {
  return import("../src/functional.js");
}

// -------------------------------------------------------------------------------------------- random numbers

export type Random = () => number;

/** mulberry32: uniform in [0, 1), the same from the same seed everywhere. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** A standard normal value (Box and Muller). */
export function normal(random: Random): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

export function normals(length: number, seed: number, scale = 1, mean = 0): Float32Array {
  const random = seeded(seed);
  return Float32Array.from({ length }, () => mean + scale * normal(random));
}

// ---------------------------------------------------------------------------------------------------- shapes

/** Every count from 1 to twice the lanes plus one. */
export const tails = Array.from({ length: 9 }, (_, i) => i + 1);
/** Around the widths that kernels unroll to. */
export const edges = [15, 16, 17, 31, 32, 33, 63, 64, 65];
/** Rows by columns. */
export const tailShapes = tails.flatMap((rows) => tails.map((columns) => [rows, columns] as const));
export const edgeShapes = [
  ...edges.flatMap((rows) => [3, 16, 65].map((columns) => [rows, columns] as const)),
  ...edges.flatMap((columns) => [5, 33].map((rows) => [rows, columns] as const)),
  [257, 129],
  [130, 259],
  [1000, 7],
  [3, 1027],
] as const;

/** Images, [N, H, W, C] here, [N, C, H, W] for channels-first; from ResNet-50 and a small classifier's. */
export const imageShapes = [
  { name: "odd sizes", n: 3, spatial: [5, 3], channels: 6 },
  { name: "a single position each", n: 5, spatial: [1, 1], channels: 12 },
  { name: "sequence", n: 4, spatial: [37], channels: 10 },
  { name: "volume", n: 2, spatial: [3, 4, 5], channels: 8 },
  { name: "resnet-50 conv5, small batch", n: 2, spatial: [7, 7], channels: 512 },
  { name: "resnet-50 conv2, one image", n: 2, spatial: [56, 56], channels: 64 },
] as const;

// ---------------------------------------------------------------------------------------------------- inputs

export interface Input {
  readonly name: string;
  /** Defaults to the layer's; 0 or tiny where the scale of the input makes it matter. */
  readonly eps?: number;
  /** The scale of dy, where 1 would make gradients that float32 cannot hold. */
  readonly dyScale?: number;
  readonly value: (place: {
    readonly random: Random;
    /** Which statistic the value belongs to. */
    readonly group: number;
    /** How many of its group came before it. */
    readonly position: number;
    readonly count: number;
  }) => number;
}

const scaled = (scale: number, eps: number): Input => ({
  name: `scale ${scale}, eps ${eps}`,
  eps,
  // dx is of the size of dy / scale
  dyScale: scale < 1e-20 ? 1e-3 : 1,
  value: ({ random, group }) => scale * (normal(random) + (group % 3)),
});

const around = (ratio: number): Input => ({
  name: `mean ${ratio} sigma`,
  value: ({ random, group }) => (group % 2 ? -ratio : ratio) + normal(random),
});

export const plain: Input = { name: "normal", value: ({ random }) => normal(random) };

export const hostileInputs: readonly Input[] = [
  around(10),
  around(1e3),
  around(1e5),
  around(1e6),
  {
    name: "mean 1e6 sigma, small sigma",
    eps: 1e-12,
    value: ({ random }) => 1e-3 * (1e6 + normal(random)),
  },
  {
    name: "an outlier in the first row",
    value: ({ random, position }) => (position === 0 ? 1e6 : normal(random)),
  },
  {
    name: "a huge outlier in the first row",
    value: ({ random, position }) => (position === 0 ? -1e30 : normal(random)),
  },
  {
    name: "an outlier in the first row whose square float32 cannot hold",
    value: ({ random, position }) => (position === 0 ? 1.93e19 : -2e15 + 1e14 * normal(random)),
  },
  {
    name: "an outlier in the first row, far from the others' mean",
    value: ({ random, position }) => (position === 0 ? -3e5 : 1e5 + normal(random)),
  },
  {
    name: "outliers in several rows",
    value: ({ random, position }) => (position % 17 === 3 ? (position % 2 ? 1e5 : -3e5) : normal(random)),
  },
  {
    name: "an outlier in the last row",
    value: ({ random, position, count }) => (position === count - 1 ? 1e7 : 10 + normal(random)),
  },
  { name: "ascending", value: ({ position, count }) => 1000 + position / count },
  { name: "descending", value: ({ position, count }) => (count - position) ** 3 },
  {
    name: "a step halfway",
    value: ({ random, position, count }) => (2 * position < count ? 0 : 1e6) + normal(random),
  },
  scaled(1e30, 1e-5),
  scaled(1e30, 0),
  scaled(1e-30, 1e-5),
  scaled(1e-30, 0),
  scaled(1e-30, 1e-60),
  scaled(1e-18, 1e-36),
  {
    name: "another scale in each group",
    eps: 0,
    dyScale: 1e-3,
    value: ({ random, group }) => 10 ** (((group * 5) % 61) - 30) * (1 + normal(random)),
  },
  {
    name: "3e38 and -3e38 in turn",
    value: ({ position }) => (position % 2 ? -3e38 : 3e38),
  },
  {
    name: "the largest float32 and its opposite",
    value: ({ random }) => (random() < 0.5 ? -1 : 1) * 3.4028234663852886e38,
  },
  {
    name: "subnormal numbers, eps 0",
    eps: 0,
    // rstd is 1e40
    dyScale: 1e-10,
    value: ({ random }) => 1e-40 * normal(random),
  },
];

/** What the mathematics sends to NaN or infinity, each in a group of its own, clean groups between them. */
export const nonFiniteInput: Input = {
  name: "NaN and infinities, each in one group",
  value: ({ random, group, position, count }) => {
    const middle = position === count >> 1;
    if (group % 5 === 1 && middle) return Number.NaN;
    if (group % 5 === 3 && middle) return Number.POSITIVE_INFINITY;
    if (group % 5 === 4 && position === 0) return Number.NEGATIVE_INFINITY;
    if (group % 5 === 4 && position === 1) return Number.POSITIVE_INFINITY;
    return normal(random);
  },
};

/** Constants: each gives exactly beta. */
export const constants = [0, 0.1, -0.1, 1234, 1e7, 1e30, -3.3e38, 3.4028234663852886e38, 1e-30, 1e-45];

export function fill(input: Input, { size, groups, group }: Geometry, seed = 1): Float32Array {
  const count = new Uint32Array(groups);
  for (let i = 0; i < size; i++) count[group[i]!]!++;
  const position = new Uint32Array(groups);
  const random = seeded(seed);
  const x = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const g = group[i]!;
    x[i] = input.value({ random, group: g, position: position[g]!++, count: count[g]! });
  }
  return x;
}

// ------------------------------------------------------------------------------------------------ parameters

export interface Presence {
  readonly gamma: boolean;
  readonly beta: boolean;
}

export const presences: readonly Presence[] = [
  { gamma: true, beta: true },
  { gamma: true, beta: false },
  { gamma: false, beta: true },
  { gamma: false, beta: false },
];

/** gamma of both signs, between 0.5 and 2 in size, with a 0 here and there. */
export function gammas(length: number, seed = 7): Float32Array {
  const random = seeded(seed);
  return Float32Array.from({ length }, (_, i) => {
    const size = 0.5 + 1.5 * random();
    return i % 11 === 10 ? 0 : i % 3 === 2 ? -size : size;
  });
}

export function betas(length: number, seed = 8): Float32Array {
  return normals(length, seed, 2);
}

// ---------------------------------------------------------------------------------------------------- layers

/** A layer and what it is called on, for any family. */
export interface Subject {
  readonly family: Family;
  readonly layout?: Layout;
  readonly shape: readonly number[];
  readonly groups?: number;
  readonly trailing?: number;
  readonly eps?: number | undefined;
  readonly affine?: Presence;
  readonly activation?: "relu" | undefined;
}

export const defaultEps = (family: Family) => (family === "rms" ? 1e-6 : 1e-5);

/** The layer of a subject, its gamma and beta set to values that tell them apart. */
export function build(library: Library, subject: Subject) {
  const { family, shape, groups = 1, trailing = 1 } = subject;
  const layout = subject.layout ?? "channels-last";
  const channels = layout === "channels-first" ? shape[1]! : shape.at(-1)!;
  const affine = subject.affine ?? { gamma: true, beta: true };
  const eps = subject.eps ?? defaultEps(family);
  const common = { eps, ...(subject.activation ? { activation: subject.activation } : {}) };
  const normalized = shape.slice(shape.length - trailing);
  const layer = (() => {
    switch (family) {
      case "batch":
        return new library.BatchNorm(channels, { ...common, affine, layout });
      case "layer":
        return new library.LayerNorm(normalized, { ...common, affine });
      case "rms":
        return new library.RMSNorm(normalized, { ...common, affine: affine.gamma });
      case "group":
        return new library.GroupNorm(groups, channels, { ...common, affine, layout });
      case "instance":
        return new library.InstanceNorm(channels, { ...common, affine, layout });
    }
  })();
  layer.gamma?.data.set(gammas(layer.gamma.data.length));
  layer.beta?.data.set(betas(layer.beta.data.length));
  return layer;
}

export function geometryOf(subject: Subject): Geometry {
  return reference.describe(subject);
}

/** Whether its statistics are about the mean. */
export const isCentered = (family: Family) => family !== "rms";

export function statisticsOf(
  { family, shape, layout = "channels-last", eps = defaultEps(family) }: Subject,
  x: Float32Array,
  geometry: Geometry,
  mask?: Uint8Array,
): Statistics {
  const include = mask && reference.included(shape, layout, mask);
  return reference.statistics(x, geometry, { eps, centered: isCentered(family), include });
}

/** What to call a subject where an error names it. */
export function label({ family, layout, shape, groups, trailing, affine, activation, eps }: Subject): string {
  const parts = [
    family,
    layout,
    `[${shape}]`,
    groups && `${groups} groups`,
    trailing && `${trailing} trailing`,
    affine && `gamma ${affine.gamma}, beta ${affine.beta}`,
    activation,
    eps !== undefined && `eps ${eps}`,
  ];
  return parts.filter(Boolean).join(" ");
}

/** Every family and layout on a few rows and columns: what the input tests run over. */
export function subjectsOfEveryFamily(rows: number, columns: number): readonly Subject[] {
  const both: readonly Layout[] = ["channels-last", "channels-first"];
  const image = (layout: Layout, n: number, positions: number, channels: number) =>
    layout === "channels-first" ? [n, channels, positions] : [n, positions, channels];
  return [
    { family: "batch", layout: "channels-last", shape: [rows, columns] },
    {
      family: "batch",
      layout: "channels-first",
      shape: image("channels-first", 3, Math.ceil(rows / 3), columns),
    },
    { family: "layer", shape: [columns, rows] },
    { family: "layer", shape: [columns, 2, Math.ceil(rows / 2)], trailing: 2 },
    { family: "rms", shape: [columns, rows] },
    ...both.map(
      (layout): Subject => ({ family: "instance", layout, shape: image(layout, 2, rows, columns) }),
    ),
    ...both.map(
      (layout): Subject => ({
        family: "group",
        layout,
        groups: 3,
        shape: image(layout, 2, rows, 3 * columns),
      }),
    ),
  ];
}
