/**
 * The contract on inputs that nobody thought of: shapes, scales, outliers and orders at random. A short, fixed
 * stretch runs with every test; `FUZZ=300 npx vitest run test/fuzz.test.ts` goes on for 300 seconds from a seed of
 * the clock's (or SEED), and says how near each bound it came.
 */
import { beforeAll, describe, test } from "vitest";
import {
  geometryOf,
  type Library,
  load,
  normal,
  type Random,
  type Subject,
  seeded,
  statisticsOf,
  variants,
} from "./cases.js";
import { expectHolds, type Verdict } from "./contract.js";
import { measure, type Trial } from "./judge.js";
import type { Geometry } from "./reference.js";

const seconds = Number(process.env.FUZZ ?? 0);
const firstSeed = Number(process.env.SEED ?? (seconds ? Date.now() % 1e9 : 1));
const shortRuns = 120;

const pick = <T>(random: Random, ...options: T[]): T => options[Math.floor(random() * options.length)]!;
/** Log-uniform: small counts as often as large ones. */
const count = (random: Random, most: number) => Math.floor(most ** random());

function anySubject(random: Random): Subject {
  const family = pick(
    random,
    "batch" as const,
    "batch" as const,
    "layer" as const,
    "rms" as const,
    "group" as const,
    "instance" as const,
  );
  const layout = pick(random, "channels-last" as const, "channels-first" as const);
  const channels = count(random, pick(random, 20, 200, 1200));
  const positions = pick(random, [], [], [count(random, 600)], [count(random, 40), count(random, 40)]);
  const spatial = family === "instance" ? [2, ...positions] : positions;
  const room = 200_000 / (channels * spatial.reduce((a, b) => a * b, 1));
  const n = 2 + count(random, Math.max(1, Math.min(3000, room)));
  const first = layout === "channels-first" && family !== "layer" && family !== "rms";
  const divisors = [1, 2, 3, 4, 5, 7, 8, channels].filter((groups) => channels % groups === 0);
  return {
    family,
    layout: first ? "channels-first" : "channels-last",
    shape: first ? [n, channels, ...spatial] : [n, ...spatial, channels],
    ...(family === "group" && { groups: pick(random, ...divisors) }),
    affine: { gamma: random() < 0.7, beta: random() < 0.7 && family !== "rms" },
    eps: pick(random, undefined, undefined, 1e-3, 0),
    activation: random() < 0.2 ? "relu" : undefined,
  };
}

/** Values whose mean, scale, tails, outliers and order differ from group to group. */
function anyValues({ size, groups, group }: Geometry, random: Random, widest: number): Float32Array {
  const wide = random() < 0.3 ? widest : 3;
  const shared = random() < 0.5;
  const make = () => {
    const scale = 10 ** (wide * (2 * random() - 1));
    return {
      scale,
      mean: pick(random, 0, 1, 1) * scale * 10 ** (6 * random()) * (random() < 0.5 ? -1 : 1),
      tail: pick(random, 0, 0, 1, 3),
      outliers: pick(random, 0, 0, 0.3, 0.02, 0.001),
      reach: 10 ** (random() * pick(random, 2, 6, 12)),
      first: random() < 0.2 ? 10 ** (8 * random()) : 0,
      slope: random() < 0.2 ? 10 ** (4 * random() - 2) : 0,
      discrete: random() < 0.1,
    };
  };
  const kinds = shared ? [make()] : Array.from({ length: Math.min(groups, 50) }, make);
  const seen = new Int32Array(groups);
  const x = new Float32Array(size);
  for (let i = 0; i < size; i++) {
    const k = kinds[group[i]! % kinds.length]!;
    const position = seen[group[i]!]!++;
    let z = normal(random);
    if (k.discrete) z = Math.round(z);
    if (k.tail) z *= Math.exp(k.tail * normal(random));
    if (k.outliers && random() < k.outliers) z *= k.reach;
    if (k.first && position === 0) z += k.first;
    z += k.slope * position;
    x[i] = Math.max(-3e38, Math.min(3e38, k.mean + k.scale * z));
  }
  return x;
}

/** dy whose products with rstd and xhat float32 can hold. */
function anyGradient(geometry: Geometry, rstd: Float64Array, random: Random): Float32Array {
  const largest = rstd.reduce((a, b) => Math.max(a, b), 0);
  const dy = anyValues(geometry, random, 10);
  const most = dy.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
  const scale = Math.min(1, 1e36 / (most * largest * 100), 1e30 / most);
  return dy.map((value) => value * scale);
}

/** A trial of anything: BatchNorm sometimes with a mask, with a residual, or frozen. */
function anyTrial(seed: number): Trial {
  const random = seeded(seed);
  const subject = anySubject(random);
  const geometry = geometryOf(subject);
  const x = anyValues(geometry, random, 30);
  const extras = subject.family === "batch" ? anyExtras(subject, geometry, random) : {};
  const { rstd } = statisticsOf(subject, x, geometry, extras.mask);
  // a group of one value over and over has no gradient at eps 0
  const dy = rstd.every(Number.isFinite) ? { dy: anyGradient(geometry, rstd, random) } : {};
  return { subject, x, name: `seed ${seed}`, ...extras, ...dy };
}

function anyExtras({ shape, layout }: Subject, { size }: Geometry, random: Random) {
  const rows = size / (layout === "channels-first" ? shape[1]! : shape.at(-1)!);
  const share = random();
  return {
    ...(random() < 0.2 && {
      mask: Uint8Array.from({ length: rows }, (_, i) => (i < 2 || random() < share ? 1 : 0)),
    }),
    ...(random() < 0.2 && { residual: Float32Array.from({ length: size }, () => normal(random)) }),
    ...(random() < 0.2 && ({ mode: "eval" } as const)),
  };
}

describe.each(variants)("the contract on random inputs, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  test("holds for each", { timeout: 30_000 + 1000 * seconds }, () => {
    const worst = new Map<string, { verdict: Verdict; context: string }>();
    const end = performance.now() + (1000 * seconds) / variants.length;
    for (let run = 0; seconds ? performance.now() < end : run < shortRuns; run++) {
      const { verdicts, context } = measure(library, anyTrial(firstSeed + run));
      for (const verdict of verdicts) {
        const { what, units } = verdict;
        if (units >= (worst.get(what)?.verdict.units ?? 0)) worst.set(what, { verdict, context });
      }
    }
    if (seconds) {
      for (const [what, { verdict, context }] of worst) {
        console.log(`${what}: ${verdict.units.toFixed(3)} u, ${context}`);
      }
    }
    for (const { verdict, context } of worst.values()) expectHolds(verdict, context);
  });
});
