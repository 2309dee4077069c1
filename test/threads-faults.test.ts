/** Workers that end, hang or fail in the middle of a call: it returns right, and what is left goes on. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { afterEach, beforeAll, describe, expect, test } from "vitest";
import { load, normals, seeded } from "./cases.js";
import { type Big, big, call, differences, few, type Results } from "./threads/calls.js";
import { dying, FATES } from "./threads/dying.js";
import { loadThreaded, type Threaded } from "./threads/team.js";

/** How many calls the long test makes: CALLS=10000 is what it was made for. */
const CALLS = Number(process.env.CALLS ?? 400);

let threaded: Threaded | undefined;
afterEach(() => threaded?.library.shutdown());

const picked = [
  "batch norm, near",
  "batch norm channels-first",
  "layer norm",
  "group norm channels-first",
].map((name) => big.find((one) => one.name === name) as Big);

let expected: Results[];
beforeAll(async () => {
  const plain = await load("simd");
  expected = picked.flatMap((one) => few.map((what) => call(plain, one, what)));
});

describe.each(FATES)("a worker %s in the middle of a tile", (fate) => {
  test.each([
    ["before it has written", false],
    ["after it has written", true],
  ])("%s", { timeout: 120_000 }, async (_, after) => {
    let tiles = 0;
    const worker = dying(
      fate,
      () => tiles,
      () => after,
    );
    threaded = await loadThreaded("simd", 2, { worker }, 200, 500);
    const { library } = threaded;
    let lost = 0;
    for (const [i, one] of picked.entries()) {
      for (const [j, what] of few.entries()) {
        expect(differences(call(library, one, what), expected[few.length * i + j]!), one.name).toEqual([]);
        if (library.runtimeInfo().threads > 1) continue;
        lost++;
        expect(library.runtimeInfo().threadsReason).toMatch(/^a worker/);
        tiles = (tiles + 3) % 7;
        await library.shutdown();
        await library.init({ threads: 2, worker });
        threaded.follow();
      }
    }
    expect(lost).toBeGreaterThan(3);
  });
});

test("workers are killed at random during many calls", { timeout: 1_000_000 }, async () => {
  const random = seeded(Number(process.env.SEED ?? 1));
  const plain = await load("simd");
  const make = (library: typeof plain) => {
    const layers = [new library.BatchNorm(512), new library.LayerNorm(512), new library.RMSNorm(512)];
    const shape = [300, 512];
    const [x, y, dx] = [1, 2, 3].map(() => library.tensor(shape));
    return (i: number) => {
      const layer = layers[i % 3]!;
      x!.set(inputs[i % 4]!);
      dx!.set(inputs[(i + 1) % 4]!);
      layer.forwardInto(x!, y!);
      layer.backwardInto(dx!, dx!);
      layer.zeroGrad();
      return [y!, dx!].map((tensor) => tensor.data);
    };
  };
  const inputs = [1, 2, 3, 4].map((seed) => normals(300 * 512, seed));
  const one = make(plain);
  const expected = Array.from({ length: 12 }, (_, i) =>
    one(i).map((values) => Buffer.from(values.slice().buffer)),
  );
  const program = readFileSync(new URL("../build/threads-worker.js", import.meta.url), "utf8");
  let workers: Worker[] = [];
  const worker = () => {
    const made = new Worker(program, { eval: true, execArgv: [] });
    workers.push(made);
    return made;
  };
  threaded = await loadThreaded("simd", 4, { worker }, 200, 20);
  const { library } = threaded;
  const several = make(library);
  let killed = 0;
  for (let i = 0; i < CALLS; i++) {
    // The thread ends some time during the call: termination is asked for, and not awaited.
    if (random() < 0.02 && workers.length > 0) {
      void workers.splice(Math.floor(random() * workers.length), 1)[0]!.terminate();
      killed++;
    }
    for (const [j, values] of several(i).entries())
      expect(Buffer.compare(Buffer.from(values.slice().buffer), expected[i % 12]![j]!), `call ${i}`).toBe(0);
    if (workers.length > 1) continue;
    await library.shutdown();
    workers = [];
    await library.init({ threads: 4, worker });
    threaded.follow();
  }
  expect(killed).toBeGreaterThan(CALLS / 100);
});
