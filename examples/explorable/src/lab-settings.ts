// A run's setting, and how the page's address tells it: `?a=batch,64,0.3,standard&b=layer,64,0.3,undone`.
import { NORMALIZATIONS, type NormalizationId } from "./lab-norms.ts";

export type RunId = "a" | "b";
export const RUNS: readonly RunId[] = ["a", "b"];

export interface Setting {
  normalization: NormalizationId;
  batchSize: number;
  rate: number;
  /** gamma = 1 and beta = 0, or where they undo the normalization. */
  start: "standard" | "undone";
}

export const BATCHES = [4, 8, 16, 32, 64, 128, 256] as const;
export const RATES = [0.003, 0.01, 0.03, 0.1, 0.3, 1] as const;
export const STARTS = { standard: "1 and 0", undone: "undone" } as const;

const FIRST: Record<RunId, Setting> = {
  a: { normalization: "batch", batchSize: 64, rate: 0.3, start: "standard" },
  b: { normalization: "layer", batchSize: 64, rate: 0.3, start: "standard" },
};

/** Both settings from an address's query: each value that it does not give, or not one of those to choose, is the first. */
export function settingsFrom(query: string): Record<RunId, Setting> {
  const given = new URLSearchParams(query);
  const read = (id: RunId): Setting => {
    const first = FIRST[id];
    const [normalization = "", batchSize, rate, start = ""] = (given.get(id) ?? "").split(",");
    return {
      normalization: Object.hasOwn(NORMALIZATIONS, normalization)
        ? (normalization as NormalizationId)
        : first.normalization,
      batchSize: BATCHES.find((one) => String(one) === batchSize) ?? first.batchSize,
      rate: RATES.find((one) => String(one) === rate) ?? first.rate,
      start: Object.hasOwn(STARTS, start) ? (start as Setting["start"]) : first.start,
    };
  };
  return { a: read("a"), b: read("b") };
}

/** The query that gives these settings, and whatever else `query` had. */
export function queryOf(settings: Record<RunId, Setting>, query: string): string {
  const parameters = new URLSearchParams(query);
  for (const id of RUNS) {
    const { normalization, batchSize, rate, start } = settings[id];
    parameters.set(id, [normalization, batchSize, rate, start].join(","));
  }
  // Commas may stand in a query as they are.
  return `?${parameters.toString().replaceAll("%2C", ",")}`;
}
