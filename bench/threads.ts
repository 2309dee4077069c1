/**
 * Several threads beside one, in turns in one process, as ratios; what joining costs; and what tiles and merging leave to gain for
 * up to 64 threads. Needs a build: npx tsx bench/threads.ts > bench/threads.md
 */
import { setTimeout } from "node:timers/promises";
import { FIELD, PHASE } from "../src/engine/pass.ts";
import { BatchNorm, init, LayerNorm, runtimeInfo, shutdown, tensor } from "../src/index.ts";
import { runtime } from "../src/runtime/runtime.ts";
import { LIMITS } from "../src/runtime/threads/limits.ts";

const ROUNDS = Number(process.env.ROUNDS ?? 200);
const THREADS = 2;
const SHAPES = [
  [64, 256],
  [128, 512],
  [256, 1024],
  [1024, 1024],
  [4096, 1024],
] as const;
const SIMULATED = [2, 4, 8, 16, 32, 64];

/** The value that `share` of all lie below. */
const quantile = (values: number[], share: number): number =>
  values.sort((a, b) => a - b)[Math.floor(values.length * share)]!;

const timed = (run: () => void): number => {
  const start = performance.now();
  run();
  return performance.now() - start;
};

await init({ threads: THREADS });
if (runtimeInfo().threads < THREADS) throw new Error(runtimeInfo().threadsReason);
// What is asked is what threads bring, not when they are left alone.
LIMITS.patienceMs = Number.POSITIVE_INFINITY;
const held = runtime();
const { team, kernels } = held;

const families = {
  "batch norm": (width: number) => new BatchNorm(width),
  "layer norm": (width: number) => new LayerNorm(width),
};

/** A layer's two calls. */
function calls(family: keyof typeof families, rows: number, width: number) {
  const layer = families[family](width);
  const values = Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i));
  const [x, y, dx] = [0, 1, 2].map(() => tensor([rows, width], values)) as [Tensor, Tensor, Tensor];
  layer.forwardInto(x, y);
  return {
    forward: () => void layer.forwardInto(x, y),
    backward: () => void layer.backwardInto(y, dx, { retain: true }),
    close: () => {
      for (const one of [layer, x, y, dx]) one.dispose();
    },
  };
}
type Tensor = ReturnType<typeof tensor>;

console.log(`# Threads

\`npx tsx bench/threads.ts > bench/threads.md\`, Node ${process.versions.node}, ${runtimeInfo().variant}, two cores that others use, too. One thread and ${THREADS} in turns, ${ROUNDS} rounds: the time of one over that of ${THREADS}, of the medians and of the fastest tenths, which others' work slows least.

| family | shape | forward | backward | forward, fastest tenth | backward, fastest tenth |
| --- | --- | --- | --- | --- | --- |`);
for (const family of ["batch norm", "layer norm"] as const) {
  for (const [rows, width] of SHAPES) {
    const { forward, backward, close } = calls(family, rows, width);
    const times: number[][][] = [
      [[], []],
      [[], []],
    ];
    const rounds = Math.max(30, Math.min(ROUNDS, Math.ceil((ROUNDS * 2 ** 20) / (rows * width))));
    for (let round = -5; round < rounds; round++) {
      for (const several of [0, 1]) {
        held.team = several ? team : undefined;
        for (const [i, call] of [forward, backward].entries()) {
          const ms = timed(call);
          if (round >= 0) times[i]![several]!.push(ms);
        }
      }
    }
    const ratio = (i: number, share: number) =>
      (quantile(times[i]![0]!, share) / quantile(times[i]![1]!, share)).toFixed(2);
    console.log(
      `| ${family} | ${rows} x ${width} | ${ratio(0, 0.5)} | ${ratio(1, 0.5)} | ${ratio(0, 0.1)} | ${ratio(1, 0.1)} |`,
    );
    close();
  }
}

// Joining: calls one after the other, and calls before each of which the workers have gone to sleep.
held.team = team;
const { forward, close } = calls("layer norm", 256, 1024);
const joining: number[][] = [[], []];
for (let round = 0; round < 60; round++) {
  forward();
  joining[0]!.push(timed(forward));
  await setTimeout(3);
  joining[1]!.push(timed(forward));
}
close();
const joined = joining.map((times) => (1000 * quantile(times, 0.1)).toFixed(0));
console.log(`
Layer norm 256 x 1024 forward, fastest tenth: ${joined[0]} us right after another call, ${joined[1]} us once the workers sleep.

## More threads

What a pass falls into, and what one thread needs for its tiles and for what comes before and after them (\`begin\`, \`finish\`: the merging of sums), in us. From these, n threads take \`ceil(tiles / n)\` tiles' time for each phase and all of the rest: the speed-up if every thread had a core, and memory gave each what it gives one.

| family | shape | direction | tiles | tile | rest | ${SIMULATED.join(" | ")} |
| --- | --- | --- | --- | --- | --- | ${SIMULATED.map(() => "---").join(" | ")} |`);

/** A phase by its tiles: how many, and the least time that one and what is around them took, in us. */
interface Phase {
  tiles: number;
  tile: number;
  rest: number;
}
const phases: Phase[] = [];

/** Runs a pass by its tiles, on one thread, and notes times. */
function byTiles(pass: number, backward: boolean): boolean {
  const first = backward ? PHASE.BACKWARD : PHASE.FORWARD;
  const fields = backward
    ? [FIELD.backwardTiles, FIELD.backwardApplyTiles]
    : [FIELD.forwardTiles, FIELD.forwardApplyTiles];
  for (const [at, field] of fields.entries()) {
    const tiles = held.u32[pass / 4 + field]!;
    if (tiles === 0) continue;
    const begin = timed(() => kernels.begin(pass, first + at));
    const all = Array.from({ length: tiles }, (_, i) => timed(() => kernels.tile(pass, first + at, i, 0)));
    const rest = begin + timed(() => kernels.finish(pass, first + at));
    const phase = (phases[at] ??= { tiles, tile: Infinity, rest: Infinity });
    phase.tile = Math.min(phase.tile, 1000 * quantile(all, 0.5));
    phase.rest = Math.min(phase.rest, 1000 * rest);
  }
  return true;
}

held.team = {
  ...{ threads: 1, places: THREADS, reason: undefined, end: async () => {} },
  ...{ around: () => false, stage: () => false },
  forward: (pass) => byTiles(pass, false),
  backward: (pass) => byTiles(pass, true),
};
for (const family of ["batch norm", "layer norm"] as const) {
  for (const [rows, width] of SHAPES.slice(2)) {
    const { close, ...both } = calls(family, rows, width);
    for (const [direction, call] of Object.entries(both)) {
      phases.length = 0;
      for (let round = 0; round < 30; round++) call();
      const time = (threads: number) =>
        phases.reduce((sum, { tiles, tile, rest }) => sum + Math.ceil(tiles / threads) * tile + rest, 0);
      const shown = (name: keyof Phase) => phases.map((phase) => phase[name].toFixed(0)).join(" + ");
      const gains = SIMULATED.map((threads) => (time(1) / time(threads)).toFixed(1));
      console.log(
        `| ${family} | ${rows} x ${width} | ${direction} | ${phases[0]!.tiles} | ${shown("tile")} | ${shown("rest")} | ${gains.join(" | ")} |`,
      );
    }
    close();
  }
}
held.team = team;
await shutdown();
