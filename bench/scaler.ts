/**
 * wasm-norm/scaler beside scikit-learn's StandardScaler and a memory copy, on one thread, in turns:
 *
 *     npm run build && npx tsx bench/scaler.ts        (Debian: apt-get install python3-sklearn)
 *
 * Both sides' statistics and results are compared first. A figure is the median over rounds of processor time, of all
 * threads of a process, in nanoseconds a value: others' work on the machine moves it less than it moves a clock. The copy is the faster of TypedArray.set and numpy's copyto, and moves twice the bytes that a fit reads.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { describeMachine, machineInWords } from "./machine.ts";
import { geometricMean, median } from "./statistics.ts";

const { StandardScaler }: typeof import("../src/scaler.ts") = await import(
  new URL("../dist/scaler.js", import.meta.url).href
);

const SHAPES = [
  [32, 64],
  [1000, 10],
  [256, 256],
  [1024, 1024],
  [20_000, 100],
  [65_536, 16],
  [1_000_000, 8],
  [4096, 1024],
] as const;
const ROUNDS = 11;
/** Time that a contender takes in a round, at least one call. */
const SLICE_MS = 12;

class ScikitLearn {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    const runner = fileURLToPath(new URL("native/sklearn_runner.py", import.meta.url));
    const env = { ...process.env, OMP_NUM_THREADS: "1", OPENBLAS_NUM_THREADS: "1" };
    this.#child = spawn("/usr/bin/python3", [runner], { env, stdio: ["pipe", "pipe", "inherit"] });
    this.#lines = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async ask<T>(what: Record<string, unknown>): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(what)}\n`);
    const { value, done } = await this.#lines.next();
    if (done) throw new Error("scikit-learn's process ended: is python3-sklearn installed?");
    return JSON.parse(value);
  }

  close(): void {
    this.#child.stdin!.end();
  }
}

/** Runs it so many times. Nanoseconds a call. */
type Run = (calls: number) => number | Promise<number>;

const here =
  (run: () => unknown): Run =>
  (calls) => {
    const start = process.cpuUsage();
    for (let i = 0; i < calls; i++) run();
    const { user, system } = process.cpuUsage(start);
    return ((user + system) * 1e3) / calls;
  };

async function inTurns(runs: Record<string, Run>): Promise<Record<string, number>> {
  const calls: Record<string, number> = {};
  const times: Record<string, number[]> = {};
  for (const [name, run] of Object.entries(runs)) {
    // Kernels are compiled in two steps; the second is over after some hundred calls.
    for (let i = 0; i < 3; i++) calls[name] = Math.ceil((SLICE_MS * 1e6) / (await run(calls[name] ?? 1)));
    times[name] = [];
  }
  for (let round = 0; round < ROUNDS; round++)
    for (const [name, run] of Object.entries(runs)) times[name]!.push(await run(calls[name]!));
  return Object.fromEntries(Object.entries(times).map(([name, each]) => [name, median(each)]));
}

function check(what: string, got: ArrayLike<number>, want: number[], limit: number): void {
  want.forEach((value, i) => {
    const error = Math.abs(got[i]! - value);
    if (!(error <= limit * Math.max(1, Math.abs(value))))
      throw new Error(`${what} ${i}: ${got[i]}, scikit-learn ${value}`);
  });
}

/** Normal enough: four uniform numbers, each column with its own mean and deviation. */
function matrix(rows: number, columns: number, wide: boolean): Float32Array | Float64Array {
  const x = new (wide ? Float64Array : Float32Array)(rows * columns);
  let state = 1;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  for (let i = 0; i < x.length; i++) {
    const j = i % columns;
    x[i] = (j % 7) - 3 + (0.5 + (j % 5) / 2) * (uniform() + uniform() + uniform() + uniform() - 2);
  }
  return x;
}

const folder = mkdtempSync(join(tmpdir(), "scaler-"));
const python = new ScikitLearn();
const table = new Table({
  head: [
    "rows x columns",
    "type",
    "copy",
    "fit",
    "sklearn's",
    "times",
    "to copy",
    "transform",
    "Into",
    "sklearn's",
    "times",
    "Into",
    "Into to copy",
  ],
  style: { head: [], border: [] },
});
const ratios: Record<string, number[]> = { partialFit: [], transform: [], transformInto: [] };
try {
  let version = "";
  for (const wide of [false, true]) {
    for (const [rows, columns] of SHAPES) {
      const x = matrix(rows, columns, wide);
      const file = join(folder, "x");
      writeFileSync(file, new Uint8Array(x.buffer));
      version = await python.ask({ prepare: wide ? "f8" : "f4", rows, columns, file });
      const scaler = new StandardScaler(columns).partialFit(x);
      const theirs = await python.ask<{ mean: number[]; variance: number[]; y: number[] }>({ check: true });
      check("mean", scaler.mean, theirs.mean, 1e-9);
      check("variance", scaler.variance, theirs.variance, 1e-9);
      check("y", scaler.transform(x), theirs.y, wide ? 1e-9 : 1e-5);

      const out = x.slice();
      const their =
        (op: string): Run =>
        async (calls) =>
          ((await python.ask<number>({ time: op, calls })) * 1e9) / calls;
      const t = await inTurns({
        copy: here(() => out.set(x as Float32Array)),
        numpyCopy: their("copy"),
        fit: here(() => scaler.partialFit(x)),
        theirFit: their("partial_fit"),
        transform: here(() => scaler.transform(x)),
        into: here(() => scaler.transformInto(x, out)),
        theirTransform: their("transform"),
      });
      const copy = Math.min(t.copy!, t.numpyCopy!);
      const ns = (time: number) => (time / x.length).toFixed(2);
      const times = (a: number, b: number) => (a / b).toFixed(1);
      table.push([
        `${rows} x ${columns}`,
        wide ? "float64" : "float32",
        ns(copy),
        ns(t.fit!),
        ns(t.theirFit!),
        times(t.theirFit!, t.fit!),
        (t.fit! / copy).toFixed(2),
        ns(t.transform!),
        ns(t.into!),
        ns(t.theirTransform!),
        times(t.theirTransform!, t.transform!),
        times(t.theirTransform!, t.into!),
        (t.into! / copy).toFixed(2),
      ]);
      ratios.partialFit!.push(t.theirFit! / t.fit!);
      ratios.transform!.push(t.theirTransform! / t.transform!);
      ratios.transformInto!.push(t.theirTransform! / t.into!);
    }
  }
  console.log(machineInWords(describeMachine()));
  console.log(`Node ${process.versions.node}, scikit-learn ${version}, one thread; nanoseconds a value`);
  console.log(table.toString());
  for (const [name, each] of Object.entries(ratios)) {
    console.log(
      `${name}: ${geometricMean(each).toFixed(1)} times scikit-learn in the geometric mean, ${Math.min(...each).toFixed(1)} at least`,
    );
  }
} finally {
  python.close();
  rmSync(folder, { recursive: true, force: true });
}
