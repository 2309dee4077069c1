/** What the README shows of the figures: the main table, and who wins where. */
import type { Op } from "./contenders/contender.ts";
import { contenders } from "./contenders/index.ts";
import type { Figures, Row, ShapeFigures } from "./figures.ts";
import { machineInWords } from "./machine.ts";
import { geometricMean } from "./statistics.ts";
import { copyOf, forMarkdown, number, opNames, ours, ratios, timedOps } from "./tables.ts";

export function heading({ machine, date }: Figures): string {
  return `Measured on ${date}: ${machineInWords(machine)}; one thread; medians in microseconds.`;
}

/** On the newest runtime that there are figures of. */
export function readmeBlock(figures: Figures, runtimes: string[]): string {
  const runtime = runtimes.at(-1)!;
  const shapes = figures.shapes.filter((entry) => entry.runtime === runtime);
  const main = shapes.filter(({ shape }) => shape.set === "dense" || shape.set === "images");
  return [
    `${heading(figures)} ${runtime}.`,
    forMarkdown(mainTable(main)),
    `Over the ${shapes.length} shapes of the suite:`,
    verdicts(shapes).join("\n"),
    "",
  ].join("\n\n");
}

function mainTable(shapes: ShapeFigures[]): string[][] {
  const head = [
    "training forward / backward",
    "memory copy",
    "wasm-norm",
    "in copies",
    "PyTorch",
    "oneDNN",
    "best JavaScript",
  ];
  const body = shapes.map((entry) => {
    const copy = copyOf(entry);
    const mine = ours(entry, "train")?.contender;
    const fastest = (of: (row: Row) => boolean, unit = 1) => {
      const time = (op: Op) => {
        const times = entry.rows.filter((row) => row.op === op && of(row)).map((row) => row.us.median);
        return times.length ? number(Math.min(...times) / unit) : "-";
      };
      return `${time("train")} / ${time("backward")}`;
    };
    return [
      entry.shape.name,
      number(copy),
      fastest((row) => row.contender === mine),
      fastest((row) => row.contender === mine, copy),
      fastest((row) => row.contender === "PyTorch"),
      fastest((row) => row.contender === "oneDNN"),
      fastest((row) => row.kind === "javascript"),
    ];
  });
  return [head, ...body];
}

/** A line a contender: how many times as fast wasm-norm is, and where it is not. */
function verdicts(shapes: ShapeFigures[]): string[] {
  return contenders.flatMap(({ name, kind }) => {
    if (kind === "ours" || kind === "copy") return [];
    const parts = timedOps.flatMap((op) => {
      const all = ratios(shapes, name, op);
      if (all.length === 0) return [];
      const mean = `${number(geometricMean(all.map(({ ratio }) => ratio)))} times as fast in ${opNames[op]}`;
      return [mean + lostAt(name, all)];
    });
    return parts.length ? [`- against ${name}: ${parts.join("; ")}.`] : [];
  });
}

/** Every shape where the contender is faster, or, where they are many, how many and the worst. */
function lostAt(name: string, all: { shape: string; ratio: number }[]): string {
  const lost = all.filter(({ ratio }) => ratio < 1).sort((a, b) => a.ratio - b.ratio);
  if (lost.length === 0) return "";
  const places = lost.map(({ shape, ratio }) => `${shape} (${number(1 / ratio)} times)`);
  if (lost.length <= 5) return `, but ${name} is faster at ${places.join(", ")}`;
  return `, but ${name} is faster at ${lost.length} of ${all.length} shapes, most at ${places[0]}`;
}
