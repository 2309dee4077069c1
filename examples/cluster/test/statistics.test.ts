// Statistics of a data set by workers that come, go, and are killed: the same bits as in one process.
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { jetstream } from "@nats-io/jetstream";
import { Broker } from "../../broker.ts";
import { connectTo } from "../src/connect.ts";
import { collect } from "../src/statistics/coordinator.ts";
import { makeDataSet, readShard, shardsOf } from "../src/statistics/data.ts";
import { type Column, encode, mergeAll, partialOf } from "../src/statistics/partial.ts";

const SHARDS = 24;
const directory = mkdtempSync(join(tmpdir(), "wasm-norm-data-"));
const files = () => shardsOf(directory).map((file) => join(directory, file));
let broker: Broker;
let alone: Column[];
const workers = new Set<ChildProcess>();

before(async () => {
  broker = await Broker.start();
  makeDataSet(directory, SHARDS, 3000);
  alone = mergeAll(files().map(partialOf));
});
afterEach(() => {
  for (const worker of workers) worker.kill("SIGKILL");
  workers.clear();
});
after(async () => {
  await broker.stop();
  rmSync(directory, { recursive: true, force: true });
});

function worker(job: string, slower = 30): ChildProcess {
  const file = fileURLToPath(new URL("../src/statistics/worker.ts", import.meta.url));
  const child = spawn(process.execPath, ["--import", "tsx", file, broker.url, job], {
    stdio: ["ignore", "ignore", "inherit"],
    env: { ...process.env, SLOWER: String(slower), REDELIVERY: "1000" },
  });
  workers.add(child);
  return child;
}

test("one process has what the formulas have", () => {
  alone.forEach(({ name, moments }, at) => {
    const values = files().flatMap((file) =>
      readShard(file)[at]!.chunks.flatMap((chunk) => Array.from(chunk)),
    );
    // About the first value, so that the sums lose nothing.
    const shift = values[0]!;
    const mean = shift + values.reduce((sum, value) => sum + (value - shift), 0) / values.length;
    const m2 = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
    const sigma = Math.sqrt(m2 / values.length);
    assert.equal(moments.count, values.length, name);
    assert.ok(
      Math.abs(moments.mean[0]! - mean) <= 2 * 2 ** -23 * sigma,
      `${name}: ${moments.mean[0]} for ${mean}`,
    );
    assert.ok(Math.abs(moments.m2[0]! / m2 - 1) <= 4 * 2 ** -23, `${name}: ${moments.m2[0]} for ${m2}`);
  });
});

describe("the same bits", () => {
  const same = (columns: Column[]) => assert.equal(encode(columns), encode(alone));

  for (const count of [1, 3]) {
    test(`from ${count} workers, with progress`, async () => {
      const seen: number[] = [];
      for (let i = 0; i < count; i++) worker(`plain-${count}`, 10);
      same(await collect(broker.url, `plain-${count}`, directory, (finished) => seen.push(finished), 40_000));
      assert.deepEqual(
        seen,
        [...seen].sort((a, b) => a - b),
      );
      assert.equal(seen.at(-1), SHARDS);
    });
  }

  test("with workers killed in the middle, and others that join late", async () => {
    const first = [worker("killed"), worker("killed")];
    let finished = 0;
    const result = collect(broker.url, "killed", directory, (now) => (finished = now), 40_000);
    for (const victim of first) {
      const before = finished;
      while (finished < before + 2) await sleep(20);
      victim.kill("SIGKILL");
      worker("killed");
    }
    same(await result);
  });

  test("with shards delivered twice", async () => {
    const connection = await connectTo(broker.url);
    // Slower than the queue waits: it hands each shard of this one to another as well.
    worker("twice", 1500);
    worker("twice");
    const result = collect(broker.url, "twice", directory, () => {}, 40_000);
    await sleep(500);
    for (const shard of [0, 1, 2, 3]) {
      const task = { shard, file: files()[shard] };
      await jetstream(connection).publish("twice.shards", JSON.stringify(task));
    }
    same(await result);
    await connection.close();
  });

  test("with the broker killed and started again", async () => {
    worker("broker");
    worker("broker");
    let finished = 0;
    const result = collect(broker.url, "broker", directory, (now) => (finished = now), 40_000);
    for (let i = 0; i < 2; i++) {
      const before = finished;
      while (finished < before + 3) await sleep(20);
      await broker.kill();
      await sleep(300);
      await broker.restart();
    }
    same(await result);
  });
});
