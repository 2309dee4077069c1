/** A page as its author would write it, in whose console a test calls: tfjs, its backends, and this package as published. */
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import plain from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm.wasm?url";
import simd from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-simd.wasm?url";
import threaded from "@tensorflow/tfjs-backend-wasm/dist/tfjs-backend-wasm-threaded-simd.wasm?url";
import { runtimeInfo } from "wasm-norm";
import { install } from "wasm-norm/tfjs";

export interface Pass {
  kind: "batch" | "layer";
  shape: number[];
  x: number[];
  dy: number[];
  gamma: number[];
  beta: number[];
}

setWasmPaths({
  "tfjs-backend-wasm.wasm": plain,
  "tfjs-backend-wasm-simd.wasm": simd,
  "tfjs-backend-wasm-threaded-simd.wasm": threaded,
});

const read = (tensor: tf.Tensor | undefined) => [...tensor!.dataSync()];

/** y in training and the gradients of x, gamma and beta for `dy`. */
async function normalize({ kind, shape, x, dy, gamma, beta }: Pass) {
  const uninstall = await install(tf);
  const tensors = tf.memory().numTensors;
  const layer =
    kind === "batch"
      ? tf.layers.batchNormalization()
      : tf.layers.layerNormalization({ axis: shape.map((_, i) => i).slice(1), epsilon: 1e-3 });
  const results = tf.tidy(() => {
    const at = tf.tensor(x, shape);
    layer.build(shape);
    const weights = layer.trainableWeights.map((weight) => weight.read() as tf.Variable);
    [gamma, beta].forEach((values, i) => {
      weights[i]!.assign(tf.tensor(values, weights[i]!.shape));
    });
    const y = layer.apply(at, { training: true }) as tf.Tensor;
    // tfjs's memory grows at the first, so that what was seen of it before has to be looked up anew.
    tf.zeros([2 ** 23]);
    const gradients = tf.grads((a: tf.Tensor) => layer.apply(a, { training: true }) as tf.Tensor);
    return [y, ...gradients([at, ...weights], tf.tensor(dy, shape))].map(read);
  });
  for (const weight of layer.weights) weight.dispose();
  const { backend } = uninstall;
  uninstall();
  const left = tf.memory().numTensors - tensors;
  return { backend, results, left, ownBytes: runtimeInfo().memoryBytes };
}

/** A model's losses over `steps`, and what it then predicts. */
async function losses(steps: number, x: number[], target: number[]) {
  const kernelInitializer = tf.initializers.glorotUniform({ seed: 1 });
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 16, inputShape: [8], useBias: false, kernelInitializer }),
      tf.layers.batchNormalization(),
      tf.layers.activation({ activation: "tanh" }),
      tf.layers.layerNormalization(),
      tf.layers.dense({ units: 1, kernelInitializer }),
    ],
  });
  const optimizer = tf.train.sgd(0.05);
  model.compile({ optimizer, loss: "meanSquaredError" });
  const [xs, ys] = [tf.tensor(x, [x.length / 8, 8]), tf.tensor(target, [target.length, 1])];
  const list: number[] = [];
  for (let i = 0; i < steps; i++) list.push((await model.trainOnBatch(xs, ys)) as number);
  const y = model.predict(xs) as tf.Tensor;
  const predicted = read(y);
  tf.dispose([xs, ys, y]);
  model.dispose();
  optimizer.dispose();
  return { losses: list, predicted };
}

/** The same model, stock and installed. */
async function train(steps: number, x: number[], target: number[]) {
  const stock = await losses(steps, x, target);
  const uninstall = await install(tf);
  const { numTensors } = tf.memory();
  const installed = await losses(steps, x, target);
  const left = tf.memory().numTensors - numTensors;
  uninstall();
  return { stock, installed, left };
}

/** Sets a backend. @returns whether it has a memory that it shares with threads */
async function use(backend: string): Promise<boolean> {
  await tf.setBackend(backend);
  const { wasm } = tf.backend() as { wasm?: { wasmMemory?: WebAssembly.Memory } };
  return typeof SharedArrayBuffer === "function" && wasm?.wasmMemory?.buffer instanceof SharedArrayBuffer;
}

const page = { use, normalize, train };
export type Page = typeof page;
Object.assign(globalThis, { page });
