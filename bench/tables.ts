/** The figures as text: tables for the terminal and for markdown, and who wins in sentences. */
import Table from "cli-table3";
import type { Op } from "./contenders/contender.ts";
import { contenders } from "./contenders/index.ts";
import type { Figures, Row, ShapeFigures } from "./figures.ts";
import type { ShapeSet } from "./shapes.ts";
import { geometricMean } from "./statistics.ts";

export const opNames: Record<Op, string> = {
  train: "training forward",
  eval: "evaluation forward",
  backward: "backward",
  copy: "memory copy",
};
export const timedOps: Op[] = ["train", "eval", "backward"];

export function number(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return "";
  if (value >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toPrecision(value < 1 ? 2 : 3);
}

/** A row a shape, a column a contender: medians in microseconds. */
export function timesTable(shapes: ShapeFigures[], op: Op): string[][] {
  const names = contenders.map(({ name }) => name);
  const present = names.filter((name) => shapes.some(({ rows }) => find(rows, name, op)));
  const body = shapes
    .filter(({ rows }) => rows.some((row) => row.op === op))
    .map(({ shape, rows }) => [
      shape.name,
      number(rows.find((row) => row.op === "copy")?.us.median),
      ...present.map((name) => number(find(rows, name, op)?.us.median)),
    ]);
  return [[`${opNames[op]}, us`, "memory copy", ...present], ...body];
}

/** Everything that was measured on one shape, a row a contender and operation. */
export function detailsTable({ rows }: ShapeFigures): string[][] {
  const head = [
    "contender",
    "operation",
    "median us",
    "p10..p90",
    "GB/s",
    "copies",
    "/ best native",
    "/ best JS",
    "error, u",
  ];
  const body = rows.map((row) => [
    row.contender,
    opNames[row.op],
    number(row.us.median),
    `${number(row.us.p10)}..${number(row.us.p90)}`,
    number(row.gbPerSecond),
    number(row.copies),
    number(row.ofBestNative),
    number(row.ofBestJavaScript),
    row.error.toFixed(2),
  ]);
  return [head, ...body];
}

function find(rows: Row[], contender: string, op: Op): Row | undefined {
  return rows.find((row) => row.contender === contender && row.op === op);
}

/** Ours on Tensors: the fastest variant that ran on that runtime. */
export function ours({ rows }: ShapeFigures, op: Op): Row | undefined {
  return find(rows, "wasm-norm relaxed-simd", op) ?? find(rows, "wasm-norm simd", op);
}

/** How ours compares with each other contender over many shapes: how many times as fast, and where it loses. */
export function comparisonTable(shapes: ShapeFigures[]): string[][] {
  const head = ["against", "operation", "shapes", "times as fast (geometric mean)", "least", "slower at"];
  const body: string[][] = [];
  for (const { name, kind } of contenders) {
    if (kind === "ours" || kind === "copy") continue;
    for (const op of timedOps) {
      const pairs = shapes.flatMap((figures) => {
        const mine = ours(figures, op);
        const theirs = find(figures.rows, name, op);
        return mine && theirs
          ? [{ shape: figures.shape.name, ratio: theirs.us.median / mine.us.median }]
          : [];
      });
      if (pairs.length === 0) continue;
      const ratios = pairs.map(({ ratio }) => ratio);
      const lost = pairs
        .filter(({ ratio }) => ratio < 1)
        .map(({ shape, ratio }) => `${shape} (${number(ratio)})`);
      body.push([
        name,
        opNames[op],
        String(pairs.length),
        number(geometricMean(ratios)),
        number(Math.min(...ratios)),
        lost.join("; ") || "none",
      ]);
    }
  }
  return [head, ...body];
}

export function forTerminal([head, ...body]: string[][]): string {
  const table = new Table({
    head: head!,
    colAligns: head!.map((_, column) => (column === 0 ? "left" : "right")),
    style: { head: [], border: [], compact: true },
    wordWrap: true,
  });
  table.push(...body);
  return table.toString();
}

export function forMarkdown([head, ...body]: string[][]): string {
  const line = (cells: string[]) => `| ${cells.join(" | ")} |`;
  return [line(head!), line(head!.map((_, column) => (column ? "---:" : "---"))), ...body.map(line)].join(
    "\n",
  );
}

/** The tables of the sets that were measured, as the run's own output. */
export function printTables(figures: Figures, runtime: string, sets: Set<ShapeSet>): void {
  for (const set of sets) {
    const shapes = figures.shapes.filter((entry) => entry.runtime === runtime && entry.shape.set === set);
    for (const op of timedOps) {
      const table = timesTable(shapes, op);
      if (table.length > 1) console.log(`\n${runtime}, ${set}\n${forTerminal(table)}`);
    }
    const comparison = comparisonTable(shapes);
    if (comparison.length > 1) console.log(`\n${runtime}, ${set}: wasm-norm\n${forTerminal(comparison)}`);
  }
}
