// npm start: the four networks' reports, a table and what it comes to.
import Table from "cli-table3";
import { type GroupReport, identityReport, verdict } from "wasm-norm/analysis";
import wrapAnsi from "wrap-ansi";
import { NETWORKS } from "./networks.ts";

const width = Math.max(60, Math.min(process.stdout.columns ?? 110, 110));

for (const { title, source, layers } of NETWORKS) {
  const report = identityReport(await layers());
  console.log(`\n${title}: ${source}\n`);
  console.log(table([...report.kinds, report.all]));
  for (const sentence of verdict(report)) console.log(wrapAnsi(`- ${sentence}`, width));
  console.log("\nWhat these figures can and cannot say");
  for (const sentence of report.limits) console.log(wrapAnsi(`- ${sentence}`, width));
}

/** A row a kind of layer, and one for all. */
function table(groups: readonly GroupReport[]): string {
  const result = new Table({
    head: [
      "before",
      "layers",
      "units",
      "left out",
      "undone",
      "share",
      "dealt at random",
      "apart",
      "scale quartiles",
      "gamma ~ sigma",
      "beta ~ mean",
    ],
    colAligns: ["left", ...Array<"right">(10).fill("right")],
    style: { head: [], border: [], compact: true },
  });
  for (const group of groups) {
    result.push([
      group.kind,
      group.layers,
      group.measured,
      group.units - group.measured,
      group.within,
      `${(100 * group.share).toFixed(2)} %`,
      `${group.dealt.mean.toFixed(1)} (${Math.round(group.dealt.low)} to ${Math.round(group.dealt.high)})`,
      group.dealtApart.mean.toFixed(1),
      group.scaleQuartiles.map((value) => value.toFixed(2)).join(" "),
      group.gammaSigma?.median.toFixed(2) ?? "-",
      group.betaMean?.median.toFixed(2) ?? "-",
    ]);
  }
  return result.toString();
}
