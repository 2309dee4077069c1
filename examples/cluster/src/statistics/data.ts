import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeVector, Table, tableFromIPC, tableToIPC } from "apache-arrow";
import { seededRandom } from "../../../digits/random.ts";

/** Mean and sigma of each column: hard ones are among them, whose squares float32 cannot hold apart. */
export const COLUMNS: Record<string, { mean: number; sigma: number }> = {
  temperature: { mean: 14.62, sigma: 6.5 },
  pressure: { mean: 101_325, sigma: 0.5 },
  seconds: { mean: 1.7e7, sigma: 40 },
  charge: { mean: 0, sigma: 1e-19 },
};

/** Writes a data set: `shards` Arrow files with columns of float32, each of another length. */
export function makeDataSet(directory: string, shards: number, rows: number): void {
  mkdirSync(directory, { recursive: true });
  for (let shard = 0; shard < shards; shard++) {
    const random = seededRandom(shard + 1);
    const length = Math.floor(rows * (0.5 + random()));
    // Sums of three uniform numbers: a bell, near enough.
    const columns = Object.entries(COLUMNS).map(([name, { mean, sigma }]) => {
      const values = new Float32Array(length);
      for (let i = 0; i < length; i++) values[i] = mean + 2 * sigma * (random() + random() + random() - 1.5);
      return [name, makeVector(values)] as const;
    });
    const table = new Table(Object.fromEntries(columns));
    writeFileSync(
      join(directory, `shard-${String(shard).padStart(5, "0")}.arrow`),
      tableToIPC(table, "file"),
    );
  }
}

export const shardsOf = (directory: string): string[] =>
  readdirSync(directory)
    .filter((name) => name.endsWith(".arrow"))
    .sort();

/** The columns of a shard, each as the arrays that it consists of. */
export function readShard(file: string): { name: string; chunks: Float32Array[] }[] {
  const table = tableFromIPC(readFileSync(file));
  return table.schema.fields.map((field, at) => ({
    name: field.name,
    chunks: table
      .getChildAt(at)!
      .data.map(({ values, length }) => values.subarray(0, length) as Float32Array),
  }));
}
