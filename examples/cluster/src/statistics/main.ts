// npm run statistics [workers] [shards] [rows]: statistics of a data set that it makes, by workers on this machine over
// a broker that it starts, or the one at NATS_URL.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Presets, SingleBar } from "cli-progress";
import Table from "cli-table3";
import { Broker } from "../../../broker.ts";
import { collect } from "./coordinator.ts";
import { makeDataSet } from "./data.ts";

const [workers, shards, rows] = [2, 40, 200_000].map((value, at) => Number(process.argv[at + 2] ?? value));
const directory = mkdtempSync(join(tmpdir(), "wasm-norm-data-"));
const broker = process.env.NATS_URL ? null : await Broker.start();
const url = process.env.NATS_URL ?? broker!.url;
const name = `statistics-${process.pid}`;
try {
  makeDataSet(directory, shards!, rows!);
  console.log(
    `${shards} shards in ${directory}; one more worker: npx tsx src/statistics/worker.ts ${url} ${name}`,
  );
  const file = fileURLToPath(new URL("worker.ts", import.meta.url));
  const children = Array.from({ length: workers! }, () =>
    spawn(process.execPath, ["--import", "tsx", file, url, name], { stdio: "ignore" }),
  );
  const bar = new SingleBar(
    { format: "{bar} {value} of {total} shards, {duration_formatted}" },
    Presets.shades_classic,
  );
  bar.start(shards!, 0);
  const columns = await collect(url, name, directory, (finished) => bar.update(finished));
  bar.stop();
  const table = new Table({ head: ["column", "count", "mean", "standard deviation"] });
  for (const { name, moments } of columns) {
    const deviation = Math.sqrt(moments.m2[0]! / moments.count);
    table.push([name, moments.count, moments.mean[0]!, deviation]);
  }
  console.log(table.toString());
  for (const child of children) child.kill();
} finally {
  await broker?.stop();
  rmSync(directory, { recursive: true, force: true });
}
