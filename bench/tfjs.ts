/**
 * What `wasm-norm/tfjs` gains: TensorFlow.js stock and installed, in turns, in one process.
 *
 *     npx tsx bench/tfjs.ts [wasm | cpu] [rounds]
 *
 * Layers at the shapes of the suite, and whole training steps with the share of them that normalization still takes.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import Table from "cli-table3";
import { install } from "../src/tfjs.js";

const backend = process.argv[2] ?? "wasm";
const ROUNDS = Number(process.argv[3] ?? 5);
/** Each timing repeats its work for so long, in ms, so that a timer's step is nothing. */
const LEAST = 20;

const median = (list: number[]): number => list.sort((a, b) => a - b)[list.length >> 1]!;

/** ms for one run of `work`. */
function time(work: () => void): number {
  const start = performance.now();
  let runs = 0;
  do {
    work();
    runs++;
  } while (performance.now() - start < LEAST);
  return (performance.now() - start) / runs;
}

async function compare(work: () => void): Promise<{ stock: number; installed: number }> {
  const times = { stock: [] as number[], installed: [] as number[] };
  for (let round = 0; round <= ROUNDS; round++) {
    for (const side of ["stock", "installed"] as const) {
      const uninstall = side === "installed" ? await install(tf) : undefined;
      const ms = time(work);
      // The first round warms up.
      if (round) times[side].push(ms);
      uninstall?.();
    }
  }
  return { stock: median(times.stock), installed: median(times.installed) };
}

const table = new Table({ head: [backend, "stock", "installed", "faster", "normalization"] });
const ms = (value: number) => `${value.toPrecision(3)} ms`;

async function row(name: string, work: () => void, share?: () => Promise<number>): Promise<void> {
  const { stock, installed } = await compare(work);
  const part = share ? `${(100 * (await share())).toFixed(1)} %` : "";
  table.push([name, ms(stock), ms(installed), `${(stock / installed).toFixed(1)} x`, part]);
}

type Layer = tf.layers.Layer;

/** Forward, forward and backward, and inference of a layer. tf.tidy walks through what it is given back: nothing is. */
async function layer(name: string, made: Layer, shape: number[], inference: boolean): Promise<void> {
  const x = tf.randomNormal(shape);
  made.apply(x);
  const forward = (training: boolean) => () => {
    tf.tidy(() => void made.apply(x, { training }));
  };
  // The layer reads its weights itself; given as arguments, they have gradients, too.
  const at = [x, ...made.trainableWeights.map((weight) => weight.read())];
  const gradients = tf.grads((first: tf.Tensor) => made.apply(first, { training: true }) as tf.Tensor);
  const dy = tf.randomNormal(shape);
  const both = () => {
    tf.tidy(() => void gradients(at, dy));
  };
  await row(`${name} ${shape.join(" x ")}, forward`, forward(true));
  await row("  forward and backward", both);
  if (inference) await row("  inference", forward(false));
  tf.dispose([x, dy]);
}

/** The share of a step that the kernels take. */
async function share(step: () => void): Promise<number> {
  const uninstall = await install(tf);
  const { kernels } = await tf.profile(() => tf.tidy(() => step()) as never);
  uninstall();
  let own = 0;
  let all = 0;
  for (const kernel of kernels) {
    const time = (kernel as unknown as { kernelTimeMs: number }).kernelTimeMs;
    all += time;
    if (kernel.name.startsWith("WasmNorm")) own += time;
  }
  return own / all;
}

function dense(): () => void {
  const layers = [0, 1, 2].flatMap((at) => [
    tf.layers.dense({ units: 512, useBias: false, ...(at ? {} : { inputShape: [512] }) }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
  ]);
  const model = tf.sequential({ layers: [...layers, tf.layers.dense({ units: 10 })] });
  return step(model, [256, 512], [256, 10]);
}

function convolution(): () => void {
  const layers = [0, 1].flatMap((at) => [
    tf.layers.conv2d({
      filters: 16,
      kernelSize: 3,
      useBias: false,
      ...(at ? {} : { inputShape: [16, 16, 3] }),
    }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
  ]);
  const model = tf.sequential({ layers: [...layers, tf.layers.flatten(), tf.layers.dense({ units: 10 })] });
  return step(model, [8, 16, 16, 3], [8, 10]);
}

function step(model: tf.LayersModel, inputs: number[], targets: number[]): () => void {
  const [x, y] = [tf.randomNormal(inputs), tf.randomNormal(targets)];
  const optimizer = tf.train.adam(1e-3);
  const loss = () =>
    tf.losses.meanSquaredError(y, model.apply(x, { training: true }) as tf.Tensor) as tf.Scalar;
  const variables = model.trainableWeights.map((weight) => weight.read() as tf.Variable);
  return () => {
    optimizer.minimize(loss, false, variables);
  };
}

/** A block of 4 x 64 tokens, 256 wide, normalized before attention and before its dense layers. */
function transformer(): () => void {
  const width = 256;
  const [q, k, v, out] = Array.from({ length: 4 }, () => tf.layers.dense({ units: width })) as Layer[];
  const [up, down] = [
    tf.layers.dense({ units: 4 * width, activation: "relu" }),
    tf.layers.dense({ units: width }),
  ];
  const norms = [0, 1].map(() => tf.layers.layerNormalization({ epsilon: 1e-5 }));
  const [x, y] = [tf.randomNormal([4, 64, width]), tf.randomNormal([4, 64, width])];
  const apply = (to: Layer | undefined, value: tf.Tensor) => to!.apply(value) as tf.Tensor;
  const loss = () => {
    const a = apply(norms[0], x);
    const scores = tf.div(tf.matMul(apply(q, a), apply(k, a), false, true), Math.sqrt(width));
    const h = tf.add(x, apply(out, tf.matMul(tf.softmax(scores), apply(v, a))));
    const z = tf.add(h, apply(down, apply(up, apply(norms[1], h))));
    return tf.losses.meanSquaredError(y, z) as tf.Scalar;
  };
  tf.tidy(() => void loss());
  const variables = [q!, k!, v!, out!, up, down, ...norms].flatMap(({ trainableWeights }) =>
    trainableWeights.map((weight) => weight.read() as tf.Variable),
  );
  const optimizer = tf.train.adam(1e-3);
  return () => {
    optimizer.minimize(loss, false, variables);
  };
}

if (backend === "wasm") {
  const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
  setWasmPaths(`${dirname(createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm"))}/`);
}
await tf.setBackend(backend);
for (const shape of [
  [256, 1024],
  [1024, 1024],
  [32, 28, 28, 64],
])
  await layer("batch norm", tf.layers.batchNormalization(), shape, true);
for (const shape of [
  [256, 1024],
  [1024, 1024],
])
  await layer("layer norm", tf.layers.layerNormalization(), shape, false);
const steps: [string, () => () => void][] = [
  ["training step: three of dense 512, batch norm, ReLU", dense],
  ["training step: transformer block, 4 x 64 x 256", transformer],
];
if (backend === "cpu") steps.push(["training step: two convolutions with batch norm", convolution]);
for (const [name, make] of steps) {
  const one = make();
  await row(name, one, () => share(one));
}
console.log(table.toString());
