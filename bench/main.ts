/** The command line of the suite; `npm run bench -- --help` prints what it takes. */
import { mkdtempSync, rmSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { contenders, runtimes } from "./contenders/index.ts";
import { addFigures, figuresOf, loadFigures, saveFigures } from "./figures.ts";
import { describeMachine, machineInWords } from "./machine.ts";
import { Field, measure, type Outcome } from "./measure.ts";
import { writeReport } from "./report.ts";
import { quickShapes, type Shape, shapeSets, shapes, sizeOf } from "./shapes.ts";
import { printTables } from "./tables.ts";

const help = `npm run bench -- [options]
  --quick            check every contender's outputs on small shapes; times nothing
  --set NAME         only this set of shapes: ${shapeSets.join(", ")}
  --shape TEXT       only shapes whose name contains TEXT
  --contender TEXT   only contenders whose name contains TEXT, and the memory copy
  --node TEXT        only the Node whose name contains TEXT
  --rounds N         rounds (15)
  --report           make the report anew from the figures there are`;

const { values: options } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    set: { type: "string", default: "" },
    shape: { type: "string", default: "" },
    contender: { type: "string", default: "" },
    node: { type: "string", default: "" },
    rounds: { type: "string", default: "15" },
    report: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

const chosenContenders = contenders.filter(
  ({ name, kind }) => kind === "copy" || contains(name, options.contender),
);
const chosenRuntimes = runtimes().filter(({ name }) => contains(name, options.node));
const chosenShapes = (options.quick ? quickShapes : shapes).filter(
  ({ name, set }) => contains(name, options.shape) && contains(set, options.set),
);

if (options.help) console.log(help);
else if (options.report) await writeReport(loadFigures());
else process.exitCode = await run(options.quick ? 0 : Number(options.rounds));

function contains(name: string, part: string): boolean {
  return name.toLowerCase().includes(part.toLowerCase());
}

/** Checks, and with any rounds times, everything chosen; gives the exit code. */
async function run(rounds: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "wasm-norm-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.on("SIGINT", () => process.exit(130));
  console.log(machineInWords(describeMachine()));

  const figures = loadFigures();
  const totals = { checked: 0, failures: [] as string[] };
  for (const runtime of chosenRuntimes) {
    if (runtime.missing) {
      console.log(`${runtime.name} is missing: ${runtime.missing}`);
      continue;
    }
    const field = new Field(runtime.node);
    const bar = new SingleBar({
      format: "{bar} {percentage}% {eta_formatted} {name}",
      clearOnComplete: true,
    });
    bar.start(chosenShapes.length * Math.max(1, rounds), 0, { name: runtime.name });
    for (const [at, shape] of chosenShapes.entries()) {
      bar.update(at * Math.max(1, rounds), { name: `${runtime.name}, ${shape.name}` });
      const outcome = await runShape(shape, field, folder, rounds, () => bar.increment());
      totals.checked += outcome.measurements.length;
      totals.failures.push(...outcome.failures.map((failure) => `${runtime.name}: ${failure}`));
      if (rounds) addFigures(figures, figuresOf(runtime.name, shape, outcome));
    }
    bar.stop();
    field.stop();
    for (const [name, reason] of field.missing) console.log(`${runtime.name}: ${name} is missing: ${reason}`);
    if (rounds) {
      figures.missing[runtime.name] = Object.fromEntries(field.missing);
      saveFigures(figures);
      printTables(figures, runtime.name, new Set(chosenShapes.map(({ set }) => set)));
    }
  }
  if (rounds) await writeReport(figures);
  for (const failure of totals.failures) console.error(`wrong: ${failure}`);
  console.log(`${totals.checked} passed, ${totals.failures.length} failed`);
  return totals.failures.length ? 1 : 0;
}

/** All contenders in turns, or, where the machine's memory does not hold them together, one after the other. */
async function runShape(
  shape: Shape,
  field: Field,
  folder: string,
  rounds: number,
  onRound: () => void,
): Promise<Outcome> {
  const entries = chosenContenders.filter(({ sets }) => sets.includes(shape.set));
  const bytes = sizeOf(shape) * 4;
  // x, dy and what comes out, for each contender, and about as much for the check
  if (bytes * 3 * (entries.length + 1) < freemem() * 0.8) {
    return measure(shape, entries, { field, folder, rounds, onRound });
  }
  const all: Outcome = { measurements: [], unsupported: {}, failures: [] };
  for (const entry of entries) {
    field.stop();
    const outcome = await measure(shape, [entry], { field, folder, rounds, onRound: () => {} });
    all.measurements.push(...outcome.measurements);
    all.failures.push(...outcome.failures);
    Object.assign(all.unsupported, outcome.unsupported);
  }
  field.stop();
  return all;
}
