/**
 * nsfwjs's networks, published models with 52 and 94 batch norms, predict and learn on TensorFlow.js's wasm backend: stock, and
 * with one line, `await install(tf)`.
 */
import * as tf from "@tensorflow/tfjs";
import { Presets, SingleBar } from "cli-progress";
import Table from "cli-table3";
import { install } from "wasm-norm/tfjs";
import { both, type Pair } from "./measure.js";
import { NETWORKS, network, picture, start } from "./network.js";
import { tuning } from "./tune.js";

const PREDICTIONS = 9;
const STEPS = 15;

type Timed<T> = Pair<{ result: T; ms: number }>;

const table = new Table({ head: ["", "stock", "wasm-norm", "faster", "difference"] });
const row = (name: string, { stock, installed }: Timed<unknown>, difference: number) =>
  table.push([
    name,
    `${stock.ms.toFixed(1)} ms`,
    `${installed.ms.toFixed(1)} ms`,
    `${(stock.ms / installed.ms).toFixed(2)} x`,
    difference.toExponential(1),
  ]);

/** The largest difference between two lists of probabilities. @throws Error where the classes differ */
function compare({ stock, installed }: Timed<{ className: string; probability: number }[]>): number {
  const differences = stock.result.map(({ className, probability }, i) => {
    const other = installed.result[i]!;
    if (other.className !== className) throw new Error(`expected ${className}, got ${other.className}`);
    return Math.abs(other.probability - probability);
  });
  return Math.max(...differences);
}

await start();
const bar = new SingleBar({ format: "{bar} {what}", hideCursor: true }, Presets.shades_classic);
const info = console.info;
console.info = () => {};
bar.start(2 * (NETWORKS.length * (PREDICTIONS + 1) + 2 * (STEPS + 1)), 0, { what: "" });
for (const name of NETWORKS) {
  bar.update({ what: `${name} predicts` });
  const net = await network(name);
  const image = picture(0, name === "InceptionV3" ? 299 : 224);
  const predictions = await both(PREDICTIONS, bar, () => net.classify(image));
  row(`${name}, one picture`, predictions, compare(predictions));
  if (name !== "MobileNetV2") continue;
  const model = net.model as tf.LayersModel;
  for (const live of [false, true]) {
    bar.update({ what: `its end learns, ${live ? "live" : "frozen"} batch norm` });
    const { stock, installed } = { stock: tuning(model, live), installed: tuning(model, live) };
    // Each side has weights of its own, and takes its steps in turns with the other.
    const losses: number[] = [];
    const before = tf.memory().numTensors;
    const steps = await both(STEPS, bar, () => losses.push((losses.length % 2 ? installed : stock).step()));
    if (tf.memory().numTensors !== before) throw new Error("expected no tensors left behind");
    const differences = losses.map((loss, i) => (i % 2 ? Math.abs(loss - losses[i - 1]!) : 0));
    row(`a training step, ${live ? "live" : "frozen"} batch norm`, steps, Math.max(...differences));
    const peak = async (one: typeof stock) => {
      const { peakBytes } = await tf.profile(() => one.step() as never);
      return `${(peakBytes / 2 ** 20).toFixed(0)} MB`;
    };
    const ofStock = await peak(stock);
    const uninstall = await install(tf);
    table.push(["  all tensors at its peak", ofStock, await peak(installed), "", ""]);
    uninstall();
    stock.dispose();
    installed.dispose();
  }
}
bar.stop();
console.info = info;
console.log(table.toString());
console.log(
  "Difference: of probabilities (the classes are the same, in the same order), and of the losses, the largest.",
);
