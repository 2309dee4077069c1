// Load, kill -9 in the middle of it, and several instances over NATS: no acknowledged minibatch is lost.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import autocannon from "autocannon";
import { Broker } from "../../broker.ts";
import { FEATURES, formulas, Instance, killAll, raw, rowsOf } from "./instance.ts";

const directory = mkdtempSync(join(tmpdir(), "standardizer-"));
const store = (name: string) => join(directory, `${name}.db`);
const RAW_TYPE = "application/octet-stream";
afterEach(killAll);
after(() => rmSync(directory, { recursive: true, force: true }));

test("under load every answer is right, and memory stays flat", async (context) => {
  const service = await Instance.start(store("load"));
  const x = rowsOf(64, 1);
  await service.post("/partial-fit", RAW_TYPE, raw(x));
  const fire = (path: string, duration: number) =>
    autocannon({
      url: service.url + path,
      method: "POST",
      headers: { "content-type": RAW_TYPE },
      body: Buffer.from(raw(x)),
      connections: 8,
      duration,
    });
  const memory = async () => (await service.get<{ residentBytes: number }>("/health")).residentBytes;
  await fire("/partial-fit", 2);
  await fire("/transform", 2);
  const before = await memory();
  const start = (await service.statistics()).count;
  const fits = await fire("/partial-fit", 3);
  const transforms = await fire("/transform", 3);
  for (const result of [fits, transforms]) {
    const { errors, timeouts, non2xx } = result;
    assert.deepEqual({ errors, timeouts, non2xx }, { errors: 0, timeouts: 0, non2xx: 0 });
    assert.ok(result.requests.total > 300, `only ${result.requests.total} answers`);
  }
  const grown = ((await memory()) - before) / 2 ** 20;
  context.diagnostic(
    `${fits.requests.total} fits, ${transforms.requests.total} transforms in 3 s, ${grown.toFixed(1)} MiB grown`,
  );
  assert.ok(grown < 48, `resident memory grew by ${grown} MiB`);
  const { count, mean, variance } = await service.statistics();
  // Those that were under way when the load ended may be in as well.
  const added = (count - start) / 64;
  assert.ok(
    added >= fits.requests.total && added <= fits.requests.total + 8,
    `${added} for ${fits.requests.total}`,
  );
  // The same rows again and again: mean and variance stay.
  const want = formulas(x);
  for (let c = 0; c < FEATURES; c++) {
    assert.ok(Math.abs(mean[c]! - want.mean[c]!) < 1e-4);
    assert.ok(Math.abs(variance[c]! - want.variance[c]!) < 1e-6);
  }
});

/** Sends minibatches with keys of their own until it is told to stop, each again until it is acknowledged. */
function client(name: string, urlOf: () => string) {
  let stop = false;
  const acknowledged: Float32Array[] = [];
  const done = (async () => {
    for (let i = 0; !stop; i++) {
      const x = rowsOf(1 + (i % 9), i);
      for (;;) {
        try {
          const response = await fetch(`${urlOf()}/partial-fit`, {
            method: "POST",
            headers: { "content-type": RAW_TYPE, "idempotency-key": `${name}-${i}` },
            body: raw(x) as BodyInit,
          });
          if (response.status !== 200) throw new Error(String(response.status));
          await response.json();
          break;
        } catch {
          await sleep(20);
        }
      }
      acknowledged.push(x);
    }
    return acknowledged;
  })();
  return {
    end: () => {
      stop = true;
      return done;
    },
  };
}

function expectExactly(
  got: { count: number; mean: number[]; variance: number[] },
  parts: Float32Array[],
): void {
  const want = formulas(Float32Array.from(parts.flatMap((part) => [...part])));
  assert.equal(got.count, want.count);
  for (let c = 0; c < FEATURES; c++) {
    assert.ok(
      Math.abs(got.mean[c]! - want.mean[c]!) < 2 ** -22 * Math.max(1, Math.abs(want.mean[c]!)),
      `mean ${c}`,
    );
    assert.ok(Math.abs(got.variance[c]! / want.variance[c]! - 1) < 2 ** -21, `variance ${c}`);
  }
}

test("kill -9 under load, again and again: each acknowledged minibatch is in, once", async (context) => {
  let service = await Instance.start(store("kill"));
  const clients = [0, 1, 2, 3].map((i) => client(String(i), () => service.url));
  for (let kill = 0; kill < 8; kill++) {
    await sleep(150 + 37 * kill);
    await service.kill("SIGKILL");
    service = await Instance.start(store("kill"));
  }
  await sleep(200);
  const all = (await Promise.all(clients.map((one) => one.end()))).flat();
  context.diagnostic(`${all.length} minibatches, 8 kills`);
  assert.ok(all.length > 20);
  expectExactly(await service.statistics(), all);
});

test("three instances share statistics over NATS, through kills of one and of the broker", async (context) => {
  const broker = await Broker.start();
  after(() => broker.stop());
  const environment = { NATS_URL: broker.url, GROUP: "test" };
  const instances = await Promise.all(
    [0, 1, 2].map((i) => Instance.start(store(`shared-${i}`), environment)),
  );
  const clients = instances.map((_, i) => client(`shared-${i}`, () => instances[i]!.url));
  await sleep(300);
  await instances[1]!.kill("SIGKILL");
  await sleep(200);
  await broker.kill();
  await sleep(200);
  instances[1] = await Instance.start(store("shared-1"), { ...environment, NATS_URL: "" });
  await broker.restart();
  await instances[1].kill("SIGTERM");
  instances[1] = await Instance.start(store("shared-1"), environment);
  await sleep(300);
  const all = (await Promise.all(clients.map((one) => one.end()))).flat();
  const rows = all.reduce((sum, x) => sum + x.length / FEATURES, 0);
  for (const deadline = Date.now() + 10_000; ; await sleep(50)) {
    const statistics = await Promise.all(instances.map((instance) => instance.statistics()));
    if (statistics.every(({ count }) => count === rows) || Date.now() > deadline) {
      for (const one of statistics) {
        expectExactly(one, all);
        assert.deepEqual(one, statistics[0], "the same bits");
      }
      break;
    }
  }
  context.diagnostic(`${all.length} minibatches over 3 instances`);
});
