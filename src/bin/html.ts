// The inspection as one page: plots inside, nothing fetched, readable without scripts.
import type { Inspection } from "./inspection.js";
import { againstChance, correlations, throughDepth, units } from "./plots.js";
import { healthRow, layerRow, figure as number, statelessRow } from "./words.js";

const STYLE = `
:root { color-scheme: light dark; --paper: light-dark(#fff, #16181d); --ink: light-dark(#1c1e22, #e6e7ea);
  --quiet: light-dark(#5a5f69, #a2a8b4); --rule: light-dark(#d5d8de, #3a3f4a); --blue: light-dark(#2563c9, #7aa9f7);
  --orange: light-dark(#c2570c, #f0a35e); }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
figure { margin: 1rem 0; } figcaption, .quiet { color: var(--quiet); font-size: 0.9rem; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
svg { max-width: 100%; height: auto; display: block; overflow: visible; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: 0.85rem; white-space: nowrap; }
th, td { padding: 0.2rem 0.7rem 0.2rem 0; text-align: right; border-bottom: 1px solid var(--rule);
  font-variant-numeric: tabular-nums; } th:first-child, td:first-child { text-align: left; }
li { margin: 0.3rem 0; }`;

const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
const escaped = (text: string): string => text.replace(/[&<>"]/g, (character) => escapes[character]!);

const list = (sentences: readonly string[]): string =>
  `<ul>${sentences.map((sentence) => `<li>${escaped(sentence)}</li>`).join("")}</ul>`;

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[], tag: string) =>
    `<tr>${cells.map((cell) => `<${tag}${tag === "th" ? ' scope="col"' : ""}>${escaped(cell)}</${tag}>`).join("")}</tr>`;
  return `<div class="scroll" tabindex="0"><table><thead>${line(head, "th")}</thead><tbody>${rows.map((row) => line(row, "td")).join("")}</tbody></table></div>`;
}

const figure = (svg: string, caption: string, label: string): string =>
  `<figure><div role="img" aria-label="${escaped(label)}">${svg}</div><figcaption>${escaped(caption)}</figcaption></figure>`;

/** The whole page. */
export function html(inspection: Inspection): string {
  const { file, layers, report, health, verdict, findings } = inspection;
  const parts: string[] = [
    `<h1>${escaped(file)}</h1>`,
    `<p class="quiet">${layers.length} normalization layers, ${report.all.units.toLocaleString("en")} units with running statistics. Made by wasm-norm inspect; this page asks for nothing from elsewhere.</p>`,
    `<h2>Do gamma and beta undo it?</h2>${list(verdict)}`,
  ];
  if (report.layers.length > 0) parts.push(...identity(inspection));
  parts.push(`<h2>What these figures can and cannot say</h2>${list(report.limits)}`);
  parts.push(`<h2>Before debugging</h2>${list(findings.length > 0 ? findings : ["Nothing odd was found."])}`);
  const folded = health.filter(({ folding }) => folding);
  if (folded.length > 0) {
    parts.push(
      "<h2>What folding into the weights before would give</h2>",
      table(["layer", "smallest factor", "largest", "ratio", "largest |bias|"], folded.map(healthRow)),
    );
  }
  const stateless = health.filter(({ folding }) => !folding);
  if (stateless.length > 0) {
    parts.push(
      "<h2>Layer and RMS norms, which keep no statistics</h2>",
      table(
        ["layer", "", "units", "median |gamma|", "dead", "outlying", "not finite"],
        stateless.map(statelessRow),
      ),
    );
  }
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escaped(file)}: gamma and beta</title><style>${STYLE}</style></head>
<body><main>${parts.join("\n")}</main></body></html>
`;
}

function identity({ report }: Inspection): string[] {
  const planes = report.kinds.map((kind) => {
    const { svg, outside } = units(report.layers.filter((layer) => layer.kind === kind.kind));
    const title = `${kind.kind}: ${kind.within} of ${kind.measured} units undone, ${number(kind.dealt.mean)} dealt at random (${number(kind.dealt.low)} to ${number(kind.dealt.high)})`;
    return figure(svg, outside > 0 ? `${title}; ${outside} units lie outside` : title, title);
  });
  return [
    `<h2>Every unit, by what stands before its layer</h2><div class="pair">${planes.join("")}</div>`,
    "<h2>Against chance</h2>",
    figure(
      againstChance(report),
      `Dots: units within ${report.tolerance} of undone. Bars: the 5th to 95th percentile of ${report.deals} random deals of the layer's own gammas and betas; ticks: their mean.`,
      "Units undone and what random dealing leaves, for each layer",
    ),
    `<h2>Through the depth</h2><div class="pair">${(["scale", "shift"] as const)
      .map((what) =>
        figure(
          throughDepth(report, what),
          `${what} of the units: median and quartiles. Orange: undone.`,
          `${what} through the depth`,
        ),
      )
      .join("")}</div>`,
    `<h2>What gamma and beta follow</h2><div class="pair">${(["gammaSigma", "betaMean"] as const)
      .map((which) =>
        figure(
          correlations(report, which),
          "Spearman's rank correlation across the layer's units, with its interval of 95 %.",
          "Rank correlations of each layer",
        ),
      )
      .join("")}</div>`,
    "<h2>The layers</h2>",
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
  ];
}
