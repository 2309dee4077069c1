/**
 * Trains a small decoder on three chapters of Tom Sawyer and says what its norms cost, with separate passes and fused.
 * Progress goes to stderr, the report to stdout.
 */
import { readFileSync } from "node:fs";
import { setImmediate } from "node:timers/promises";
import { SingleBar } from "cli-progress";
import { InvalidArgumentError, program } from "commander";
import { init, runtimeInfo, shutdown } from "wasm-norm";
import wrapAnsi from "wrap-ansi";
import { seededRandom } from "../digits/random.ts";
import { lossPlot, mean, table } from "./report.ts";
import { readText } from "./text.ts";
import { DEFAULTS, heldOut, type Step, train } from "./train.ts";
import { lossOver, single, write } from "./write.ts";

program
  .description("Trains a character-level decoder whose norms are wasm-norm's.")
  .option("--seconds <number>", "how long to train", positive, 60)
  .option("--seed <number>", "of weights, minibatches and the sample", positive, DEFAULTS.seed)
  .option("--threads <number>", "that normalize; small calls take one", count, 1)
  .parse();
const { seconds, seed, threads } = program.opts<{ seconds: number; seed: number; threads: number }>();

if (threads > 1) await init({ threads });
const columns = Math.max(60, Math.min(process.stdout.columns ?? 80, 120));
const text = readText(readFileSync(new URL("tom-sawyer.txt", import.meta.url), "utf8"));
const settings = { ...DEFAULTS, seed };
const sizes = { ...settings, characters: text.alphabet.length };
const { batch, context, width, heads, blocks, hidden } = settings;

const steps: Step[] = [];
const training = train(text, settings);
const { decoder } = training.next().value;
const parameters = decoder.parameters().reduce((sum, { data }) => sum + data.length, 0);
say(
  `A decoder over ${sizes.characters} characters (Tom Sawyer, chapters III to V): ${blocks} blocks of causal attention ` +
    `(${heads} heads) and SwiGLU (${hidden} units), width ${width}, RMS norms (wasm-norm, ${runtimeInfo().variant}, ${threadsInWords()}) before ` +
    `each and at the end; ${parameters.toLocaleString("en")} parameters. AdamW, minibatches of ${batch} x ${context} ` +
    `characters. ${seconds} s; odd and even steps go through the residual stream in turns by separate passes and fused.`,
);

await trainFor(seconds);

console.log("\nLoss, nats a character\n");
console.log(lossPlot(steps, columns));
console.log(`\n${table(steps, process.stdout.isTTY && process.stdout.hasColors())}`);

const reader = single(decoder, sizes);
const end = steps.slice(-20).map(({ loss }) => loss);
say(
  `\nLoss at the end ${mean(end).toFixed(2)}, on the held-out last tenth of the text ` +
    `${lossOver(reader, heldOut(text), context).toFixed(2)}; a uniform guess has ${Math.log(sizes.characters).toFixed(2)}. ` +
    "It writes:\n",
);
const random = seededRandom(seed);
say(write(reader, text, "Tom ", { context, length: 400, temperature: 0.7, random }));

await shutdown();

function threadsInWords(): string {
  const { threads, threadsReason } = runtimeInfo();
  return threads > 1 ? `${threads} threads` : `one thread${threadsReason ? `: ${threadsReason}` : ""}`;
}

function say(paragraph: string): void {
  console.log(wrapAnsi(paragraph, Math.min(columns, 100)));
}

function positive(value: string): number {
  const number = Number(value);
  if (!(number > 0)) throw new InvalidArgumentError("a number above 0 is needed.");
  return number;
}

function count(value: string): number {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 1) throw new InvalidArgumentError("an integer from 1 is needed.");
  return number;
}

async function trainFor(seconds: number): Promise<void> {
  const bar = new SingleBar({
    format: "{bar} {value} of {total} s, step {step}, loss {loss}",
    barsize: 24,
    hideCursor: true,
    clearOnComplete: true,
  });
  bar.start(seconds, 0, { step: 0, loss: "" });
  const start = performance.now();
  // However slow the machine: two steps of each way, of which two are measured.
  for (let passed = 0; passed < seconds || steps.length < 4; passed = (performance.now() - start) / 1000) {
    const step = training.next().value;
    steps.push(step);
    bar.update(Math.min(seconds, Math.round(passed)), { step: step.step, loss: step.loss.toFixed(2) });
    await setImmediate(); // lets the bar draw and Ctrl-C through
    if (!process.stderr.isTTY && step.step % 100 === 0)
      console.error(`step ${step.step}, loss ${step.loss.toFixed(2)}, ${Math.round(passed)} of ${seconds} s`);
  }
  bar.stop();
}
