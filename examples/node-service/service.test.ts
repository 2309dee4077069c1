import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { request } from "node:http";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import autocannon from "autocannon";

const here = (file: string) => fileURLToPath(new URL(file, import.meta.url));
const state: Record<string, number[]> = JSON.parse(readFileSync(here("state.json"), "utf8"));
const features = state.weight!.length;
const EPS = 1e-5;
const U = 2 ** -23;

/** What the layer gives in evaluation mode, in double. */
function expected(value: number, i: number): number {
  const c = i % features;
  const xhat = (value - state.running_mean![c]!) / Math.sqrt(state.running_var![c]! + EPS);
  return state.weight![c]! * xhat + state.bias![c]!;
}

/** Pixels from 0 to 1, whole sixteenths: exact in float32. */
const batchOf = (rows: number, seed: number) =>
  Float32Array.from({ length: rows * features }, (_, i) => ((i * 7 + seed * 13 + (i >> 4)) % 17) / 16);

const rowsOf = (batch: Float32Array) =>
  Array.from({ length: batch.length / features }, (_, r) =>
    Array.from(batch.subarray(r * features, (r + 1) * features)),
  );

function assertNormalized(got: ArrayLike<number>, batch: Float32Array): void {
  assert.equal(got.length, batch.length);
  batch.forEach((value, i) => {
    const want = expected(value, i);
    const size = Math.max(
      Math.abs(want),
      Math.abs(state.weight![i % features]!) + Math.abs(state.bias![i % features]!),
    );
    assert.ok(Math.abs(got[i]! - want) <= 4 * U * size, `value ${i}: expected ${want}, got ${got[i]}`);
  });
}

const JSON_TYPE = { "content-type": "application/json" };
const RAW_TYPE = { "content-type": "application/octet-stream" };

let service: ChildProcess;
let url: string;

const send = (headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer>) =>
  fetch(`${url}/normalize`, { method: "POST", headers, body });

const health = async () => (await (await fetch(`${url}/health`)).json()) as Record<string, number>;

before(async () => {
  service = spawn(process.execPath, ["--import", "tsx", here("main.ts")], {
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: service.stdout! })) {
    url = line;
    break;
  }
});

after(() => {
  service.kill("SIGKILL");
});

describe("answers", () => {
  test("JSON in JSON", async () => {
    const batch = batchOf(5, 1);
    const response = await send(JSON_TYPE, JSON.stringify({ rows: rowsOf(batch) }));
    assert.equal(response.status, 200);
    const { rows } = (await response.json()) as { rows: number[][] };
    assert.equal(rows.length, 5);
    assertNormalized(rows.flat(), batch);
  });

  test("raw float32 in raw float32", async () => {
    const batch = batchOf(37, 2);
    const response = await send(RAW_TYPE, new Uint8Array(batch.buffer));
    assert.equal(response.headers.get("content-type"), "application/octet-stream");
    assertNormalized(new Float32Array(await response.arrayBuffer()), batch);
  });

  test("no rows with no rows", async () => {
    assert.deepEqual(await (await send(JSON_TYPE, '{"rows":[]}')).json(), { rows: [] });
  });
});

describe("refuses", () => {
  const row = (change: unknown) => JSON.stringify({ rows: [[change, ...Array(features - 1).fill(0)]] });
  const refusals: [string, Record<string, string>, string | Uint8Array<ArrayBuffer>, number, RegExp][] = [
    ["broken JSON", JSON_TYPE, '{"rows":', 400, /JSON/],
    ["no rows member", JSON_TYPE, "{}", 400, /rows/],
    ["a row too short", JSON_TYPE, '{"rows":[[1,2]]}', 400, /rows\/0 must NOT have fewer than 64 items/],
    ["a text for a number", JSON_TYPE, row("1"), 400, /rows\/0\/0 must be number/],
    ["null for a number", JSON_TYPE, row(null), 400, /rows\/0\/0 must be number/],
    ["a number beyond float32", JSON_TYPE, row(1e39), 400, /rows\/0\/0 must be <= 3\.40/],
    [
      "half a row",
      RAW_TYPE,
      new Uint8Array(4 * features + 6),
      400,
      /whole rows of 64 float32 \(256 bytes\), got 262 bytes/,
    ],
    [
      "NaN",
      RAW_TYPE,
      new Uint8Array(new Float32Array(features).fill(Number.NaN, 3, 4).buffer),
      400,
      /got NaN in row 0/,
    ],
    ["a body too large", RAW_TYPE, new Uint8Array((1 << 20) + 256), 413, /too large/],
    ["another media type", { "content-type": "text/csv" }, "1,2", 415, /Unsupported Media Type/],
  ];
  for (const [name, headers, body, status, reason] of refusals) {
    test(name, async () => {
      const response = await send(headers, body);
      assert.equal(response.status, status);
      assert.match(((await response.json()) as { message: string }).message, reason);
    });
  }

  test("and goes on", async () => {
    assert.equal((await send(RAW_TYPE, new Uint8Array(4 * features))).status, 200);
  });
});

describe("under load", () => {
  const SECONDS = 3;
  const CONNECTIONS = 8;

  /** Every connection sends a minibatch of its own, over and over; each answer must be the one already verified. */
  async function load(
    headers: Record<string, string>,
    bodyOf: (batch: Float32Array) => string | Buffer<ArrayBuffer>,
  ) {
    const wanted: { body: string | Buffer<ArrayBuffer>; answer: Buffer }[] = [];
    for (let seed = 0; seed < CONNECTIONS; seed++) {
      const body = bodyOf(batchOf(16 + seed, seed));
      wanted.push({ body, answer: Buffer.from(await (await send(headers, body)).arrayBuffer()) });
    }
    let connection = 0;
    let right = 0;
    const result = await autocannon({
      url: `${url}/normalize`,
      method: "POST",
      headers,
      connections: CONNECTIONS,
      duration: SECONDS,
      setupClient(client) {
        const { body, answer } = wanted[connection++ % CONNECTIONS]!;
        const chunks: Buffer[] = [];
        client.setBody(body);
        client.on("body", (chunk) => chunks.push(Buffer.from(chunk)));
        client.on("response", () => {
          if (Buffer.concat(chunks.splice(0)).equals(answer)) right++;
        });
      },
    });
    const { errors, timeouts, non2xx, requests } = result;
    assert.deepEqual(
      { errors, timeouts, non2xx, right },
      { errors: 0, timeouts: 0, non2xx: 0, right: requests.total },
    );
    return requests.total;
  }

  const json = () => load(JSON_TYPE, (batch) => JSON.stringify({ rows: rowsOf(batch) }));
  const raw = () => load(RAW_TYPE, (batch) => Buffer.from(batch.buffer as ArrayBuffer));

  test("every answer is right and memory stays flat", async (context) => {
    await json();
    await raw();
    const before = await health();
    const answers = (await json()) + (await raw());
    const after = await health();
    const grown = (after.residentBytes! - before.residentBytes!) / 2 ** 20;
    context.diagnostic(`${answers} answers in ${2 * SECONDS} s, ${grown.toFixed(1)} MiB grown`);
    assert.ok(answers > 1000, `only ${answers} answers`);
    assert.equal(after.memoryBytes, before.memoryBytes);
    assert.equal(after.bytesInUse, before.bytesInUse);
    assert.ok(grown < 32, `resident memory grew by ${grown} MiB`);
  });

  test("SIGTERM: what is under way is answered, then the process ends by itself", async () => {
    const batch = batchOf(100, 3);
    const body = Buffer.from(batch.buffer);
    const call = request(`${url}/normalize`, {
      method: "POST",
      headers: { ...RAW_TYPE, "content-length": body.length, expect: "100-continue" },
    });
    call.flushHeaders();
    await once(call, "continue"); // the service has the request, and waits for its body
    call.write(body.subarray(0, 1000));
    const ended = once(service, "exit");
    service.kill("SIGTERM");
    await refusesConnections();
    call.end(body.subarray(1000));
    const [response] = await once(call, "response");
    assert.equal(response.statusCode, 200);
    const answer = Buffer.concat(await response.toArray());
    assertNormalized(new Float32Array(new Uint8Array(answer).buffer), batch);
    assert.deepEqual(await ended, [0, null]);
  });
});

/** Resolves when the service takes no new connections; fails after five seconds in which it does. */
async function refusesConnections(): Promise<void> {
  for (const deadline = Date.now() + 5000; Date.now() < deadline; await sleep(10)) {
    const refused = await fetch(`${url}/health`).then(
      () => false,
      () => true,
    );
    if (refused) return;
  }
  assert.fail("the service goes on taking connections");
}
