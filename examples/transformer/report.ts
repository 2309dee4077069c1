import * as asciichart from "asciichart";
import Table from "cli-table3";
import { LINES } from "../digits/report.ts";
import { WAYS, type Way } from "./stream.ts";
import type { Step } from "./train.ts";

/** Steps whose times do not count, or half of all: compilers have theirs, and memory grows. */
const WARM_UP = 10;

/** Medians of one way's steps, in milliseconds; the norms' share of the step is a median too. */
export interface Times {
  steps: number;
  forward: number;
  backward: number;
  norms: number;
  share: number;
  optimizer: number;
  total: number;
}

export function timesOf(steps: readonly Step[], way: Way): Times {
  const warm = steps.slice(Math.min(WARM_UP, steps.length / 2));
  const own = warm.filter((step) => step.way === way);
  const over = (value: (step: Step) => number) => median(own.map(value));
  return {
    steps: own.length,
    forward: over(({ forward }) => forward),
    backward: over(({ backward }) => backward),
    norms: over(({ forward, backward }) => forward + backward),
    share: over(({ forward, backward, total }) => (forward + backward) / total),
    optimizer: over(({ optimizer }) => optimizer),
    total: over(({ total }) => total),
  };
}

const TITLES: Record<Way, string> = { separate: "separate passes", fused: "fused" };

/** Where a step's milliseconds go, with separate passes and fused. */
export function table(steps: readonly Step[], colour: boolean): string {
  const [separate, fused] = WAYS.map((way) => timesOf(steps, way)) as [Times, Times];
  const rows = new Table({
    head: ["median of a step", TITLES.separate, TITLES.fused, "times\nas fast"],
    colAligns: ["left", "right", "right", "right"],
    chars: LINES,
    style: { "padding-left": 0, "padding-right": 0, head: colour ? ["bold"] : [], border: [], compact: true },
  });
  const milliseconds = (title: string, key: "forward" | "backward" | "norms" | "optimizer" | "total") =>
    rows.push([
      title,
      `${separate[key].toFixed(3)} ms`,
      `${fused[key].toFixed(3)} ms`,
      (separate[key] / fused[key]).toFixed(2),
    ]);
  milliseconds("additions and norms, forward", "forward");
  milliseconds("additions and norms, backward", "backward");
  milliseconds("both", "norms");
  rows.push(["their share of the step", percent(separate.share), percent(fused.share), ""]);
  milliseconds("clipGradNorm and AdamW", "optimizer");
  milliseconds("the step", "total");
  return rows.toString();
}

const LABEL = 7;

/** The loss over the steps; each point is the mean of its share of them. */
export function lossPlot(steps: readonly Step[], columns: number): string {
  const points = Math.min(steps.length, columns - LABEL - 2);
  const curve = Array.from({ length: points }, (_, i) => {
    const from = Math.floor((i * steps.length) / points);
    const to = Math.floor(((i + 1) * steps.length) / points);
    return mean(steps.slice(from, to).map(({ loss }) => loss));
  });
  const last = `step ${steps.length}`;
  const plot = asciichart.plot(curve, {
    height: 12,
    offset: 2,
    format: (value) => value.toFixed(2).padStart(LABEL - 2),
  });
  return `${plot}\n${" ".repeat(LABEL)}${"step 1".padEnd(Math.max(7, points - last.length))}${last}`;
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length / 2;
  return (sorted[Math.floor(middle)]! + sorted[Math.ceil(middle) - 1]!) / 2;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(2)} %`;
}
