import { type Moments, mergeMoments, moments } from "wasm-norm/functional";
import { readShard } from "./data.ts";

/** The moments of one column. */
export interface Column {
  name: string;
  moments: Moments;
}

const NONE: Moments = { count: 0, mean: new Float64Array(1), m2: new Float64Array(1) };

/** What a shard adds to the whole: always the same bits, whoever computes it. */
export const partialOf = (file: string): Column[] =>
  readShard(file).map(({ name, chunks }) => ({
    name,
    moments: chunks.map((chunk) => moments(chunk, [chunk.length], { axes: [0] })).reduce(mergeMoments, NONE),
  }));

/** Merges partial moments in the order given. */
export const mergeAll = (partials: readonly Column[][]): Column[] =>
  partials.reduce((whole, partial) =>
    whole.map((column, at) => ({
      name: column.name,
      moments: mergeMoments(column.moments, partial[at]!.moments),
    })),
  );

/** JSON writes and reads float64 exactly. */
export const encode = (columns: readonly Column[]): string =>
  JSON.stringify(
    columns.map(({ name, moments: { count, mean, m2 } }) => ({ name, count, mean: mean[0], m2: m2[0] })),
  );

export const decode = (text: string): Column[] =>
  (JSON.parse(text) as { name: string; count: number; mean: number; m2: number }[]).map(
    ({ name, count, mean, m2 }) => ({
      name,
      moments: { count, mean: Float64Array.of(mean), m2: Float64Array.of(m2) },
    }),
  );
