// Ranks and broker are killed at random, 100 times: no call goes on past its deadline, and no result is wrong.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Broker } from "../../broker.ts";
import { random } from "./minibatch.ts";
import { judge, killAll, Rank } from "./ranks.ts";

const KILLS = Number(process.env.KILLS ?? 100);
const SEED = Number(process.env.SEED ?? 1);
const DEADLINE = 1200;
/** What two busy cores may add to a timer. */
const SLACK = 600;

const broker = await Broker.start();
after(async () => {
  await killAll();
  await broker.stop();
});

async function ready(): Promise<Rank> {
  const rank = new Rank(broker.url);
  await rank.next(({ kind }) => kind === "ready");
  return rank;
}

test(`${KILLS} kills`, async (context) => {
  const next = random(SEED);
  const tally = { ranks: 0, brokers: 0, steps: 0, timeouts: 0, diverged: 0, slowest: 0 };
  let ranks: Rank[] = [];
  let epoch = 0;
  while (tally.ranks + tally.brokers < KILLS) {
    const size = [2, 3, 5][Math.floor(next() * 3)]!;
    while (ranks.length < size) ranks.push(await ready());
    epoch++;
    const run = { epoch, size, deadline: DEADLINE, seed: epoch, steps: 1_000_000 };
    const playing = ranks.slice(0, size);
    playing.forEach((rank, r) => {
      rank.run({ ...run, rank: r });
    });
    // The first call may fail on a machine that has too much to do: by its deadline, as any other.
    await Promise.all(
      playing.map((rank) =>
        rank.next((report) => report.kind !== "ready" && report.epoch === epoch, DEADLINE + 5000),
      ),
    );

    // The broker, up to twice, and in the end a rank, now and then while the broker is away.
    const brokers = Math.floor(next() * 3);
    let away: Promise<void> = Promise.resolve();
    for (let i = 0; i < brokers; i++) {
      await away;
      await sleep(next() * 60);
      await broker.kill();
      tally.brokers++;
      away = sleep(next() * 100).then(() => broker.restart());
    }
    if (next() < 0.7) await away;
    await sleep(next() * 60);
    const victim = Math.floor(next() * size);
    await playing[victim]!.kill();
    tally.ranks++;
    await away;

    const others = playing.filter((_, r) => r !== victim);
    const failures = await Promise.all(
      others.map((rank) => rank.next((report) => report.kind === "failed" && report.epoch === epoch)),
    );
    for (const failure of failures) {
      assert.ok(failure.kind === "failed");
      tally.slowest = Math.max(tally.slowest, failure.milliseconds);
      assert.ok(failure.milliseconds < DEADLINE + SLACK, JSON.stringify(failure));
      if (failure.code === "timeout") tally.timeouts++;
      else {
        assert.equal(failure.code, "diverged", JSON.stringify(failure));
        tally.diverged++;
      }
    }
    // Where no broker was away at the deadline, all say the same, and whom it was for.
    if (brokers === 0)
      for (const failure of failures) assert.deepEqual((failure as { ranks: number[] }).ranks, [victim]);
    await Promise.all(
      others.map((rank) => rank.next((report) => report.kind === "done" && report.epoch === epoch)),
    );
    tally.steps += judge(playing, epoch, epoch, size).steps;
    for (const rank of ranks) rank.reports.length = 0;
    ranks = ranks.filter((rank) => rank.alive);
  }
  context.diagnostic(JSON.stringify(tally));
  assert.ok(tally.steps > KILLS, `only ${tally.steps} steps`);
});
