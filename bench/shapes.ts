/** The shapes that are measured, by name, in sets that a run can choose from. */

export type Family = "batch-norm" | "layer-norm" | "rms-norm";
export type Layout = "channels-last" | "channels-first";

/** What networks have around a normalization. */
export type Around = "relu" | "residual" | "stream" | "modulation" | "gate" | "silu" | "gelu";

/**
 * A minibatch: `n` examples of `c` channels of `h` by `w` positions. Layer and RMS norm see `n` rows of `c`
 * features (`h = w = 1`).
 */
export interface Shape {
  name: string;
  set: ShapeSet;
  family: Family;
  layout: Layout;
  n: number;
  c: number;
  h: number;
  w: number;
  /** What is done beside it; nothing where it is left out. */
  around?: Around;
}

export const shapeSets = ["dense", "images", "resnet50", "transformer", "sizes", "calls", "around"] as const;
export type ShapeSet = (typeof shapeSets)[number];
/** Sets of norms with nothing around them: those of the report. */
export const plainSets = shapeSets.filter((set) => set !== "around");

/** Number of values in the minibatch. */
export function sizeOf({ n, c, h, w }: Shape): number {
  return n * c * h * w;
}

/** Positions of an example, which share a row of scale and shift. */
export const POSITIONS = 64;

/** Values of scale, and of shift. */
export function modulationOf({ n, c }: Shape): number {
  return (n / POSITIONS) * c;
}

/** The minibatch's shape as libraries are given it; dense shapes have two axes, images four. */
export function axesOf({ layout, n, c, h, w, around }: Shape): number[] {
  if (around === "modulation") return [n / POSITIONS, POSITIONS, c];
  if (h * w === 1) return [n, c];
  return layout === "channels-last" ? [n, h, w, c] : [n, c, h, w];
}

function dense(set: ShapeSet, family: Family, n: number, c: number, name = `${n} x ${c}`): Shape {
  return { name, set, family, layout: "channels-last", n, c, h: 1, w: 1 };
}

function image(set: ShapeSet, layout: Layout, n: number, c: number, side: number, network = ""): Shape {
  const name = `${network}${n} x ${c} x ${side} x ${side}, ${layout}`;
  return { name, set, family: "batch-norm", layout, n, c, h: side, w: side };
}

const layouts: Layout[] = ["channels-first", "channels-last"];

/** Rows by channels, from what fits the first-level cache to what fits none. */
const denseShapes = [
  [64, 64],
  [256, 256],
  [256, 1024],
  [1024, 1024],
  [4096, 1024],
  [32768, 256],
  [32768, 64],
  [8192, 4096],
] as const;

/** Channels and side of every distinct batch normalization in ResNet-50 (He et al. 2015, table 1). */
const resnet50 = [
  [64, 112],
  [64, 56],
  [256, 56],
  [128, 56],
  [128, 28],
  [512, 28],
  [256, 28],
  [256, 14],
  [1024, 14],
  [512, 14],
  [512, 7],
  [2048, 7],
] as const;

/** Tokens by features: BERT's base width, GPT-2's medium, a width of today's. */
const transformer = [
  [512, 768],
  [2048, 1024],
  [4096, 4096],
] as const;

/** So small that the call itself is what costs. */
const calls = [
  [4, 4],
  [16, 16],
  [32, 32],
] as const;

/** Cost against size: 64 channels, 1 kB to 1 GB in steps of four. */
const sizes = Array.from({ length: 11 }, (_, i) => 1024 * 4 ** i);

/** What stands around which family in networks of today. */
const surroundings: [Family, Around[]][] = [
  ["layer-norm", ["relu", "residual", "stream", "modulation", "gate", "silu", "gelu"]],
  ["rms-norm", ["stream", "gate", "silu"]],
  ["batch-norm", ["relu", "residual", "silu"]],
];

const titles: Record<Family, string> = {
  "batch-norm": "batch norm",
  "layer-norm": "layer norm",
  "rms-norm": "RMS norm",
};

function surrounded(n: number, c: number): Shape[] {
  return surroundings.flatMap(([family, arounds]) =>
    arounds.map((around) => ({
      ...dense("around", family, n, c, `${titles[family]} + ${around} ${n} x ${c}`),
      around,
    })),
  );
}

export const shapes: Shape[] = [
  ...denseShapes.map(([n, c]) => dense("dense", "batch-norm", n, c)),
  ...[64, 256].flatMap((c) => layouts.map((layout) => image("images", layout, 32, c, c === 64 ? 56 : 14))),
  ...resnet50.flatMap(([c, side]) =>
    layouts.map((layout) => image("resnet50", layout, 32, c, side, "ResNet-50 ")),
  ),
  ...transformer.flatMap(([n, c]) => [
    dense("transformer", "layer-norm", n, c, `layer norm ${n} x ${c}`),
    dense("transformer", "rms-norm", n, c, `RMS norm ${n} x ${c}`),
  ]),
  ...sizes.map((bytes) => dense("sizes", "batch-norm", bytes / 4 / 64, 64, nameOfSize(bytes))),
  ...calls.flatMap(([n, c]) => [
    dense("calls", "batch-norm", n, c),
    dense("calls", "layer-norm", n, c, `layer norm ${n} x ${c}`),
    dense("calls", "rms-norm", n, c, `RMS norm ${n} x ${c}`),
  ]),
  // x and y in the second-level cache, and beyond that of any processor of today
  ...surrounded(128, 768),
  ...surrounded(2048, 1024),
];

function nameOfSize(bytes: number): string {
  const power = Math.floor(Math.log2(bytes) / 10);
  return `${bytes / 1024 ** power} ${["B", "kB", "MB", "GB"][power]}`;
}

/** Small ones of every family and layout, odd sizes included: what `--quick` checks. */
export const quickShapes: Shape[] = [
  dense("calls", "batch-norm", 5, 3),
  dense("dense", "batch-norm", 64, 64),
  dense("dense", "batch-norm", 37, 19),
  dense("dense", "batch-norm", 256, 1024),
  image("images", "channels-first", 4, 6, 7),
  image("images", "channels-last", 4, 6, 7),
  image("images", "channels-first", 8, 64, 14),
  image("images", "channels-last", 8, 64, 14),
  dense("transformer", "layer-norm", 33, 70, "layer norm 33 x 70"),
  dense("transformer", "layer-norm", 128, 768, "layer norm 128 x 768"),
  dense("transformer", "rms-norm", 33, 70, "RMS norm 33 x 70"),
  dense("transformer", "rms-norm", 128, 768, "RMS norm 128 x 768"),
  ...surrounded(128, 72),
];
