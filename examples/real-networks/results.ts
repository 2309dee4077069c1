// Writes results/: for each network its figures, its layers for the page, and a picture.
import { writeFileSync } from "node:fs";
import { identityReport } from "wasm-norm/analysis";
import { deal } from "./deal.ts";
import { drawUnits } from "./draw.ts";
import { keepFigures, keepLayers } from "./keep.ts";
import { NETWORKS } from "./networks.ts";

for (const { id, title, source, layers } of NETWORKS) {
  const known = await layers();
  const report = identityReport(known);
  const write = (name: string, text: string) =>
    writeFileSync(new URL(`results/${id}.${name}`, import.meta.url), text);
  write("json", keepFigures(report));
  write("layers.json", keepLayers(title, source, known));
  write("svg", drawUnits(report, identityReport(deal(known, 1), { deals: 1 }), title));
}
