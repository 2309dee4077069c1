/** The command line of the suite; `npm run bench -- --help` prints what it takes. */
import { mkdtempSync, rmSync } from "node:fs";
import { freemem, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { type AroundRun, tables as aroundTables, writeAround } from "./around.ts";
import { builtAt } from "./before.ts";
import { before, contenders, type Entry, type Runtime, runtimes } from "./contenders/index.ts";
import { addFigures, figuresOf, loadFigures, type ShapeFigures } from "./figures.ts";
import { describeMachine, machineInWords } from "./machine.ts";
import { Field, measure, type Outcome, pool } from "./measure.ts";
import { writeReport } from "./report.ts";
import { quickShapes, type Shape, shapeSets, shapes, sizeOf } from "./shapes.ts";
import { forTerminal, printTables } from "./tables.ts";
import { measureTfjs, tfjsFailures, tfjsTables, writeTfjs } from "./tfjs/page.ts";

const help = `npm run bench -- [options]
  --quick            check every contender's outputs on small shapes; times nothing
  --set NAME         only this set of shapes: ${shapeSets.join(", ")}; or tfjs, TensorFlow.js with wasm-norm/tfjs
  --shape TEXT       only shapes whose name contains TEXT
  --contender TEXT   only contenders whose name contains TEXT, and the memory copy; leaves the report alone
  --before COMMIT    the package at another commit takes part too, built beside this one; leaves the report alone
  --node TEXT        only the Node whose name contains TEXT
                     (TEXT may be several, with commas in between)
  --sittings N       how often all is measured anew, with new processes (3)
  --rounds N         rounds of a sitting (5)
  --report           make the report anew from the figures there are`;

const options = readOptions();
if (options.before) {
  const { name, folder } = builtAt(options.before);
  contenders.push(before(name, folder));
}
const chosenContenders = contenders.filter(
  ({ name, kind }) => kind === "copy" || contains(name, options.contender),
);
const chosenRuntimes = runtimes().filter(({ name }) => contains(name, options.node));
const chosenShapes = (options.quick ? quickShapes : shapes).filter(
  ({ name, set }) => contains(name, options.shape) && contains(set, options.set),
);
const withTfjs =
  contains("tfjs", options.set) && !options.shape && !options.contender && !options.before && !options.report;

if (options.help) console.log(help);
else if (!(chosenShapes.length || withTfjs) || !chosenContenders.length || !chosenRuntimes.length) {
  console.error("nothing is called that: npm run bench -- --help lists the options");
  process.exitCode = 2;
} else if (options.report) await writeReport(loadFigures());
else
  process.exitCode = options.quick
    ? await run(1, 0)
    : await run(Number(options.sittings), Number(options.rounds));

function readOptions() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        set: { type: "string", default: "" },
        shape: { type: "string", default: "" },
        contender: { type: "string", default: "" },
        before: { type: "string", default: "" },
        node: { type: "string", default: "" },
        sittings: { type: "string", default: "3" },
        rounds: { type: "string", default: "5" },
        report: { type: "boolean", default: false },
        help: { type: "boolean", default: false },
      },
    });
    for (const name of ["sittings", "rounds"] as const) {
      if (!/^[1-9]\d*$/.test(values[name]))
        throw new RangeError(`--${name} takes a number from 1 up, got ${values[name]}`);
    }
    return values;
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${help}`);
    process.exit(2);
  }
}

/** Whether the name contains the text, or one of several with commas in between. */
function contains(name: string, text: string): boolean {
  return text.split(",").some((part) => name.toLowerCase().includes(part.trim().toLowerCase()));
}

/** Checks, and with any rounds times, everything chosen; gives the exit code. */
async function run(sittings: number, rounds: number): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "wasm-norm-bench-"));
  process.on("exit", () => rmSync(folder, { recursive: true, force: true }));
  process.on("SIGINT", () => process.exit(130));
  console.log(machineInWords(describeMachine()));

  const figures = loadFigures();
  // figures of some contenders are for a look: the report keeps those of all of them
  const keep = rounds > 0 && options.contender === "" && options.before === "";
  const arounds: AroundRun[] = [];
  const totals = { checked: 0, failures: [] as string[] };
  for (const runtime of chosenRuntimes) {
    if (runtime.missing) {
      console.log(`${runtime.name} is missing: ${runtime.missing}`);
      continue;
    }
    const { outcomes, missing } = await measureOn(runtime, folder, sittings, rounds);
    for (const { measurements, failures } of outcomes.values()) {
      totals.checked += measurements.length;
      totals.failures.push(...failures.map((failure) => `${runtime.name}, ${failure}`));
    }
    const measured: ShapeFigures[] = [];
    const around: [Shape, Outcome][] = [];
    for (const [shape, outcome] of rounds ? outcomes : []) {
      if (shape.around) around.push([shape, outcome]);
      else measured.push(figuresOf(runtime.name, shape, outcome));
    }
    if (around.length) arounds.push({ runtime: runtime.name, outcomes: around, missing });
    for (const [name, reason] of missing) console.log(`${runtime.name}: ${name} is missing: ${reason}`);
    printTables(measured, figures.machine);
    for (const op of ["train", "backward"] as const)
      for (const table of aroundTables(around, op)) console.log(`\n${runtime.name}\n${forTerminal(table)}`);
    if (keep && measured.length) addFigures(figures, runtime.name, measured, missing);
  }
  const rowsOf = ({ n }: Shape) => shapes.filter((shape) => shape.around && shape.n === n);
  // A section of the page has all rows of its size.
  for (const run of arounds)
    run.outcomes = run.outcomes.filter(([shape]) => rowsOf(shape).every((row) => chosenShapes.includes(row)));
  if (keep && arounds.some(({ outcomes }) => outcomes.length)) writeAround(arounds);
  if (keep && chosenShapes.some(({ around }) => !around)) await writeReport(figures);
  if (withTfjs) await addTfjs(rounds, totals);
  for (const failure of totals.failures) console.error(`wrong: ${failure}`);
  console.log(`${totals.checked} passed, ${totals.failures.length} failed`);
  return totals.failures.length ? 1 : 0;
}

/** TensorFlow.js with and without the package, on the first Node. */
async function addTfjs(rounds: number, totals: { checked: number; failures: string[] }): Promise<void> {
  const runtime = chosenRuntimes.find(({ missing }) => !missing);
  if (!runtime) return;
  const run = await measureTfjs(runtime, rounds);
  totals.checked += run.backends.reduce((sum, { results }) => sum + results.length, 0);
  totals.failures.push(...tfjsFailures(run));
  if (!rounds) return;
  for (const [title, table] of tfjsTables(run)) console.log(`\n${title}\n${forTerminal(table)}`);
  writeTfjs(run);
}

/** Measures all that was chosen on one Node: of each shape what its sittings gave, and which contenders are missing. */
async function measureOn(
  runtime: Runtime,
  folder: string,
  sittings: number,
  rounds: number,
): Promise<{ outcomes: Map<Shape, Outcome>; missing: Map<string, string> }> {
  const bar = new SingleBar({
    format: "{bar} {percentage}% {eta_formatted} {name}",
    clearOnComplete: true,
  });
  bar.start(chosenShapes.length * sittings, 0, { name: runtime.name });
  const outcomes = new Map<Shape, Outcome>();
  const missing = new Map<string, string>();
  for (let sitting = 0; sitting < sittings; sitting++) {
    const field = new Field(runtime.node);
    for (const [at, shape] of chosenShapes.entries()) {
      const name = `${runtime.name}, ${shape.name}`;
      const groups = groupsFor(shape);
      let done = sitting * chosenShapes.length + at;
      const onVisit = (share: number) => bar.update((done += share / groups.length), { name });
      const outcome = await measure(shape, groups, { field, folder, rounds, onVisit });
      const before = outcomes.get(shape);
      if (before) pool(before, outcome);
      else outcomes.set(shape, outcome);
    }
    field.stop();
    for (const [name, reason] of field.missing) missing.set(name, reason);
  }
  bar.stop();
  return { outcomes, missing };
}

/** All contenders in turns, or, where the machine's memory does not hold them together, one after the other. */
function groupsFor(shape: Shape): Entry[][] {
  const entries = chosenContenders.filter(({ sets }) => sets.includes(shape.set));
  // x, dy and what comes out, for each contender, and about as much for the check
  const bytes = sizeOf(shape) * 4 * 3 * (entries.length + 1);
  return bytes < freemem() * 0.8 ? [entries] : entries.map((entry) => [entry]);
}
