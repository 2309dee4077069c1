/** The figures as text: tables for the terminal and for markdown, and who wins in sentences. */
import Table from "cli-table3";
import type { Op } from "./contenders/contender.ts";
import { contenders } from "./contenders/index.ts";
import type { Row, ShapeFigures } from "./figures.ts";
import type { Machine } from "./machine.ts";
import { sizeOf } from "./shapes.ts";
import { geometricMean } from "./statistics.ts";

export const opNames: Record<Op, string> = {
  train: "training forward",
  eval: "evaluation forward",
  backward: "backward",
  copy: "memory copy",
  norm: "norm alone",
  "norm-backward": "norm alone, backward",
};
export const timedOps: Op[] = ["train", "eval", "backward"];

export function number(value: number | null | undefined): string {
  if (value == null || !Number.isFinite(value)) return "";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toPrecision(Math.abs(value) < 1 ? 2 : 3);
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

/** Their time over ours on each shape that both have. */
export function ratios(
  shapes: ShapeFigures[],
  contender: string,
  op: Op,
): { shape: string; ratio: number }[] {
  return shapes.flatMap((figures) => {
    const mine = ours(figures, op);
    const theirs = find(figures.rows, contender, op);
    return mine && theirs ? [{ shape: figures.shape.name, ratio: us(theirs) / us(mine) }] : [];
  });
}

/** How ours compares with each other contender over many shapes: how many times as fast, and where it loses. */
export function comparisonTable(shapes: ShapeFigures[]): string[][] {
  const head = ["against", "operation", "shapes", "times as fast (geometric mean)", "least", "slower at"];
  const body = contenders.flatMap(({ name, kind }) => {
    if (kind === "ours" || kind === "copy") return [];
    return timedOps.flatMap((op) => {
      const all = ratios(shapes, name, op);
      if (all.length === 0) return [];
      const values = all.map(({ ratio }) => ratio);
      const lost = all
        .filter(({ ratio }) => ratio < 1)
        .map(({ shape, ratio }) => `${shape} (${number(ratio)})`);
      const means = [geometricMean(values), Math.min(...values)].map(number);
      return [[name, opNames[op], String(all.length), ...means, lost.join("; ") || "none"]];
    });
  });
  return [head, ...body];
}

/** The design's bounds, in memory copies, where the minibatch is larger than the second-level cache. */
const bounds: Partial<Record<Op, number>> = { train: 1.25, backward: 1.9 };

export function boundsTable(shapes: ShapeFigures[], { caches }: Machine): string[][] {
  const head = ["in memory copies", "operation", "wasm-norm", "bound", "met"];
  const level2 = Number.parseInt(caches.find((cache) => cache.startsWith("L2 "))?.slice(3) ?? "0", 10) * 1024;
  const body = shapes
    .filter(({ shape }) => sizeOf(shape) * 4 > level2)
    .flatMap((figures) =>
      timedOps.flatMap((op) => {
        const mine = ours(figures, op);
        const bound = bounds[op];
        if (!mine || !bound) return [];
        return [
          [
            figures.shape.name,
            opNames[op],
            number(mine.copies),
            String(bound),
            mine.copies <= bound ? "yes" : "no",
          ],
        ];
      }),
    );
  return [head, ...body];
}

/** What Float32Arrays cost beyond Tensors: at best a copy in and a copy out. */
export function marshallingTable(shapes: ShapeFigures[]): string[][] {
  const head = ["marshalling, us", "operation", "arrays", "Tensors", "difference", "in memory copies"];
  const body = shapes.flatMap((figures) =>
    timedOps.flatMap((op) => {
      const whole = find(figures.rows, "wasm-norm on arrays", op);
      const part = ours(figures, op);
      const copy = copyOf(figures);
      return whole && part
        ? [[...difference(figures, whole, part), number((us(whole) - us(part)) / copy)]]
        : [];
    }),
  );
  return [head, ...body];
}

/** What a layer's call costs beyond the kernels that it runs. */
export function callsTable(shapes: ShapeFigures[]): string[][] {
  const head = ["one call, us", "operation", "layer", "its kernels", "difference"];
  const body = shapes.flatMap((figures) =>
    timedOps.flatMap((op) => {
      const whole = ours(figures, op);
      const part = whole && find(figures.rows, `${whole.contender}, kernels`, op);
      return whole && part ? [difference(figures, whole, part)] : [];
    }),
  );
  return [head, ...body];
}

function difference({ shape }: ShapeFigures, whole: Row, part: Row): string[] {
  return [shape.name, opNames[whole.op], number(us(whole)), number(us(part)), number(us(whole) - us(part))];
}

const us = (row: Row): number => row.us.median;

export function copyOf({ rows }: ShapeFigures): number {
  return rows.find(({ op }) => op === "copy")?.us.median ?? NaN;
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

/** The tables of one run on one runtime, set by set. */
export function printTables(measured: ShapeFigures[], machine: Machine): void {
  for (const set of new Set(measured.map(({ shape }) => shape.set))) {
    const shapes = measured.filter(({ shape }) => shape.set === set);
    const tables = [
      ...timedOps.map((op) => timesTable(shapes, op)),
      comparisonTable(shapes),
      boundsTable(shapes, machine),
      marshallingTable(shapes),
      callsTable(shapes),
    ];
    for (const table of tables) {
      if (table.length > 1) console.log(`\n${shapes[0]!.runtime}, ${set}\n${forTerminal(table)}`);
    }
  }
}
