// Ranks in processes of their own over a real nats-server.
import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { natsCollective } from "wasm-norm/nats";
import { Broker } from "../../broker.ts";
import { connectTo } from "../src/connect.ts";
import { judge, killAll, Rank } from "./ranks.ts";

let broker: Broker;
before(async () => {
  broker = await Broker.start();
});
after(() => broker.stop());
afterEach(killAll);

describe("over NATS", () => {
  for (const size of [2, 3, 5]) {
    test(`${size} ranks have what one process has, and the same bits`, async () => {
      const ranks = Array.from({ length: size }, () => new Rank(broker.url));
      await Promise.all(ranks.map((rank) => rank.next(({ kind }) => kind === "ready")));
      ranks.forEach((rank, r) => {
        rank.run({ epoch: 0, rank: r, size, deadline: 5000, seed: size, steps: 40 });
      });
      await Promise.all(ranks.map((rank) => rank.next(({ kind }) => kind === "done")));
      assert.deepEqual(judge(ranks, 0, size, size), { steps: 40 * size, failures: [] });
    });
  }

  test("a rank that is killed is the same error on all others by the deadline", async () => {
    const ranks = Array.from({ length: 3 }, () => new Rank(broker.url));
    await Promise.all(ranks.map((rank) => rank.next(({ kind }) => kind === "ready")));
    ranks.forEach((rank, r) => {
      rank.run({ epoch: 1, rank: r, size: 3, deadline: 700, seed: 9, steps: 100_000 });
    });
    await ranks[1]!.next((report) => report.kind === "step" && report.step === 5);
    await ranks[1]!.kill();
    for (const r of [0, 2]) {
      const report = await ranks[r]!.next(({ kind }) => kind === "failed");
      assert.ok(report.kind === "failed" && report.code === "timeout", JSON.stringify(report));
      assert.deepEqual(report.ranks, [1]);
      assert.ok(report.milliseconds < 700 + 200, `after ${report.milliseconds} ms`);
    }
    judge(ranks, 1, 9, 3);
  });

  test("a broker that is killed and started again only delays", async () => {
    const ranks = Array.from({ length: 3 }, () => new Rank(broker.url));
    await Promise.all(ranks.map((rank) => rank.next(({ kind }) => kind === "ready")));
    ranks.forEach((rank, r) => {
      rank.run({ epoch: 2, rank: r, size: 3, deadline: 5000, seed: 4, steps: 500 });
    });
    await ranks[0]!.next((report) => report.kind === "step" && report.step === 5);
    for (let i = 0; i < 3; i++) {
      await broker.kill();
      await sleep(100);
      await broker.restart();
      await sleep(200);
    }
    await Promise.all(ranks.map((rank) => rank.next(({ kind }) => kind === "done", 60_000)));
    assert.deepEqual(judge(ranks, 2, 4, 3), { steps: 1500, failures: [] });
  });

  test("messages longer than the server takes go in parts", async () => {
    const connections = await Promise.all([connectTo(broker.url), connectTo(broker.url)]);
    const groups = connections.map((connection, rank) =>
      natsCollective(connection, { group: "long", rank, size: 2, deadline: 5000 }),
    );
    const bytes = new Uint8Array(3_500_000).map((_, i) => i * 31);
    const got = await Promise.all(groups.map((group) => group.allGather(bytes)));
    for (const [a, b] of got) {
      assert.ok(Buffer.from(a!).equals(bytes));
      assert.ok(Buffer.from(b!).equals(bytes));
    }
    await Promise.all(groups.map((group) => group.close()));
    await Promise.all(connections.map((connection) => connection.close()));
    // On a closed connection a call is an error at once.
    const late = natsCollectiveOrError(connections[0]!);
    assert.match(String(late), /closed/i);
  });

  test("wrong arguments", async () => {
    const connection = await connectTo(broker.url);
    const options = { group: "a", rank: 0, size: 1 };
    assert.throws(() => natsCollective({} as never, options), TypeError);
    assert.throws(() => natsCollective(connection, { ...options, group: "a b" }), RangeError);
    assert.throws(() => natsCollective(connection, { ...options, group: "a.*" }), RangeError);
    assert.throws(() => natsCollective(connection, { ...options, group: undefined as never }), TypeError);
    assert.throws(() => natsCollective(connection, { ...options, rank: 1 }), RangeError);
    await connection.close();
  });
});

function natsCollectiveOrError(connection: Parameters<typeof natsCollective>[0]): unknown {
  try {
    return natsCollective(connection, { group: "late", rank: 0, size: 2 });
  } catch (error) {
    return error;
  }
}
