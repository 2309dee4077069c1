// Rows and figures as text, for the terminal and the page alike.
import wrapAnsi from "wrap-ansi";
import type { Correlation } from "../analysis/rank.js";
import type { LayerHealth, LayerReport } from "../analysis.js";

/** Three digits, and no "-0"; a dash for what is not there. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "-";
  if (value !== 0 && (Math.abs(value) < 0.01 || Math.abs(value) >= 1e5)) return value.toExponential(1);
  return String(+value.toPrecision(3) + 0);
}

export const correlation = (one: Correlation | null): string =>
  one ? `${one.rho.toFixed(2)} (${one.low.toFixed(2)} to ${one.high.toFixed(2)})` : "-";

/** Layer, kind, units, undone, dealt, scale, shift, and the two correlations. */
export function layerRow(layer: LayerReport): string[] {
  const { dealt, measured, units } = layer;
  return [
    layer.name,
    layer.kind,
    measured === units ? String(units) : `${measured} of ${units}`,
    String(layer.within),
    `${figure(dealt.mean)} (${figure(dealt.low)} to ${figure(dealt.high)})`,
    figure(layer.scaleQuartiles[1]),
    figure(layer.shiftQuartiles[1]),
    correlation(layer.gammaSigma),
    correlation(layer.betaMean),
  ];
}

/** Layer, factors and bias of folding. */
export function healthRow({ name, folding }: LayerHealth): string[] {
  const { least, greatest, ratio, bias } = folding!;
  return [name, ...[least, greatest, ratio, bias].map(figure)];
}

export function statelessRow(layer: LayerHealth): string[] {
  const counts = [layer.dead, layer.outlying, layer.notFinite].map(({ length }) => String(length));
  return [layer.name, "", String(layer.units), figure(layer.medianGamma), ...counts];
}

/** Lines of at most `width` characters, all but the first indented. */
export const wrap = (text: string, width: number, indent = ""): string =>
  wrapAnsi(text, width - indent.length).replaceAll("\n", `\n${indent}`);
