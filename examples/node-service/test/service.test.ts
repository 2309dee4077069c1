import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { makeVector, Table, tableFromIPC, tableToIPC } from "apache-arrow";
import Database from "better-sqlite3";
import { StandardScaler } from "wasm-norm/scaler";
import { FEATURES, formulas, Instance, killAll, raw, rowsOf } from "./instance.ts";

const directory = mkdtempSync(join(tmpdir(), "standardizer-"));
const store = (name: string) => join(directory, `${name}.db`);
const JSON_TYPE = "application/json";
const RAW_TYPE = "application/octet-stream";
const ARROW_TYPE = "application/vnd.apache.arrow.stream";

const table = (x: Float32Array) =>
  new Table(
    Object.fromEntries(
      Array.from({ length: FEATURES }, (_, c) => [
        `c${c}`,
        makeVector(x.filter((_, i) => i % FEATURES === c)),
      ]),
    ),
  );
const nested = (x: Float32Array) =>
  Array.from({ length: x.length / FEATURES }, (_, r) => [...x.subarray(r * FEATURES, (r + 1) * FEATURES)]);

let service: Instance;
before(async () => {
  service = await Instance.start(store("main"), { REQUEST_TIMEOUT: "1500" });
});
after(async () => {
  await killAll();
  rmSync(directory, { recursive: true, force: true });
});

function near(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(got.length, want.length, what);
  for (let i = 0; i < want.length; i++) {
    assert.ok(Math.abs(got[i]! - want[i]!) <= tolerance, `${what}[${i}]: expected ${want[i]}, got ${got[i]}`);
  }
}

describe("answers", () => {
  const parts = [rowsOf(5, 1), rowsOf(7, 2), rowsOf(1, 3)] as const;
  const all = Float32Array.from(parts.flatMap((part) => [...part]));

  test("no statistics yet: 409", async () => {
    const response = await service.post("/transform", RAW_TYPE, raw(parts[0]));
    assert.equal(response.status, 409);
    assert.deepEqual(await service.statistics(), { count: 0, mean: [], variance: [] });
  });

  test("partial-fit in JSON, raw float32 and Arrow", async () => {
    const answers = [
      await service.post("/partial-fit", JSON_TYPE, JSON.stringify({ rows: nested(parts[0]) })),
      await service.post("/partial-fit", RAW_TYPE, raw(parts[1])),
      await service.post("/partial-fit", ARROW_TYPE, tableToIPC(table(parts[2]), "stream")),
      await service.post("/partial-fit", JSON_TYPE, '{"rows":[]}'),
    ];
    const counts = [5, 12, 13, 13];
    for (const [i, answer] of answers.entries()) {
      assert.equal(answer.status, 200);
      assert.deepEqual(await answer.json(), { added: true, count: counts[i] });
    }
    const want = formulas(all);
    const got = await service.statistics();
    assert.equal(got.count, 13);
    near(got.mean, want.mean, 1e-4, "mean");
    near(got.variance, want.variance, 1e-6, "variance");
  });

  test("transform in each, and in the type in which it came", async () => {
    const x = rowsOf(3, 9);
    const { mean, variance } = formulas(all);
    const want = [...x].map((value, i) => (value - mean[i % FEATURES]!) / Math.sqrt(variance[i % FEATURES]!));
    const json = await service.post("/transform", JSON_TYPE, JSON.stringify({ rows: nested(x) }));
    near(((await json.json()) as { rows: number[][] }).rows.flat(), want, 1e-5, "JSON");
    const bytes = await service.post("/transform", RAW_TYPE, raw(x));
    assert.equal(bytes.headers.get("content-type"), RAW_TYPE);
    near(new Float32Array(await bytes.arrayBuffer()), want, 1e-5, "raw");
    const arrow = await service.post("/transform", ARROW_TYPE, tableToIPC(table(x), "stream"));
    const got = tableFromIPC(new Uint8Array(await arrow.arrayBuffer()));
    assert.deepEqual(
      got.schema.fields.map(({ name }) => name),
      ["c0", "c1", "c2", "c3"],
    );
    for (let c = 0; c < FEATURES; c++) {
      near(
        got.getChildAt(c)!.toArray(),
        want.filter((_, i) => i % FEATURES === c),
        1e-5,
        `Arrow ${c}`,
      );
    }
  });

  test("the same key is added once", async () => {
    const { count } = await service.statistics();
    for (const added of [true, false]) {
      const response = await service.post("/partial-fit", RAW_TYPE, raw(rowsOf(2, 4)), {
        "idempotency-key": "a",
      });
      assert.deepEqual(await response.json(), { added, count: count + 2 });
    }
  });

  test("metrics, health and an OpenAPI document that names what there is", async () => {
    const metrics = await (await fetch(`${service.url}/metrics`)).text();
    assert.match(metrics, /^standardizer_minibatches_total 5$/m);
    assert.match(metrics, /^standardizer_rows 15$/m);
    assert.match(
      metrics,
      /http_request_duration_seconds_count\{method="POST",route="\/partial-fit",status="200"\} 6/,
    );
    const health = await service.get<{ features: number; rows: number }>("/health");
    assert.equal(health.features, FEATURES);
    assert.equal(health.rows, 15);
    const document = await service.get<{ openapi: string; paths: Record<string, Record<string, unknown>> }>(
      "/openapi.json",
    );
    assert.match(document.openapi, /^3\./);
    assert.deepEqual(Object.keys(document.paths).sort(), [
      "/health",
      "/metrics",
      "/partial-fit",
      "/statistics",
      "/transform",
    ]);
    const { requestBody } = document.paths["/transform"]!.post as { requestBody: { content: object } };
    assert.deepEqual(Object.keys(requestBody.content).sort(), [JSON_TYPE, RAW_TYPE, ARROW_TYPE].sort());
  });
});

describe("refuses with a reason, and changes nothing", () => {
  const row = (change: unknown) => JSON.stringify({ rows: [[change, 0, 0, 0]] });
  const refusals: [string, string | undefined, string | Uint8Array | undefined, number, RegExp][] = [
    ["broken JSON", JSON_TYPE, '{"rows":', 400, /JSON/],
    ["an empty JSON body", JSON_TYPE, "", 400, /empty/],
    ["no body", undefined, undefined, 400, /body is expected/],
    ["null", JSON_TYPE, "null", 400, /body is expected/],
    ["text", "text/plain", "1,2", 415, /Unsupported Media Type/],
    ["another media type", "text/csv", "1,2", 415, /Unsupported Media Type/],
    ["no rows", JSON_TYPE, "{}", 400, /rows/],
    ["a row too short", JSON_TYPE, '{"rows":[[1,2]]}', 400, /rows\/0 must NOT have fewer than 4 items/],
    ["a text for a number", JSON_TYPE, row("1"), 400, /rows\/0\/0 must be number/],
    ["null for a number", JSON_TYPE, row(null), 400, /rows\/0\/0 must be number/],
    ["a number beyond float32", JSON_TYPE, row(1e39), 400, /rows\/0\/0 must be <= 3\.40/],
    [
      "half a row",
      RAW_TYPE,
      new Uint8Array(22),
      400,
      /whole rows of 4 float32 \(16 bytes\) expected, not 22 bytes/,
    ],
    ["NaN", RAW_TYPE, raw([0, 0, Number.NaN, 0]), 400, /row 0, column 2 is not a float32 number/],
    ["no Arrow", ARROW_TYPE, new Uint8Array(64).fill(7), 400, /Arrow/],
    [
      "other columns",
      ARROW_TYPE,
      tableToIPC(new Table({ a: makeVector(new Float32Array(2)) }), "stream"),
      400,
      /4 columns expected, not 1/,
    ],
    ["too much", RAW_TYPE, new Uint8Array((1 << 20) + 16), 413, /too large/],
  ];
  for (const path of ["/partial-fit", "/transform"]) {
    for (const [name, type, body, status, reason] of refusals) {
      test(`${path}: ${name}`, async () => {
        const before = await service.statistics();
        const response = await service.post(path, type, body);
        const { message } = (await response.json()) as { message: string };
        assert.equal(response.status, status, message);
        assert.match(message, reason);
        assert.deepEqual(await service.statistics(), before);
      });
    }
  }

  test("a result that does not fit float32 is 422, not null or Infinity", async () => {
    const own = await Instance.start(store("overflow"));
    await own.post("/partial-fit", RAW_TYPE, raw([0, 0, 0, 0, 1e-30, 1, 1, 1]));
    const response = await own.post("/transform", RAW_TYPE, raw([3e38, 0, 0, 0]));
    assert.equal(response.status, 422);
    assert.match(((await response.json()) as { message: string }).message, /row 0, column 0: .* float32/);
    await own.kill();
  });

  test("a store that is none, or of other features, or with a word for a number", async () => {
    const file = store("other");
    await (await Instance.start(file)).kill("SIGTERM");
    await assert.rejects(Instance.start(file, { FEATURES: "5" }), /has statistics of 4 features, not 5/);
    const database = new Database(file);
    const state = new StandardScaler(4).partialFit(Float32Array.of(1, 1, 1, 1)).toJSON();
    const words = JSON.stringify({ ...state, mean: ["1", 1, 1, 1] });
    database.prepare("INSERT INTO snapshots VALUES ('x', 1, ?)").run(words);
    database.close();
    await assert.rejects(Instance.start(file), /a value of mean .*"1"/);
    await assert.rejects(Instance.start(file, { FEATURES: "" }), /FEATURES/);
  });
});

/** A connection that sends `text` and then nothing; resolves when the service ends it. */
function stalled(url: string, text: string): { socket: Socket; ended: Promise<string> } {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  if (text) socket.write(text);
  let answer = "";
  const ended = new Promise<string>((resolve) => {
    socket.on("data", (data) => {
      answer += data;
    });
    socket.on("error", () => resolve(answer));
    socket.on("close", () => resolve(answer));
  });
  return { socket, ended };
}

const STALLS: Record<string, string> = {
  silence: "",
  "half a header": "POST /transform HTTP/1.1\r\nHost: x\r\nContent-",
  "a stalled body": `POST /transform HTTP/1.1\r\nHost: x\r\nContent-Type: ${RAW_TYPE}\r\nContent-Length: 1600\r\n\r\n1234`,
};

describe("a connection that says nothing more", () => {
  for (const [name, text] of Object.entries(STALLS)) {
    test(`${name} is ended in time`, async () => {
      const { ended } = stalled(service.url, text);
      const answer = await Promise.race([ended, sleep(4000, "still there")]);
      assert.notEqual(answer, "still there");
      if (text) assert.match(answer, /408/);
    });

    test(`${name} does not keep the process after SIGTERM`, async () => {
      const own = await Instance.start(store(name.replaceAll(" ", "-")), { GRACE: "700" });
      const { ended } = stalled(own.url, text);
      await sleep(200);
      const start = Date.now();
      assert.equal(await own.kill("SIGTERM"), 0);
      assert.ok(Date.now() - start < 2500, `${Date.now() - start} ms`);
      await ended;
    });
  }
});

test("SIGTERM: what is under way is answered, and kept", async () => {
  const file = store("graceful");
  const own = await Instance.start(file);
  const { hostname, port } = new URL(own.url);
  const socket = connect(Number(port), hostname);
  const body = Buffer.from(raw(rowsOf(100, 1)));
  socket.write(
    `POST /partial-fit HTTP/1.1\r\nHost: x\r\nContent-Type: ${RAW_TYPE}\r\nContent-Length: ${body.length}\r\n\r\n`,
  );
  socket.write(body.subarray(0, 100));
  await sleep(200);
  const ended = own.kill("SIGTERM");
  await sleep(300);
  await assert.rejects(fetch(`${own.url}/health`));
  let answer = "";
  socket.on("data", (data) => {
    answer += data;
  });
  socket.write(body.subarray(100));
  assert.equal(await ended, 0);
  assert.match(answer, /200 OK/);
  const again = await Instance.start(file);
  assert.equal((await again.statistics()).count, 100);
  await again.kill();
});
