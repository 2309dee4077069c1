/** Writes `report/`: every table as markdown, the plots, and the block that the README shows. */
import { writeFileSync } from "node:fs";
import { type Figures, reportFile, type ShapeFigures, saveFigures } from "./figures.ts";
import { machineInWords } from "./machine.ts";
import { plotCopies, plotSizes } from "./plots.ts";
import { shapeSets } from "./shapes.ts";
import { comparisonTable, detailsTable, forMarkdown, number, ours, timedOps, timesTable } from "./tables.ts";

const setTitles = {
  dense: "Batch norm, rows by channels",
  images: "Batch norm, images in both layouts",
  resnet50: "Batch norm, every layer of ResNet-50 at batch 32",
  transformer: "Layer and RMS norm, transformer shapes",
  sizes: "Batch norm, 64 channels, 1 kB to 1 GB",
} as const;

export async function writeReport(figures: Figures): Promise<void> {
  saveFigures(figures);
  const runtimes = [...new Set(figures.shapes.map(({ runtime }) => runtime))];
  for (const runtime of runtimes) {
    const of = (...sets: string[]) =>
      figures.shapes.filter((entry) => entry.runtime === runtime && sets.includes(entry.shape.set));
    const slug = runtime.toLowerCase().replaceAll(" ", "");
    await plotCopies(`batch-norm-${slug}.svg`, `Batch norm (${runtime})`, of("dense", "images"));
    await plotCopies(`resnet50-${slug}.svg`, `${setTitles.resnet50} (${runtime})`, of("resnet50"));
    await plotCopies(`transformer-${slug}.svg`, `${setTitles.transformer} (${runtime})`, of("transformer"));
    await plotSizes(`sizes-${slug}.svg`, `${setTitles.sizes} (${runtime})`, of("sizes"));
  }
  writeFileSync(reportFile("tables.md"), tables(figures, runtimes));
  writeFileSync(reportFile("readme.md"), readmeBlock(figures, runtimes));
}

function heading({ machine, date }: Figures): string {
  return `Measured on ${date}: ${machineInWords(machine)}; one thread; medians in microseconds.`;
}

function tables(figures: Figures, runtimes: string[]): string {
  const parts = ["# The figures", heading(figures)];
  for (const runtime of runtimes) {
    parts.push(`## ${runtime}`);
    for (const [name, reason] of Object.entries(figures.missing[runtime] ?? {}))
      parts.push(`- ${name} is missing: ${reason}`);
    for (const set of shapeSets) {
      const shapes = figures.shapes.filter((entry) => entry.runtime === runtime && entry.shape.set === set);
      if (shapes.length === 0) continue;
      parts.push(`### ${setTitles[set]}`);
      for (const op of timedOps) {
        const table = timesTable(shapes, op);
        if (table.length > 1) parts.push(forMarkdown(table));
      }
      parts.push("How many times as fast wasm-norm is:", forMarkdown(comparisonTable(shapes)));
      for (const entry of shapes) {
        parts.push(`#### ${entry.shape.name}`, forMarkdown(detailsTable(entry)));
        for (const [name, reason] of Object.entries(entry.unsupported)) parts.push(`- ${name}: ${reason}`);
      }
    }
  }
  return `${parts.join("\n\n")}\n`;
}

/** The main table, on the newest runtime there are figures of, and who wins where. */
function readmeBlock(figures: Figures, runtimes: string[]): string {
  const runtime = runtimes.at(-1);
  const shapes = figures.shapes.filter(
    (entry) => entry.runtime === runtime && (entry.shape.set === "dense" || entry.shape.set === "images"),
  );
  const head = [
    "forward / backward, us",
    "memory copy",
    "wasm-norm",
    "in copies",
    "PyTorch",
    "oneDNN",
    "best JavaScript",
  ];
  const body = shapes.map((entry) => {
    const best = (
      contender: (row: ShapeFigures["rows"][number]) => boolean,
      figure = (us: number) => number(us),
    ) => {
      const times = (["train", "backward"] as const).map((op) => {
        const found = entry.rows.filter((row) => row.op === op && contender(row)).map((row) => row.us.median);
        return found.length ? figure(Math.min(...found)) : "-";
      });
      return times.join(" / ");
    };
    const copy = entry.rows.find((row) => row.op === "copy")?.us.median ?? NaN;
    const mine = ours(entry, "train")?.contender;
    return [
      entry.shape.name,
      number(copy),
      best((row) => row.contender === mine),
      best(
        (row) => row.contender === mine,
        (us) => (us / copy).toFixed(2),
      ),
      best((row) => row.contender === "PyTorch"),
      best((row) => row.contender === "oneDNN"),
      best((row) => row.kind === "javascript"),
    ];
  });
  return [
    `${heading(figures)} ${runtime}.`,
    forMarkdown([head, ...body]),
    "How many times as fast wasm-norm is, over every shape of the suite, and where it is slower:",
    forMarkdown(comparisonTable(figures.shapes.filter((entry) => entry.runtime === runtime))),
    "",
  ].join("\n\n");
}
