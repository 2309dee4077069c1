/** Runs TensorFlow.js on both backends, each in a process of its own, and writes tfjs.md. */
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { loadavg } from "node:os";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { SingleBar } from "cli-progress";
import type { Runtime } from "../contenders/index.ts";
import { describeMachine, machineInWords } from "../machine.ts";
import { forMarkdown } from "../tables.ts";
import type { Result } from "./host.ts";

const BACKENDS = ["wasm", "cpu"] as const;
/** How many rows there are on both, for the bar: for a check, and where they are timed. */
const ROWS = { check: 21, all: 31 };

export interface TfjsRun {
  runtime: string;
  backends: { backend: (typeof BACKENDS)[number]; results: Result[] }[];
}

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const tsx = pathToFileURL(createRequire(import.meta.url).resolve("tsx")).href;

/** Checks every row, and times it in so many rounds. @throws Error where a process fails */
export async function measureTfjs({ name, node }: Runtime, rounds: number): Promise<TfjsRun> {
  const bar = new SingleBar({ format: "{bar} TensorFlow.js, {row}", clearOnComplete: true });
  bar.start(rounds ? ROWS.all : ROWS.check, 0, { row: "" });
  const run: TfjsRun = { runtime: name, backends: [] };
  for (const backend of BACKENDS) {
    const results: Result[] = [];
    const args = ["--import", tsx, here("host.ts"), backend, String(rounds)];
    const child = spawn(node, args, { stdio: ["ignore", "pipe", "inherit"] });
    const ended = new Promise<number | null>((done) => child.on("close", done));
    for await (const line of createInterface({ input: child.stdout })) {
      // tfjs greets on its own.
      if (!line.startsWith("row ")) continue;
      results.push(JSON.parse(line.slice(4)));
      bar.increment(1, { row: `${backend}, ${results.at(-1)!.name}` });
    }
    const code = await ended;
    if (code !== 0) throw new Error(`TensorFlow.js on ${backend}: expected it to end well, got code ${code}`);
    run.backends.push({ backend, results });
  }
  bar.stop();
  return run;
}

/** What came out wrong. */
export const tfjsFailures = ({ backends }: TfjsRun): string[] =>
  backends.flatMap(({ backend, results }) =>
    results.flatMap(({ name, errors, bounds }) =>
      (["stock", "installed"] as const)
        .filter((side) => !(errors[side] <= bounds[side]))
        .map((side) => `tfjs ${backend}, ${side}, ${name}: ${errors[side]} off, ${bounds[side]} allowed`),
    ),
  );

const ms = (value: number) => `${value.toPrecision(3)} ms`;
const quotient = (value: number) => (value < 10 ? value.toFixed(2) : value.toPrecision(3));
const percent = (value: number) => `${(100 * value).toFixed(1)} %`;

/** A table for each backend. */
export const tfjsTables = ({ backends }: TfjsRun): [string, string[][]][] =>
  backends.map(({ backend, results }) => [
    `tfjs's ${backend} backend`,
    [
      ["", "stock", "installed", "times as fast", "goal", "normalization's share"],
      ...results.map(({ name, stock, installed, times, goal, share }) => [
        name,
        ms(stock!),
        ms(installed!),
        quotient(times!),
        goal === undefined ? "" : `${goal}${times! >= goal ? "" : ", missed"}`,
        share === undefined ? "" : percent(share),
      ]),
    ],
  ]);

const INTRODUCTION = `# TensorFlow.js with wasm-norm/tfjs

Written by \`npm run bench -- --set tfjs\`. TensorFlow.js as it is and after \`await install(tf)\`, in turns, in one process for each backend. What comes out was checked before: layers on both sides against float64, training steps by their losses against stock's.

- **stock** and **installed**: processor time, medians over the rounds, without each round's first run. **times as fast**: the median of the quotients within a round, whose two sides what disturbs the machine disturbs alike.
- **normalization's share**: of the time of all kernels of a step, installed.
- nsfwjs's networks are in \`npm run example:tfjs\`, which prints a table of its own.`;

/** Writes the page. */
export function writeTfjs(run: TfjsRun): void {
  const load = loadavg()[0]!.toFixed(1);
  const machine = machineInWords(describeMachine());
  const measured = `${new Date().toISOString().slice(0, 10)}, ${run.runtime}, ${machine}; load average at the end ${load}.`;
  const sections = tfjsTables(run).map(([title, table]) => `## ${title}\n\n${forMarkdown(table)}`);
  writeFileSync(here("../tfjs.md"), `${[INTRODUCTION, measured, ...sections].join("\n\n")}\n`);
}
