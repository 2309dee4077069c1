/**
 * Masks of the families that normalize each example by itself. Where examples are rows, those that do not count are left out of
 * backward alone; else each example has its own positions that count, and goes through the kernels by itself.
 */
import type { Context } from "./context.js";
import { bitBytes, type Geometry, parametersOf, valuesOf } from "./geometry.js";
import { DOUBLE, FIELD, STEP } from "./pass.js";
import { runBackward, runForward } from "./run.js";
import type { Segments } from "./segments.js";
import { prepare } from "./workspace.js";

/** Whether a mask's rows are examples, or lie in several; not those of a batch, whose statistics go over all of it. */
export const isApart = (g: Geometry): boolean => g.perElement || g.outer > 1;

/** How many values a mask has. */
export const flagsOf = (g: Geometry): number => (g.perElement ? g.outer : g.outer * g.rows * g.length);

/** What no segment crosses a multiple of: the rows of an example, or a run; short segments cost time, and other sums. */
export const unitOf = (g: Geometry): number => (g.perElement || g.length === 1 ? positionsOf(g) : g.length);

/** Positions of an example that a mask has a value for; where examples are rows, all of them. */
const positionsOf = (g: Geometry): number => (g.perElement ? g.outer : g.rows * g.length);

/** Examples that go through the kernels together. */
interface Part {
  at: number;
  outer: number;
  /** Pairs from `first` on. */
  first: number;
  pairs: number;
  count: number;
}

/** The fewest values behind a statistic; of examples of which some count. */
export function leastOf(g: Geometry, segments: Segments): number {
  if (g.perElement) return g.length;
  const counts = partsOf(g, segments).map(({ count }) => count);
  return counts.reduce(
    (least, count) => (count > 0 && count < least ? count : least),
    Number.POSITIVE_INFINITY,
  );
}

/** The values behind the statistics of each example; of a batch, `count`. */
export const countsOf = (g: Geometry, segments: Segments | undefined, count: number): number[] =>
  segments && isApart(g) ? partsOf(g, segments).map((part) => part.count) : new Array(g.outer).fill(count);

/** The parts of a pass. */
function partsOf(g: Geometry, { pairs }: Segments): Part[] {
  const parts: Part[] = [];
  if (g.perElement) {
    for (let i = 0; i < pairs.length; i += 2) {
      parts.push({ at: pairs[i]!, outer: pairs[i + 1]! - pairs[i]!, first: i, pairs: 0, count: g.length });
    }
    return parts;
  }
  const unit = positionsOf(g);
  let i = 0;
  for (let at = 0; at < g.outer; at++) {
    const first = i;
    let positions = 0;
    for (; i < pairs.length && pairs[i]! < (at + 1) * unit; i += 2) positions += pairs[i + 1]! - pairs[i]!;
    parts.push({ at, outer: 1, first, pairs: (i - first) / 2, count: positions * g.width });
  }
  return parts;
}

const MINIBATCHES = ["x", "y", "dy", "dx", "residual", "dresidual"] as const;
const STATISTICS = ["mean", "variance", "rstd"] as const;

/**
 * Runs a planned pass part by part. `pairs` is where the segments lie; they become relative to their example.
 * Backward: dgamma and dbeta are the sums over parts, dx of what does not count is not written.
 */
export function runParts(
  context: Context,
  segments: Segments,
  pairs: number,
  backward: boolean,
  steps: number,
): void {
  const { pass, held, places } = context;
  const g = places!.geometry;
  const n = parametersOf(g);
  const values = (4 * valuesOf(g)) / (g.outer || 1);
  const bits = bitBytes(g) / (g.outer || 1);
  const unit = positionsOf(g);
  const before = new Map(
    [...MINIBATCHES, ...STATISTICS, "bits" as const].map((name) => [name, pass.get(FIELD[name])]),
  );
  const dgamma = new Float64Array(backward ? n : 0);
  const dbeta = new Float64Array(backward ? n : 0);
  const rms = g.rms ? STEP.RMS : 0;
  for (const part of partsOf(g, segments)) {
    const own = g.perElement ? 0 : part.pairs;
    if (backward && part.count === 0) continue;
    for (const name of MINIBATCHES) {
      const base = before.get(name)!;
      pass.set(FIELD[name], base && base + part.at * values);
    }
    for (const name of STATISTICS) pass.set(FIELD[name], before.get(name)! + 8 * part.at * g.groups);
    const base = before.get("bits")!;
    pass.set(FIELD.bits, base && base + part.at * bits);
    for (let i = 0; i < 2 * own; i++) {
      held.u32[pairs / 4 + part.first + i] = segments.pairs[part.first + i]! - part.at * unit;
    }
    pass.set(FIELD.segments, own && pairs + 4 * part.first);
    pass.set(FIELD.segmentCount, own);
    pass.set(FIELD.outer, part.outer);
    pass.setDouble(DOUBLE.count, part.count);
    let now = steps;
    if (!backward && part.count === 0) {
      // Nothing counts: a spread without bounds leaves beta alone.
      now = STEP.APPLY;
      held.f64.fill(0, pass.get(FIELD.mean) / 8, pass.get(FIELD.mean) / 8 + g.groups);
      held.f64.fill(Infinity, pass.get(FIELD.variance) / 8, pass.get(FIELD.variance) / 8 + g.groups);
    }
    pass.set(FIELD.steps, now | rms);
    prepare(held, pass, { ...g, outer: part.outer });
    if (backward) runBackward(held, pass);
    else runForward(held, pass);
    if (!backward) continue;
    for (let i = 0; i < n; i++) {
      dgamma[i]! += held.f64[pass.get(FIELD.dgamma) / 8 + i]!;
      dbeta[i]! += held.f64[pass.get(FIELD.dbeta) / 8 + i]!;
    }
  }
  for (const [name, value] of before) pass.set(FIELD[name], value);
  pass.set(FIELD.outer, g.outer);
  context.forgetPlan();
  if (!backward) return;
  prepare(held, pass, g);
  held.f64.set(dgamma, pass.get(FIELD.dgamma) / 8);
  held.f64.set(dbeta, pass.get(FIELD.dbeta) / 8);
}
