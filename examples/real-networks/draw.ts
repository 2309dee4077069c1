// A network's units in the plane of scale and shift, a facet for each kind of layer, as SVG text.
import domino from "@mixmark-io/domino";
import * as Plot from "@observablehq/plot";
import type { IdentityReport } from "wasm-norm/analysis";

const SCALES: [number, number] = [-1, 5];
const SHIFTS: [number, number] = [-4, 4];

/** Beside each kind, the same layers' parameters dealt to their units once at random: what chance looks like. */
export function drawUnits(report: IdentityReport, dealt: IdentityReport, title: string): string {
  const points = (from: IdentityReport, row: string) =>
    from.layers.flatMap(({ kind, scale, shift, counted }) =>
      Array.from(scale, (value, unit) => ({
        kind,
        row,
        scale: value,
        shift: shift[unit]!,
        counted: counted[unit]!,
      })),
    );
  const shown = [...points(report, "trained"), ...points(dealt, "dealt at random")].filter(
    ({ counted, scale, shift }) =>
      counted && scale >= SCALES[0] && scale <= SCALES[1] && shift >= SHIFTS[0] && shift <= SHIFTS[1],
  );
  const kinds = report.kinds.map(({ kind }) => kind);
  const svg = Plot.plot({
    document: domino.createDocument(),
    className: "plot",
    style: { background: "white", color: "#1c1e22" },
    width: 110 + 210 * kinds.length,
    height: 470,
    marginLeft: 44,
    marginRight: 100,
    grid: true,
    ariaLabel: title,
    x: { domain: SCALES, label: "scale = γ / σ →" },
    y: { domain: SHIFTS, label: "↑ shift = (β − mean) / σ" },
    fx: { domain: kinds, label: null },
    fy: { domain: ["trained", "dealt at random"], label: null },
    opacity: { type: "sqrt", range: [0.12, 1] },
    facet: { data: shown, x: "kind", y: "row" },
    marks: [
      Plot.ruleX([1], { stroke: "#d5d8de" }),
      Plot.ruleY([0], { stroke: "#d5d8de" }),
      Plot.dot(
        shown,
        Plot.hexbin({ fillOpacity: "count" }, { x: "scale", y: "shift", fill: "#2563c9", binWidth: 6, r: 3 }),
      ),
      Plot.dot([[1, 0]], { r: 7, stroke: "#c2570c", strokeWidth: 2 }),
    ],
  });
  svg.setAttributeNS("http://www.w3.org/2000/xmlns/", "xmlns", "http://www.w3.org/2000/svg");
  // A tenth of a pixel is enough, and a third of the bytes.
  return svg.outerHTML.replace(/-?\d+\.\d{2,}/g, (digits) =>
    String(+Number(digits).toFixed(digits.startsWith("0.") ? 2 : 1)),
  );
}
