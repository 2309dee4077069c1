// Everything that `inspect` shows, as data: what --json prints, and what the table and the page are made from.
import {
  checkpointLayers,
  healthReport,
  type IdentityReport,
  identityReport,
  type LayerHealth,
  type NormLayer,
  type ReportOptions,
  verdict,
} from "../analysis.js";
import { type Opened, openCheckpoint } from "./open.js";

/** A checkpoint's report. */
export interface Inspection {
  file: string;
  format: Opened["format"];
  layers: NormLayer[];
  report: IdentityReport;
  health: LayerHealth[];
  verdict: string[];
  findings: string[];
}

/** Opens and judges a checkpoint. @throws what its format's reader throws */
export async function inspect(file: string, options: ReportOptions & { eps?: number }): Promise<Inspection> {
  const { checkpoint, format, close } = await openCheckpoint(file);
  const { eps, ...rest } = options;
  const layers = await checkpointLayers(checkpoint, eps === undefined ? {} : { eps }).finally(close);
  const report = identityReport(layers, rest);
  const health = healthReport(layers);
  return { file, format, layers, report, health, verdict: verdict(report), findings: findings(health) };
}

const COUNTS = [
  ["dead", "Dead channels (gamma 0, or an input that never varied)"],
  ["silent", "Channels that a ReLU silences (beta below -4 |gamma|)"],
  ["atEps", "Variances at or below eps"],
  ["notFinite", "Channels that are not finite, or of negative variance"],
  ["outlying", "Gammas 8 times off the layer's median"],
] as const;

/** What is odd, a line each, with the layers where most of it is. */
export function findings(health: readonly LayerHealth[]): string[] {
  const lines = COUNTS.flatMap(([key, words]) => {
    const where = health.filter((one) => one[key].length > 0).sort((a, b) => b[key].length - a[key].length);
    const total = where.reduce((sum, one) => sum + one[key].length, 0);
    if (total === 0) return [];
    const named = where.slice(0, 3).map((one) => `${one.name} ${one[key].length} of ${one.units}`);
    const more = where.length > 3 ? `; ${where.length - 3} more of the layers have some` : "";
    return [`${words}: ${total.toLocaleString("en")} (${named.join(", ")}${more})`];
  });
  const fresh = health.filter(({ neverUpdated }) => neverUpdated);
  if (fresh.length > 0) {
    lines.push(`Layers whose statistics were never updated: ${names(fresh)}`);
  }
  const centered = health.filter(({ medianGamma }) => medianGamma !== null && medianGamma < 0.1);
  if (centered.length > 0) {
    lines.push(
      `Layers with gamma about 0, stored as gamma - 1 (zeroCenteredGamma) or hardly used: ${names(centered)}`,
    );
  }
  const wide = health.filter(({ folding }) => folding && folding.ratio > 100);
  if (wide.length > 0) {
    lines.push(
      `Layers whose folded weights would spread over a factor of 100 and more (quantized with one scale they lose their small channels): ${names(wide)}`,
    );
  }
  const broken = health.filter(({ folding }) => folding && !folding.finite);
  if (broken.length > 0) lines.push(`Layers that cannot be folded in float32: ${names(broken)}`);
  return lines;
}

const names = (layers: readonly LayerHealth[]): string =>
  layers
    .slice(0, 3)
    .map(({ name }) => name)
    .join(", ") + (layers.length > 3 ? ` and ${layers.length - 3} more` : "");

/** As JSON: typed arrays as lists, and what is not finite as null. */
export function toJson({ file, format, report, health, verdict, findings }: Inspection): string {
  return JSON.stringify(
    { file, format, verdict, findings, report, health },
    (_, value) => (ArrayBuffer.isView(value) ? Array.from(value as Float64Array) : value),
    2,
  );
}
