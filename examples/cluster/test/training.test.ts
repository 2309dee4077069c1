// Three processes have the loss curve of one.
import assert from "node:assert/strict";
import { test } from "node:test";
import { Broker } from "../../broker.ts";
import { trainInOne, trainTogether } from "../src/training/main.ts";

test("three processes with SyncBatchNorm have the loss curve of one with BatchNorm", async (context) => {
  const broker = await Broker.start();
  const together = await trainTogether(broker.url, "training", 3).finally(() => broker.stop());
  const alone = trainInOne();
  for (const losses of together) assert.deepEqual(losses, together[0]);
  assert.equal(together[0]!.length, alone.length);
  let largest = 0;
  alone.forEach((loss, step) => {
    const apart = Math.abs(loss - together[0]![step]!);
    largest = Math.max(largest, apart);
    // Both round gradients to float32, each in its own order; training carries that on.
    assert.ok(apart <= 1e-6, `step ${step}: ${loss} alone, ${together[0]![step]} together`);
  });
  assert.ok(alone.at(-1)! < 0.5 * alone[0]!, "no training took place");
  context.diagnostic(`largest difference over ${alone.length} steps: ${largest.toExponential(1)}`);
});
