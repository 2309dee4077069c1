/** TensorFlow.js on one backend, in a process of its own: checks every row, times them in turns, and prints what it found. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { install } from "../../src/tfjs.ts";
import { median } from "../statistics.ts";
import type { Row } from "./rows.ts";
import { rowsFor } from "./rows.ts";

/** A row's outcome; times in ms of the processor where there were rounds. */
export interface Result {
  name: string;
  errors: { stock: number; installed: number };
  bounds: { stock: number; installed: number };
  goal?: number | undefined;
  stock?: number;
  installed?: number;
  /** How many times as fast it is installed: the median over the rounds. */
  times?: number;
  /** Of a whole step: how much of it normalization takes. */
  share?: number;
}

const SIDES = ["stock", "installed"] as const;
/** Each timing repeats its work for so long, in ms of processor time, so that the clock's step is nothing. */
const LEAST = 30;
const WARM = 300;

async function on<T>(side: (typeof SIDES)[number], work: () => T): Promise<T> {
  const uninstall = side === "installed" ? await install(tf) : undefined;
  try {
    return work();
  } finally {
    uninstall?.();
  }
}

/** ms of processor time since `start`: what waits for others' work does not count, which a long run meets more of. */
function since(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

/** ms for one run of `work`: of many after a first one, or of the first where that takes long. */
function time(work: () => void, least: number): number {
  const begin = process.cpuUsage();
  work();
  const first = since(begin);
  if (first > least) return first;
  const start = process.cpuUsage();
  let runs = 0;
  do {
    work();
    runs++;
  } while (since(start) < least);
  return since(start) / runs;
}

/** The share of a step's kernels that is normalization's. */
async function shareOf({ run }: Row): Promise<number> {
  const uninstall = await install(tf);
  const { kernels } = await tf.profile(run as never);
  uninstall();
  let own = 0;
  let all = 0;
  for (const kernel of kernels) {
    const ms = (kernel as unknown as { kernelTimeMs: number }).kernelTimeMs;
    all += ms;
    if (kernel.name.startsWith("WasmNorm")) own += ms;
  }
  return own / all;
}

async function measure(row: Row, rounds: number): Promise<Result> {
  const { name, bounds, goal } = row;
  const errors = { stock: 0, installed: 0 };
  for (const side of SIDES) errors[side] = await on(side, () => row.error());
  if (!rounds) return { name, errors, bounds };
  const times = { stock: [] as number[], installed: [] as number[] };
  for (let round = 0; round <= rounds; round++) {
    for (const side of SIDES) {
      // The first round warms up: engines compile for speed what has run for a while.
      const ms = await on(side, () => time(row.run, round ? LEAST : WARM));
      if (round) times[side].push(ms);
    }
  }
  const result = { name, errors, bounds, goal };
  const quotients = times.stock.map((ms, round) => ms / times.installed[round]!);
  const medians = { stock: median(times.stock), installed: median(times.installed) };
  const share = row.whole && { share: await shareOf(row) };
  return { ...result, ...medians, times: median(quotients), ...share };
}

const [backend = "wasm", rounds = "0", text = ""] = process.argv.slice(2);
if (backend === "wasm") {
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  setWasmPaths(`${dirname(createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm"))}/`);
}
if (!(await tf.setBackend(backend))) throw new Error(`expected tfjs's backend ${backend}, got none`);
// A line for each row: one that is done is told while the next one runs.
for (const row of rowsFor(backend, rounds === "0", text))
  console.log(`row ${JSON.stringify(await measure(row, Number(rounds)))}`);
