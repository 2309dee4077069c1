/** Writes `report/`: every table as markdown, the plots, and the block that the README shows. */
import { writeFileSync } from "node:fs";
import { type Figures, reportFile, saveFigures } from "./figures.ts";
import { plotCopies, plotSizes } from "./plots.ts";
import { heading, readmeBlock } from "./readme-block.ts";
import { plainSets } from "./shapes.ts";
import {
  boundsTable,
  callsTable,
  comparisonTable,
  detailsTable,
  forMarkdown,
  marshallingTable,
  timedOps,
  timesTable,
} from "./tables.ts";

const setTitles = {
  dense: "Batch norm, rows by channels",
  images: "Batch norm, images in both layouts",
  resnet50: "Batch norm, every layer of ResNet-50 at batch 32",
  transformer: "Layer and RMS norm, transformer shapes",
  sizes: "Batch norm, 64 channels, 1 kB to 1 GB",
  calls: "Shapes so small that the call is what costs",
} as const;

export async function writeReport(figures: Figures): Promise<void> {
  saveFigures(figures);
  const runtimes = [...new Set(figures.shapes.map(({ runtime }) => runtime))].sort((a, b) =>
    a.localeCompare(b, "en", { numeric: true }),
  );
  for (const runtime of runtimes) {
    const of = (...sets: string[]) =>
      figures.shapes.filter((entry) => entry.runtime === runtime && sets.includes(entry.shape.set));
    const slug = runtime.toLowerCase().replaceAll(" ", "");
    await plotCopies(`batch-norm-${slug}.svg`, `Batch norm (${runtime})`, of("dense", "images"));
    await plotCopies(`resnet50-${slug}.svg`, `${setTitles.resnet50} (${runtime})`, of("resnet50"));
    await plotCopies(`transformer-${slug}.svg`, `${setTitles.transformer} (${runtime})`, of("transformer"));
    await plotSizes(`sizes-${slug}.svg`, `${setTitles.sizes} (${runtime})`, of("sizes"));
  }
  writeFileSync(reportFile("tables.md"), allTables(figures, runtimes));
  writeFileSync(reportFile("readme.md"), readmeBlock(figures, runtimes));
}

function allTables(figures: Figures, runtimes: string[]): string {
  const parts = ["# The figures", heading(figures)];
  for (const runtime of runtimes) {
    parts.push(`## ${runtime}`);
    for (const [name, reason] of Object.entries(figures.missing[runtime] ?? {}))
      parts.push(`- ${name} is missing: ${reason}`);
    for (const set of plainSets) {
      const shapes = figures.shapes.filter((entry) => entry.runtime === runtime && entry.shape.set === set);
      if (shapes.length === 0) continue;
      parts.push(`### ${setTitles[set]}`);
      for (const op of timedOps) {
        const table = timesTable(shapes, op);
        if (table.length > 1) parts.push(forMarkdown(table));
      }
      for (const [title, table] of [
        ["How many times as fast wasm-norm is:", comparisonTable(shapes)],
        ["Beyond the second-level cache:", boundsTable(shapes, figures.machine)],
        ["What Float32Arrays cost beyond Tensors:", marshallingTable(shapes)],
        ["What a layer's call costs beyond its kernels:", callsTable(shapes)],
      ] as const) {
        if (table.length > 1) parts.push(title, forMarkdown(table));
      }
      for (const entry of shapes) {
        parts.push(`#### ${entry.shape.name}`, forMarkdown(detailsTable(entry)));
        for (const [name, reason] of Object.entries(entry.unsupported)) parts.push(`- ${name}: ${reason}`);
      }
    }
  }
  return `${parts.join("\n\n")}\n`;
}
