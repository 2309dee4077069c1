/**
 * A search for the worst error: inputs are described by a handful of numbers (scale, offset, length, order, outliers),
 * which are drawn at random and then changed a little at a time, keeping what brings some result nearer to its bound or
 * beyond.
 */
import {
  geometryOf,
  type Library,
  normal,
  type Random,
  type Subject,
  seeded,
  statisticsOf,
  type Variant,
} from "../cases.js";
import { measure, type Trial } from "../judge.js";
import type { Family, Geometry, Layout } from "../reference.js";

const families = ["batch", "layer", "rms", "group", "instance"] as const satisfies Family[];
const layouts = ["channels-last", "channels-first"] as const satisfies Layout[];
const orders = ["shuffled", "ascending", "descending", "alternating", "step", "burst"] as const;
const places = ["none", "first", "last", "middle", "few"] as const;

/** One input, all of it. Exponents are decimal. */
export interface Genes {
  family: Family;
  layout: Layout;
  /** Values of a group or thereabouts, and groups or channels. */
  length: number;
  channels: number;
  positions: number;
  frozen: boolean;
  relu: boolean;
  eps: number;
  seed: number;
  /** Exponent of the spread, |mean| / spread and its sign, and how unlike channels are in both. */
  scale: number;
  offset: number;
  sign: number;
  unlike: number;
  /** How heavy the tails are; steps that values are rounded to, in spreads. */
  tail: number;
  step: number;
  order: (typeof orders)[number];
  /** Where outliers lie, how far away in spreads (exponent), on which side. */
  place: (typeof places)[number];
  reach: number;
  /** The same of dy: spread, mean / spread, tails, and its likeness to xhat. */
  dyScale: number;
  dyOffset: number;
  dyTail: number;
  along: number;
}

const between = (random: Random, low: number, high: number) => low + (high - low) * random();
const oneOf = <T>(random: Random, options: readonly T[]): T =>
  options[Math.floor(random() * options.length)]!;
/** Log-uniform whole numbers. */
const extent = (random: Random, most: number) => Math.max(1, Math.floor(most ** random()));

const draws: { [gene in keyof Genes]: (random: Random) => Genes[gene] } = {
  family: (random) => oneOf(random, families),
  layout: (random) => oneOf(random, layouts),
  length: (random) => 1 + extent(random, 5000),
  channels: (random) => extent(random, 70),
  positions: (random) => extent(random, 300),
  frozen: (random) => random() < 0.15,
  relu: (random) => random() < 0.15,
  eps: (random) => oneOf(random, [1e-5, 1e-5, 0, 1e-3, 1e-12]),
  seed: (random) => Math.floor(random() * 2 ** 32),
  scale: (random) => (random() < 0.5 ? between(random, -3, 3) : between(random, -30, 30)),
  offset: (random) => between(random, -2, 6),
  sign: (random) => oneOf(random, [-1, 1]),
  unlike: (random) => oneOf(random, [0, 0, 0.5, 3]),
  tail: (random) => oneOf(random, [0, 0, 1, 3]),
  step: (random) => oneOf(random, [0, 0, 0, 0.5, 1]),
  order: (random) => oneOf(random, orders),
  place: (random) => oneOf(random, places),
  reach: (random) => between(random, 0, 9),
  dyScale: (random) => (random() < 0.7 ? 0 : between(random, -15, 15)),
  dyOffset: (random) => between(random, -2, 6),
  dyTail: (random) => oneOf(random, [0, 0, 1, 3]),
  along: (random) => oneOf(random, [0, 0, 1, 100]),
};
const names = Object.keys(draws) as (keyof Genes)[];

export const anyGenes = (random: Random): Genes =>
  Object.fromEntries(names.map((name) => [name, draws[name](random)])) as unknown as Genes;

/** The same but for a gene or three; numbers move a little or are drawn anew. */
function mutated(genes: Genes, random: Random): Genes {
  const changed: Record<string, unknown> = { ...genes };
  for (let count = 1 + Math.floor(3 * random() ** 2); count > 0; count--) {
    const name = oneOf(random, names);
    const value = changed[name];
    const smooth = typeof value === "number" && !["seed", "sign", "eps", "step", "tail"].includes(name);
    if (!smooth || random() < 0.3) changed[name] = draws[name](random);
    else if (Number.isInteger(value) && ["length", "channels", "positions"].includes(name)) {
      changed[name] = Math.max(1, Math.round(value * 2 ** (random() - 0.5)) + oneOf(random, [-1, 0, 1]));
    } else changed[name] = value + 0.3 * normal(random);
  }
  return { ...(changed as unknown as Genes), scale: Math.max(-36, Math.min(36, changed.scale as number)) };
}

/** Of most trials; one in sixteen has ten times as many. */
const MOST_VALUES = 8_000;

function subjectOf(genes: Genes): Subject {
  const { family, layout } = genes;
  const channels = Math.min(genes.channels, 300);
  const most = genes.seed % 16 ? MOST_VALUES : 10 * MOST_VALUES;
  const rows = Math.max(2, Math.min(genes.length, Math.floor(most / channels)));
  const common = {
    eps: genes.eps,
    activation: genes.relu ? ("relu" as const) : undefined,
    affine: { gamma: genes.seed % 4 > 0, beta: family !== "rms" && genes.seed % 3 > 0 },
  };
  if (family === "layer" || family === "rms") return { family, shape: [channels, rows], ...common };
  const positions = Math.max(1, Math.min(genes.positions, Math.floor(rows / 2)));
  // statistics for each example have their length in the positions
  const [n, inner] = family === "batch" ? [Math.max(2, Math.floor(rows / positions)), positions] : [2, rows];
  const groups = [4, 3, 2, 1].find((each) => channels % each === 0)!;
  const shape = layout === "channels-first" ? [n, channels, inner] : [n, inner, channels];
  return { family, layout, shape, ...(family === "group" && { groups }), ...common };
}

function arrange(values: Float64Array, { order, place, reach, sign }: Genes): void {
  const n = values.length;
  if (order === "ascending" || order === "descending") values.sort();
  if (order === "descending") values.reverse();
  if (order === "alternating")
    for (let i = 0; i < n; i++) values[i] = i % 2 ? -Math.abs(values[i]!) : Math.abs(values[i]!);
  if (order === "step") for (let i = n >> 1; i < n; i++) values[i]! += 10 ** (reach / 3);
  // a block of rows, as kernels sum them, that is far away
  if (order === "burst")
    for (let i = n >> 1; i < Math.min(n, (n >> 1) + 16); i++) values[i]! += 10 ** (reach / 2);
  const far = sign * 10 ** reach;
  if (place === "first") values[0] = far;
  if (place === "last") values[n - 1] = far;
  if (place === "middle") values[n >> 1] = far;
  if (place === "few") for (let i = 3; i < n; i += 17) values[i] = i % 2 ? far : -far / 3;
}

const most32 = 3.4e38;
const clamp = (value: number) => Math.max(-most32, Math.min(most32, value));

function inputOf(genes: Genes, { size, groups, group }: Geometry): Float32Array {
  const random = seeded(genes.seed);
  const counts = new Int32Array(groups);
  for (let i = 0; i < size; i++) counts[group[i]!]!++;
  const values = Array.from(counts, (n) => {
    const spread = 10 ** (genes.scale + genes.unlike * (random() - 0.5));
    const mean = genes.sign * spread * 10 ** (genes.offset + genes.unlike * (random() - 0.5));
    const made = Float64Array.from({ length: n }, () => {
      const z = normal(random) * (genes.tail ? Math.exp(genes.tail * normal(random)) : 1);
      return genes.step ? Math.round(z / genes.step) * genes.step : z;
    });
    arrange(made, genes);
    return made.map((z) => clamp(mean + spread * z));
  });
  const next = new Int32Array(groups);
  return Float32Array.from({ length: size }, (_, i) => values[group[i]!]![next[group[i]!]!++]!);
}

/** dy whose products with rstd and xhat float32 can hold; undefined where there is no such thing. */
function gradientOf(
  genes: Genes,
  x: Float32Array,
  geometry: Geometry,
  subject: Subject,
): Float32Array | undefined {
  const { mean, rstd } = statisticsOf(subject, x, geometry);
  if (!rstd.every(Number.isFinite)) return;
  const random = seeded(genes.seed ^ 0x5bd1e995);
  const scale = 10 ** genes.dyScale;
  const dy = Float64Array.from(x, (value, i) => {
    const g = geometry.group[i]!;
    const z = normal(random) * (genes.dyTail ? Math.exp(genes.dyTail * normal(random)) : 1);
    return scale * (z + genes.along * (value - mean[g]!) * rstd[g]! + 10 ** genes.dyOffset);
  });
  const largest = (array: Float64Array) => array.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const fits = Math.min(1, 1e30 / largest(dy), 1e36 / (100 * largest(dy) * largest(Float64Array.from(rstd))));
  return Float32Array.from(dy, (value) => value * fits);
}

export function trialOf(genes: Genes): Trial {
  const subject = subjectOf(genes);
  const geometry = geometryOf(subject);
  const x = inputOf(genes, geometry);
  const dy = gradientOf(genes, x, geometry, subject);
  const frozen = genes.frozen && genes.family === "batch";
  return { subject, x, ...(dy && { dy }), ...(frozen && { mode: "eval" }), name: JSON.stringify(genes) };
}

/** A case that was found: its genes, the result that came nearest to its bound, and how near (1 is the bound). */
export interface Found {
  variant: Variant;
  what: string;
  near: number;
  genes: Genes;
}

/** How near each result of a trial comes to its bound. */
export function judged(library: Library, genes: Genes): { what: string; near: number }[] {
  return measure(library, trialOf(genes)).verdicts.map(({ what, units, limit }) => ({
    what,
    near: limit ? units / limit : units && Number.POSITIVE_INFINITY,
  }));
}

/**
 * Climbs from the best of a few draws of one family towards the bound of one of its results, until `patience` steps in a
 * row brought nothing; yields every trial that it made.
 */
export function* climb(
  library: Library,
  random: Random,
  patience: number,
): Generator<Omit<Found, "variant">[]> {
  const family = draws.family(random);
  let target: string | undefined;
  let genes: Genes | undefined;
  let best = -1;
  for (let draw = 0, failures = 0; failures < patience; draw++) {
    const other = draw < 6 ? { ...anyGenes(random), family } : { ...mutated(genes!, random), family };
    const results = judged(library, other);
    target ??= oneOf(random, results).what;
    yield results.map((result) => ({ ...result, genes: other }));
    const near = results.find(({ what }) => what === target)?.near ?? 0;
    if (near > best) {
      best = near;
      genes = other;
      failures = 0;
    } else failures++;
  }
}
