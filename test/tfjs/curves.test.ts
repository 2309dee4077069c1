/** Loss curves of whole models, installed against stock, over 1,000 steps of SGD. */
import { describe, expect, test } from "vitest";
import { install } from "../../src/tfjs.js";
import { gap, tf, use, values } from "./setup.js";

const STEPS = 1000;
const TOLERANCE = 1e-6;

type Make = () => { loss: () => tf.Scalar; weights: () => tf.Variable[] };

const glorot = (seed: number) => tf.initializers.glorotUniform({ seed });
const variables = (layers: tf.layers.Layer[]) =>
  layers.flatMap(({ trainableWeights }) => trainableWeights.map((weight) => weight.read() as tf.Variable));

/**
 * Two blocks of dense, batch norm and tanh. ReLU's kinks make a difference of rounding grow: with it, stock on wasm and stock on
 * cpu come apart by 2e-5 (SGD, 0.02). The biases that batch norm takes out again are left out.
 */
const dense: Make = () => {
  const layers = [
    tf.layers.dense({ units: 24, inputShape: [12], useBias: false, kernelInitializer: glorot(1) }),
    tf.layers.batchNormalization(),
    tf.layers.activation({ activation: "tanh" }),
    tf.layers.dense({ units: 24, useBias: false, kernelInitializer: glorot(2) }),
    tf.layers.batchNormalization(),
    tf.layers.activation({ activation: "tanh" }),
    tf.layers.dense({ units: 4, kernelInitializer: glorot(3) }),
  ];
  return train(layers, tf.tensor(values(32 * 12, 1), [32, 12]), tf.tensor(values(128, 2, 1, 0), [32, 4]));
};

/** Two convolutions with batch norm. */
const convolution: Make = () => {
  const layers = [
    tf.layers.conv2d({
      filters: 4,
      kernelSize: 3,
      inputShape: [6, 6, 2],
      useBias: false,
      kernelInitializer: glorot(1),
    }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
    tf.layers.conv2d({ filters: 6, kernelSize: 3, useBias: false, kernelInitializer: glorot(2) }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
    tf.layers.flatten(),
    tf.layers.dense({ units: 3, kernelInitializer: glorot(3) }),
  ];
  return train(layers, tf.tensor(values(8 * 72, 1), [8, 6, 6, 2]), tf.tensor(values(24, 2, 1, 0), [8, 3]));
};

function train(layers: tf.layers.Layer[], x: tf.Tensor, target: tf.Tensor) {
  const model = tf.sequential({ layers });
  const loss = () =>
    tf.losses.meanSquaredError(target, model.apply(x, { training: true }) as tf.Tensor) as tf.Scalar;
  return { loss, weights: () => variables(layers) };
}

/** A block of a transformer, normalized before attention and before its two dense layers. */
const transformer: Make = () => {
  const [n, steps, width] = [2, 6, 12];
  const layer = (units: number, seed: number, activation?: "relu") =>
    tf.layers.dense({ units, kernelInitializer: glorot(seed), ...(activation && { activation }) });
  const [q, k, v, out] = [1, 2, 3, 4].map((seed) => layer(width, seed)) as tf.layers.Layer[];
  const [up, down] = [layer(2 * width, 5, "relu"), layer(width, 6)];
  const norms = [0, 1, 2].map(() => tf.layers.layerNormalization({ epsilon: 1e-5 }));
  const x = tf.tensor(values(n * steps * width, 1), [n, steps, width]);
  const target = tf.tensor(values(n * steps * width, 2, 1, 0), [n, steps, width]);
  const apply = (to: tf.layers.Layer | undefined, value: tf.Tensor) => to!.apply(value) as tf.Tensor;
  const loss = () => {
    const a = apply(norms[0], x);
    const scores = tf.matMul(apply(q, a), apply(k, a), false, true);
    const attended = tf.matMul(tf.softmax(tf.div(scores, Math.sqrt(width))), apply(v, a));
    const h = tf.add(x, apply(out, attended));
    const y = tf.add(h, apply(down, apply(up, apply(norms[1], h))));
    return tf.losses.meanSquaredError(target, apply(norms[2], y)) as tf.Scalar;
  };
  return { loss, weights: () => variables([q!, k!, v!, out!, up, down, ...norms]) };
};

function curve(make: Make): Float64Array {
  const optimizer = tf.train.sgd(0.05);
  const losses = new Float64Array(STEPS);
  tf.engine().startScope();
  const { loss, weights } = make();
  loss();
  const list = weights();
  for (let i = 0; i < STEPS; i++) {
    const value = optimizer.minimize(loss, true, list)!;
    losses[i] = value.dataSync()[0]!;
    value.dispose();
  }
  tf.engine().endScope();
  return losses;
}

describe.each([
  ["a dense model", "wasm", dense],
  ["a dense model", "cpu", dense],
  ["a transformer block", "wasm", transformer],
  ["a convolution", "cpu", convolution],
] as const)("%s on %s", (_, backend, make) => {
  test("loses as stock does", async () => {
    await use(backend);
    // Stock's own dense layer fails the leak check on wasm.
    tf.env().set("IS_TEST", false);
    const stock = curve(make);
    const uninstall = await install(tf);
    const installed = curve(make);
    uninstall();
    expect(stock[STEPS - 1]).toBeLessThan(0.7 * stock[0]!);
    expect(gap(installed, stock)).toBeLessThan(TOLERANCE);
  });
});
