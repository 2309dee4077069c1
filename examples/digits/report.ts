import * as asciichart from "asciichart";
import Table from "cli-table3";
import type { Summary } from "./summary.ts";

const NOTHING = "-";

/** Lines above and below the table and under its head, none between its columns. */
export const LINES = {
  ...{ top: "─", "top-left": "", "top-mid": "──", "top-right": "" },
  ...{ mid: "─", "left-mid": "", "mid-mid": "──", "right-mid": "" },
  ...{ bottom: "─", "bottom-left": "", "bottom-mid": "──", "bottom-right": "" },
  ...{ left: "", middle: "  ", right: "" },
};

/** The arms' figures; fits 80 columns. */
export function table(summaries: readonly Summary[], colour: boolean): string {
  const rows = new Table({
    head: [
      "arm",
      "loss",
      "test\nright %",
      "epochs\nto 95 %",
      "gap\nbefore",
      "gap\nafter",
      "gap,\nunmoved",
      "gradient\nout %",
    ],
    colAligns: ["left", ...Array<"right">(7).fill("right")],
    chars: LINES,
    style: { "padding-left": 0, "padding-right": 0, head: colour ? ["bold"] : [], border: [], compact: true },
  });
  for (const s of summaries) {
    rows.push([
      s.arm.title,
      s.loss < 1e-3 ? s.loss.toExponential(1) : s.loss.toFixed(4),
      figure(100 * s.testAccuracy, 1),
      Number.isNaN(s.epochsTo95) && s.arm.objective === "digits" ? `> ${s.epochs}` : figure(s.epochsTo95, 1),
      figure(s.gapBefore, 2),
      figure(s.gapAfter, 2),
      figure(s.gapUnmoved, 2),
      figure(100 * s.projectedOut, 1),
    ]);
  }
  return rows.toString();
}

function figure(value: number, digits: number): string {
  return Number.isNaN(value) ? NOTHING : value.toFixed(digits);
}

const COLOURS = [asciichart.cyan, asciichart.magenta, asciichart.green, asciichart.yellow];
const LABEL = 7;
const ROWS = 14;

/** The identity gap over the epochs, a curve per arm, each named where it ends. */
export function gapPlot(summaries: readonly Summary[], columns: number, colour: boolean): string {
  const names = Math.max(...summaries.map((s) => s.arm.title.length + 6));
  const width = columns - LABEL - 2 - names;
  const curves = summaries.map((s) => resample(s.gapCurve, width));
  const highest = Math.max(...curves.flat());
  const paint = (text: string, i: number) => (colour ? asciichart.colored(text, COLOURS[i]) : text);
  const lines = asciichart
    .plot(curves, {
      min: 0,
      max: highest,
      height: ROWS,
      offset: 2,
      format: (value) => value.toFixed(1).padStart(LABEL - 2),
      ...(colour ? { colors: COLOURS } : {}),
    })
    .split("\n");

  // From the lowest end up: a name whose place is taken goes one row higher.
  let free = lines.length - 1;
  const ends = summaries
    .map((s, i) => ({ s, i, row: lines.length - 1 - Math.round((s.gapAfter / highest) * ROWS) }))
    .sort((a, b) => b.row - a.row);
  for (const { s, i, row } of ends) {
    const at = Math.min(row, free);
    lines[at] += ` ${paint(`${s.arm.title} ${s.gapAfter.toFixed(2)}`, i)}`;
    free = at - 1;
  }
  return [...lines, " ".repeat(LABEL) + epochAxis(summaries[0]!.epochs, width)].join("\n");
}

/** Every tenth epoch's number under its place, the last one at the right end. */
function epochAxis(epochs: number, width: number): string {
  const last = `epoch ${epochs}`;
  let axis = "";
  for (let epoch = 0; epoch < epochs; epoch += 10) {
    const at = Math.round((epoch / epochs) * (width - 1));
    if (at + String(epoch).length < width - last.length) axis = axis.padEnd(at) + epoch;
  }
  return axis.padEnd(width - last.length) + last;
}

/** `curve` at `points` places evenly spread from its first to its last value, the nearest value at each. */
function resample(curve: readonly number[], points: number): number[] {
  return Array.from(
    { length: points },
    (_, i) => curve[Math.round((i / (points - 1)) * (curve.length - 1))]!,
  );
}
