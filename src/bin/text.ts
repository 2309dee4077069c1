// The inspection in a terminal: a row a layer, then what it comes to.
import Table from "cli-table3";
import type { Inspection } from "./inspection.js";
import { healthRow, layerRow, statelessRow, wrap } from "./words.js";

const BORDERS = {
  ...{
    top: "",
    "top-mid": "",
    "top-left": "",
    "top-right": "",
    bottom: "",
    "bottom-mid": "",
    "bottom-left": "",
  },
  ...{
    "bottom-right": "",
    left: "",
    "left-mid": "",
    mid: "",
    "mid-mid": "",
    right: "",
    "right-mid": "",
    middle: "  ",
  },
};

/** A table without rules, figures to the right. */
export function table(head: readonly string[], rows: readonly (readonly string[])[], texts = 2): string {
  const result = new Table({
    head: [...head],
    chars: BORDERS,
    colAligns: head.map((_, i) => (i < texts ? "left" : "right")),
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  result.push(...rows.map((row) => [...row]));
  return result
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

/** The whole text; `columns` is the terminal's width. */
export function text(
  { file, layers, report, health, verdict, findings }: Inspection,
  columns: number,
): string {
  const width = Math.max(60, Math.min(columns, 110));
  const stateless = layers.filter(({ mean }) => !mean);
  const parts = [`${file}: ${count(layers.length, "normalization layer")}, eps ${epsOf(layers)}`];
  if (report.layers.length > 0) {
    parts.push(
      table(
        [
          "layer",
          "kind",
          "units",
          "undone",
          "dealt at random",
          "scale",
          "shift",
          "gamma ~ sigma",
          "beta ~ mean",
        ],
        report.layers.map(layerRow),
      ),
      wrap(
        `Undone: units with scale = gamma / sigma within ${report.tolerance} of 1 and shift = (beta - mean) / sigma within ${report.tolerance} of 0. Dealt at random: the same count when the layer's pairs of gamma and beta are dealt to its units (mean of ${report.deals} deals, 5th to 95th percentile; seed ${report.seed}). Scale, shift: the median unit's. ~: Spearman's rank correlation across the layer's units, with its interval of 95 %.`,
        width,
      ),
    );
  }
  if (stateless.length > 0) {
    const healthOf = new Map(health.map((one) => [one.name, one]));
    parts.push(
      `Layer and RMS norms, which keep no statistics:\n\n${table(
        ["layer", "", "units", "median |gamma|", "dead", "outlying", "not finite"],
        stateless.map(({ name }) => statelessRow(healthOf.get(name)!)),
      )}`,
    );
  }
  parts.push(section("Do gamma and beta undo it?", verdict, width));
  parts.push(
    section("What these figures can and cannot say", report.limits, width),
    section("Before debugging", findings.length > 0 ? findings : ["Nothing odd was found."], width),
  );
  const folded = health.filter(({ folding }) => folding);
  if (folded.length > 0) {
    parts.push(
      `What folding into the weights before would give\n\n${table(
        ["layer", "smallest factor", "largest", "ratio", "largest |bias|"],
        folded.map(healthRow),
        1,
      )}`,
    );
  }
  return `${parts.join("\n\n")}\n`;
}

function section(title: string, sentences: readonly string[], width: number): string {
  return [title, ...sentences.map((sentence) => wrap(`- ${sentence}`, width, "  "))].join("\n");
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`;

function epsOf(layers: Inspection["layers"]): string {
  const all = [...new Set(layers.map(({ eps }) => eps))];
  return all.length === 0 ? "none" : all.join(" and ");
}
