// Ranks in pages of Chromium and in a worker of one, over a nats-server's websockets.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { type Browser, chromium, type Page } from "playwright-core";
import { Broker } from "../../broker.ts";
import type { PageJob, PageResult } from "./page.ts";

const FEATURES = 3;
let broker: Broker;
let browser: Browser;
let code: string;

before(async () => {
  broker = await Broker.start({ webSocket: true });
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const entryPoints = [fileURLToPath(new URL("page.ts", import.meta.url))];
  const { outputFiles } = await build({
    entryPoints,
    bundle: true,
    write: false,
    format: "iife",
    logLevel: "error",
  });
  code = outputFiles[0]!.text;
});
after(async () => {
  await browser?.close();
  await broker?.stop();
});

async function open(): Promise<Page> {
  const page = await browser.newPage();
  await page.addScriptTag({ content: code });
  return page;
}

const inPage = (page: Page, job: PageJob): Promise<PageResult> =>
  page.evaluate((what) => (globalThis as unknown as { run(job: unknown): Promise<never> }).run(what), job);

const inWorker = (page: Page, job: PageJob): Promise<PageResult> =>
  page.evaluate(
    ([script, what]) =>
      new Promise<never>((resolve, reject) => {
        const worker = new Worker(URL.createObjectURL(new Blob([script])));
        worker.onmessage = ({ data }) => resolve(data as never);
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage(what);
      }),
    [code, job] as const,
  );

/** Rows of this rank: as many as its number and two. */
const shard = (rank: number, of: (i: number) => number): number[] =>
  Array.from({ length: (rank + 2) * FEATURES }, (_, i) => Math.fround(of(i + 100 * rank)));
const jobs = (group: string, size: number, deadline: number, steps: number): PageJob[] =>
  Array.from({ length: size }, (_, rank) => ({
    ...{ url: broker.webSocketUrl, group, rank, size, deadline, features: FEATURES, steps },
    ...{ x: shard(rank, (i) => 5 + 2 * Math.sin(3 * i)), dy: shard(rank, (i) => Math.cos(7 * i)) },
  }));

function near(got: readonly number[], want: readonly number[], tolerance: number): void {
  assert.equal(got.length, want.length);
  for (const [i, value] of want.entries())
    assert.ok(Math.abs(got[i]! - value) <= tolerance, `${i}: ${got[i]}, expected ${value}`);
}

test("two pages and a worker have what the formula gives for the whole minibatch", async () => {
  const all = jobs("pages", 3, 20_000, 1);
  const [first, second] = [await open(), await open()];
  const results = await Promise.all([
    inPage(first, all[0]!),
    inPage(second, all[1]!),
    inWorker(second, all[2]!),
  ]);
  const x = all.flatMap((job) => job.x);
  const dy = all.flatMap((job) => job.dy);
  const n = x.length / FEATURES;
  const sums = (of: (i: number) => number) =>
    Array.from({ length: FEATURES }, (_, c) =>
      Array.from({ length: n }, (_, r) => of(r * FEATURES + c)).reduce((a, b) => a + b, 0),
    );
  const mean = sums((i) => x[i]! / n);
  const variance = sums((i) => (x[i]! - mean[i % FEATURES]!) ** 2 / n);
  const rstd = variance.map((value) => 1 / Math.sqrt(value + 1e-5));
  const xhat = x.map((value, i) => (value - mean[i % FEATURES]!) * rstd[i % FEATURES]!);
  const dbeta = sums((i) => dy[i]!);
  const dgamma = sums((i) => dy[i]! * xhat[i]!);
  const dx = dy.map((value, i) => {
    const c = i % FEATURES;
    return rstd[c]! * (value - dbeta[c]! / n - (xhat[i]! * dgamma[c]!) / n);
  });
  const done = results.map((result) => {
    assert.ok("y" in result, JSON.stringify(result));
    return result;
  });
  near(
    done.flatMap(({ y }) => y),
    xhat,
    2e-6,
  );
  near(
    done.flatMap((result) => result.dx),
    dx,
    2e-6,
  );
  for (const { dgamma: own, runningMean, runningVar } of done) {
    near(own, dgamma, 1e-5);
    near(
      runningMean,
      mean.map((value) => 0.1 * value),
      1e-6,
    );
    near(
      runningVar,
      variance.map((value) => 0.9 + (0.1 * value * n) / (n - 1)),
      1e-6,
    );
    assert.deepEqual(
      [own, runningMean, runningVar],
      [done[0]!.dgamma, done[0]!.runningMean, done[0]!.runningVar],
    );
  }
});

test("a page that is closed is the same error in the others by the deadline, with its rank", async () => {
  const deadline = 2000;
  const all = jobs("closed", 3, deadline, 1_000_000);
  const pages = [await open(), await open(), await open()];
  const results = pages.map((page, rank) => inPage(page, all[rank]!));
  const closed = assert.rejects(results[1]!);
  await sleep(1000);
  await pages[1]!.close();
  await closed;
  for (const rank of [0, 2]) {
    const result = await results[rank]!;
    assert.ok("code" in result && result.code === "timeout", JSON.stringify(result));
    assert.deepEqual(result.ranks, [1]);
    assert.ok(result.milliseconds < deadline + 1000, `after ${result.milliseconds} ms`);
  }
});
