// The page's plots, as SVG text, drawn by Observable Plot without a browser.

import domino from "@mixmark-io/domino";
import * as Plot from "@observablehq/plot";
import type { IdentityReport, LayerReport } from "../analysis.js";

const INK = "var(--ink)";
const RULE = "var(--rule)";
const BLUE = "var(--blue)";
const ORANGE = "var(--orange)";

/** Beyond these the plane is cut off: what lies outside is counted in its caption. */
const SCALES = [-1, 5] as const;
const SHIFTS = [-4, 4] as const;

function draw(options: Plot.PlotOptions): string {
  const document = domino.createDocument();
  const svg = Plot.plot({
    ...options,
    document,
    className: "plot",
    style: { background: "transparent", color: INK },
  });
  return svg.outerHTML;
}

const inside = ({ scale, shift }: Point) =>
  scale >= SCALES[0] && scale <= SCALES[1] && shift >= SHIFTS[0] && shift <= SHIFTS[1];

interface Point {
  scale: number;
  shift: number;
}

/** The measured units of these layers in the plane of scale and shift. */
export function units(layers: readonly LayerReport[]): { svg: string; outside: number } {
  const points = layers.flatMap(({ scale, shift, counted }) =>
    Array.from(scale, (value, unit) => ({ scale: value, shift: shift[unit]!, counted: counted[unit]! })),
  );
  const known = points.filter(({ counted }) => counted);
  const shown = known.filter(inside);
  const svg = draw({
    width: 460,
    height: 420,
    marginLeft: 44,
    marginBottom: 40,
    grid: true,
    x: { domain: [...SCALES], label: "scale = γ / σ →" },
    y: { domain: [...SHIFTS], label: "↑ shift = (β − mean) / σ" },
    opacity: { type: "sqrt", range: [0.12, 1] },
    marks: [
      Plot.ruleX([1], { stroke: RULE }),
      Plot.ruleY([0], { stroke: RULE }),
      Plot.dot(
        shown,
        Plot.hexbin({ fillOpacity: "count" }, { x: "scale", y: "shift", fill: BLUE, binWidth: 8, r: 4 }),
      ),
      Plot.dot([[1, 0]], { r: 9, stroke: ORANGE, strokeWidth: 2.5 }),
      Plot.text([[1, 0]], {
        text: ["undone"],
        dx: 14,
        textAnchor: "start",
        fill: INK,
        fontWeight: 600,
        stroke: "var(--paper)",
        strokeWidth: 4,
      }),
    ],
  });
  return { svg, outside: known.length - shown.length };
}

/** Units within the tolerance against what dealing leaves, layer after layer. */
export function againstChance({ layers }: IdentityReport): string {
  const rows = layers.map(({ within, dealt }, index) => ({ index: index + 1, within, ...dealt }));
  return draw({
    width: 940,
    height: 260,
    marginLeft: 44,
    marginBottom: 36,
    x: { label: "layer →", domain: [0, layers.length + 1] },
    y: { label: "↑ units within the tolerance", grid: true, zero: true, nice: true },
    marks: [
      Plot.ruleY([0], { stroke: RULE }),
      Plot.ruleX(rows, {
        x: "index",
        y1: "low",
        y2: "high",
        stroke: RULE,
        strokeWidth: 6,
        strokeLinecap: "round",
      }),
      Plot.ruleY(rows, {
        x1: (row) => row.index - 0.4,
        x2: (row) => row.index + 0.4,
        y: "mean",
        stroke: INK,
        strokeWidth: 1.5,
      }),
      Plot.dot(rows, { x: "index", y: "within", fill: BLUE, r: 3.5 }),
    ],
  });
}

/** Quartiles of scale or shift through the depth of the network. */
export function throughDepth({ layers }: IdentityReport, what: "scale" | "shift"): string {
  const rows = layers.map((layer, index) => {
    const [low, median, high] = what === "scale" ? layer.scaleQuartiles : layer.shiftQuartiles;
    return { index: index + 1, low, median, high };
  });
  return draw({
    width: 460,
    height: 240,
    marginLeft: 44,
    marginBottom: 36,
    x: { label: "layer →", domain: [0, layers.length + 1] },
    y: { label: `↑ ${what}, quartiles`, grid: true, nice: true },
    marks: [
      Plot.ruleY([what === "scale" ? 1 : 0], { stroke: ORANGE, strokeWidth: 2 }),
      Plot.ruleX(rows, {
        x: "index",
        y1: "low",
        y2: "high",
        stroke: BLUE,
        strokeOpacity: 0.45,
        strokeWidth: 4,
      }),
      Plot.dot(rows, { x: "index", y: "median", fill: BLUE, r: 3 }),
    ],
  });
}

/** The layers' correlations with their intervals. */
export function correlations({ layers }: IdentityReport, which: "gammaSigma" | "betaMean"): string {
  const rows = layers.flatMap((layer, index) => {
    const one = layer[which];
    return one ? [{ index: index + 1, ...one }] : [];
  });
  return draw({
    width: 460,
    height: 240,
    marginLeft: 44,
    marginBottom: 36,
    x: { label: "layer →", domain: [0, layers.length + 1] },
    y: { label: which === "gammaSigma" ? "↑ γ with σ" : "↑ β with the mean", grid: true, domain: [-1, 1] },
    marks: [
      Plot.ruleY([0], { stroke: RULE }),
      Plot.ruleX(rows, {
        x: "index",
        y1: "low",
        y2: "high",
        stroke: BLUE,
        strokeOpacity: 0.45,
        strokeWidth: 3,
      }),
      Plot.dot(rows, { x: "index", y: "rho", fill: BLUE, r: 3 }),
    ],
  });
}
