/** Ranks in worker threads, over MessagePorts. */
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect, test } from "vitest";
import { meshPorts } from "../src/collective.js";
import { normals } from "./cases.js";
import { u } from "./contract.js";

const SIZE = 3;
const DEADLINE = 1500;
let workers: Worker[] = [];

interface Answer {
  y: Float32Array;
  dx: Float32Array;
  mean: Float64Array;
}

beforeAll(() => {
  workers = meshPorts(SIZE).map(
    (ports, rank) =>
      new Worker(new URL("./collective/worker.mjs", import.meta.url), {
        workerData: { ports, rank, size: SIZE, deadline: DEADLINE },
        transferList: ports.filter((port) => port !== null) as never[],
      }),
  );
});
afterAll(() => Promise.all(workers.map((worker) => worker.terminate())));

async function call(ranks: readonly number[], x: readonly Float32Array[]): Promise<unknown[]> {
  const answers = ranks.map((rank) => once(workers[rank]!, "message"));
  for (const rank of ranks) workers[rank]!.postMessage(x[rank]);
  return (await Promise.all(answers)).map(([answer]) => answer as unknown);
}

test("three threads normalize one minibatch; when one ends, the others say so at the deadline", async () => {
  const x = [normals(6, 1, 2, 100), normals(2, 2, 2, 100), new Float32Array(0)];
  const all = (await call([0, 1, 2], x)) as Answer[];
  const column = [...x[0]!, ...x[1]!].filter((_, i) => i % 2 === 0);
  const mean = column.reduce((a, b) => a + b, 0) / 4;
  const sigma = Math.sqrt(column.reduce((a, b) => a + (b - mean) ** 2, 0) / 4 + 1e-5);
  expect(all.map(({ y }) => y.length)).toEqual([6, 2, 0]);
  expect(Math.abs(all[0]!.y[0]! - (column[0]! - mean) / sigma)).toBeLessThan(8 * u);
  for (const { mean: running } of all) {
    expect(running).toEqual(all[0]!.mean);
    expect(running[0]).toBeCloseTo(0.1 * mean, 6);
  }
  await workers[1]!.terminate();
  const start = performance.now();
  const failed = { name: "CollectiveError", code: "timeout", ranks: [1] };
  expect(await call([0, 2], x)).toEqual([failed, failed]);
  expect(performance.now() - start).toBeLessThan(DEADLINE + 1000);
});
