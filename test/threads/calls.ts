/** Calls of every family, layout and epilogue that fall into several tiles. */
import { betas, gammas, type Library, normals } from "../cases.js";

/** What calls gave, by name. */
export type Results = Map<string, Float32Array | Float64Array>;

export interface Big {
  name: string;
  shape: readonly number[];
  make: (library: Library, options: object) => InstanceType<Library["BatchNorm"]>;
  /** Whether scale, shift, gate and stream are taken. */
  rows: boolean;
}

const layer = (make: (library: Library, options: object) => unknown) => make as Big["make"];

export const big: readonly Big[] = [
  {
    name: "batch norm, near",
    shape: [300, 1001],
    make: layer((l, o) => new l.BatchNorm(1001, o)),
    rows: false,
  },
  {
    name: "batch norm, far",
    shape: [5003, 272],
    make: layer((l, o) => new l.BatchNorm(272, o)),
    rows: false,
  },
  {
    name: "batch norm, rows side by side",
    shape: [12001, 24],
    make: layer((l, o) => new l.BatchNorm(24, o)),
    rows: false,
  },
  {
    name: "batch norm channels-first",
    shape: [9, 70, 333],
    make: layer((l, o) => new l.BatchNorm(70, { ...o, layout: "channels-first" })),
    rows: false,
  },
  { name: "layer norm", shape: [200, 1024], make: layer((l, o) => new l.LayerNorm(1024, o)), rows: true },
  { name: "rms norm", shape: [450, 333], make: layer((l, o) => new l.RMSNorm(333, o)), rows: true },
  {
    name: "layer norm channels-first",
    shape: [3, 96, 700],
    make: layer((l, o) => new l.LayerNorm(96, { ...o, layout: "channels-first" })),
    rows: true,
  },
  {
    name: "group norm, small examples",
    shape: [37, 100, 60],
    make: layer((l, o) => new l.GroupNorm(4, 60, { ...o, layout: "channels-last" })),
    rows: false,
  },
  {
    name: "group norm, split examples",
    shape: [2, 1500, 96],
    make: layer((l, o) => new l.GroupNorm(8, 96, { ...o, layout: "channels-last" })),
    rows: false,
  },
  {
    name: "group norm channels-first",
    shape: [2, 24, 5003],
    make: layer((l, o) => new l.GroupNorm(6, 24, o)),
    rows: false,
  },
  {
    name: "instance norm",
    shape: [11, 33, 500],
    make: layer((l, o) => new l.InstanceNorm(33, { ...o, affine: true })),
    rows: false,
  },
];

/** What comes around the normalization. */
export const around = [
  "plain",
  "relu",
  "residual",
  "residual, relu",
  "gelu",
  "residual, silu",
  "modulation, gelu",
  "gate, stream",
  "evaluation, in place",
  "mask",
] as const;

/** Those without stages: enough where what differs is who runs a tile. */
export const few: readonly (typeof around)[number][] = ["plain", "residual, relu", "evaluation, in place"];

export const takes = ({ name, rows, shape }: Big, what: (typeof around)[number]): boolean =>
  (rows || !(what.startsWith("gate") || (what === "mask" && shape.length > 2))) &&
  (!name.endsWith("far") || few.includes(what));

/** Runs a layer forward and backward on Tensors and on arrays, and tells all that came of it. */
export function call(library: Library, { shape, make }: Big, what: (typeof around)[number]): Results {
  const activation = /relu|gelu|silu/.exec(what)?.[0];
  const module = make(library, activation ? { activation } : {});
  const results: Results = new Map();
  const size = shape.reduce((a, b) => a * b);
  const channels = module.beta?.data.length ?? module.gamma!.data.length;
  module.gamma?.data.set(gammas(channels));
  module.beta?.data.set(betas(channels));
  const x = normals(size, 1, 2, 3);
  const dy = normals(size, 2);
  const all: { dispose(): void }[] = [module];
  const held = (values: Float32Array) => {
    const one = library.tensor(shape, values);
    all.push(one);
    return one;
  };
  const note = (name: string, value: { toArray(): Float32Array } | Float32Array | Float64Array | null) => {
    if (value) results.set(name, "toArray" in value ? value.toArray() : value.slice());
  };
  const options: Record<string, unknown> = {};
  if (what.includes("residual")) options.residual = held(normals(size, 3));
  if (what.includes("gate")) options.gate = held(normals(size, 4));
  if (what.includes("stream")) options.stream = held(normals(size, 5));
  if (what.includes("modulation")) {
    const row = [shape[0]!, channels];
    const one = (seed: number) => library.tensor(row, normals(row[0]! * row[1]!, seed, 0.1));
    options.modulation = { scale: one(6), shift: one(7) };
    all.push(...Object.values(options.modulation as Record<string, { dispose(): void }>));
  }
  if (what === "mask") {
    const length = shape.length > 2 ? shape[0]! * shape.at(-1)! : shape[0]!;
    options.mask = Uint8Array.from({ length }, (_, i) => Number(i % 7 !== 3));
  }
  const given = held(x);
  const y = held(dy);
  if (what.startsWith("evaluation")) {
    if ("runningMean" in module && module.runningMean) {
      module.runningMean = normals(channels, 8);
      module.eval();
    } else module.eval();
    const other = held(x);
    module.forwardInto(other, other);
    note("y in place", other);
    module.train();
  }
  module.forwardInto(given, y, options as never);
  note("y", y);
  note("mean", module.mean);
  note("rstd", module.rstd);
  if (options.stream) note("stream", options.stream as typeof y);
  const dx = held(dy);
  const back = options.stream ? { stream: held(normals(size, 9)) } : {};
  module.backwardInto(dx, dx, { ...back, retain: true } as never);
  note("dx in place", dx);
  if (back.stream) note("dstream", back.stream);
  for (const name of ["gamma", "beta"] as const) if (module[name]) note(`d${name}`, module[name].grad);
  if (module.residualGrad) note("residualGrad", module.residualGrad as typeof y);
  const apart = held(dy);
  if (!options.stream) {
    module.backwardInto(held(dy), apart);
    note("dx", apart);
    const half = library.tensor(shape, x, { dtype: "bfloat16" });
    all.push(half);
    module.forwardInto(half, y, options as never);
    note("y of bfloat16", y);
    module.backwardInto(half, half, { retain: true });
    note("dx of bfloat16", half);
    note(
      "y of an array",
      module.forward(
        x,
        options.modulation || options.residual ? (shape as number[]) : ({ ...options, shape } as never),
      ) as Float32Array,
    );
    note("dx of an array", module.backward(dy) as Float32Array);
  }
  for (const one of all) one.dispose();
  return results;
}

export function differences(a: Results, b: Results): string[] {
  const bytes = (v: Float32Array | Float64Array) => Buffer.from(v.buffer, v.byteOffset, v.byteLength);
  const names = new Set([...a.keys(), ...b.keys()]);
  return [...names].filter((name) => {
    const [one, two] = [a.get(name), b.get(name)];
    return !one || !two || Buffer.compare(bytes(one), bytes(two)) !== 0;
  });
}
