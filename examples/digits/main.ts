/**
 * Trains the five arms on the handwritten digits and answers: do gamma and beta undo batch normalization?
 * Progress goes to stderr, the report to stdout: on one binary it is the same text every time, with --threads 2, too.
 */
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { parseArgs } from "node:util";
import { SingleBar } from "cli-progress";
import { init, runtimeInfo } from "wasm-norm";
import wrapAnsi from "wrap-ansi";
import { answer } from "./answer.ts";
import { ARMS } from "./arms.ts";
import { parseDigits } from "./data.ts";
import { gapPlot, table } from "./report.ts";
import { type Summary, summarize } from "./summary.ts";
import { DEFAULTS, type Epoch, SEEDS, train } from "./train.ts";

const { threads = "1" } = parseArgs({ options: { threads: { type: "string" } } }).values;
await init({ threads: threads === "auto" ? threads : Number(threads) });

const columns = Math.max(60, Math.min(process.stdout.columns ?? 80, 120));
const colour = process.stdout.isTTY && process.stdout.hasColors();
const { epochs, batchSize, hidden } = DEFAULTS;
const units = hidden.reduce((sum, layer) => sum + layer, 0);

const { training, test } = parseDigits(readFileSync(new URL("digits.csv", import.meta.url), "utf8"));

say(
  `Do gamma and beta undo batch normalization? Digits 8 x 8: ${training.rows} to train on, ${test.rows} to ` +
    `test on. Network 64-${hidden.join("-")}-10, batch normalization before its sigmoid units (wasm-norm, ` +
    `${runtimeInfo().variant}). ${ARMS.length} arms, ${SEEDS.length} seeds, ${epochs} epochs, minibatches of ` +
    `${batchSize}; SGD with momentum ${DEFAULTS.momentum} at ${[...new Set(ARMS.map((arm) => arm.learningRate))].join(", in the control ")}.`,
);

const summaries = await trainAll();

console.log(`\n${table(summaries, colour)}`);
say(
  `Means over ${SEEDS.length} seeds. Loss: cross-entropy on the training rows (control: mean square of output ` +
    `minus input). Epochs until 95 % of the training rows are right. Gap: how far gamma and beta stand from ` +
    `undoing the normalization, root mean square over ${units} units, in standard deviations of a unit's ` +
    `input; 0 is undone. Unmoved: the same weights, gamma and beta as they started. Gradient out: share of ` +
    `its energy that falls on the mean and on xhat and goes no further down.`,
);

console.log("\nIdentity gap over training\n");
console.log(
  gapPlot(
    summaries.filter((s) => s.arm.learns.gammaBeta),
    columns,
    colour,
  ),
);

for (const paragraph of answer(summaries, batchSize)) say(`\n${paragraph}`);

function say(text: string): void {
  console.log(wrapAnsi(text, Math.min(columns, 100)));
}

async function trainAll(): Promise<Summary[]> {
  const runs = ARMS.length * SEEDS.length;
  const bar = new SingleBar({
    format: "{arm} {bar} {percentage} % of {total} epochs, {eta_formatted} left",
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
  });
  const width = Math.max(...ARMS.map((arm) => arm.title.length));
  bar.start(runs * epochs, 0, { arm: "".padEnd(width) });
  let run = 0;
  const result: Summary[] = [];
  for (const arm of ARMS) {
    const measured: Epoch[][] = [];
    for (const seed of SEEDS) {
      const seen: Epoch[] = [];
      for (const at of train(arm, training, test, { ...DEFAULTS, seed })) {
        if (at.kind !== "epoch") continue;
        seen.push(at);
        bar.update(run * epochs + at.epoch, { arm: arm.title.padEnd(width) });
        await setImmediate(); // lets the bar draw and Ctrl-C through
      }
      measured.push(seen);
      run++;
      if (!process.stderr.isTTY) console.error(`${run} of ${runs}: ${arm.title}, seed ${seed}`);
    }
    result.push(summarize(arm, measured));
  }
  bar.stop();
  return result;
}
