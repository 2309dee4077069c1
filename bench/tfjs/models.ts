/** The three models whose training steps are timed: dense, convolutional, and a block of a transformer. */
import * as tf from "@tensorflow/tfjs";

export type Layer = tf.layers.Layer;

/** A training step of its own weights. */
export interface Model {
  /** @returns the loss before the step */
  step(): tf.Scalar;
}

/** How large they are: as large as what is timed, or just as large as a check needs. */
export interface Scale {
  width: number;
  examples: number;
}

const glorot = (seed: number) => tf.initializers.glorotUniform({ seed });

function trained(loss: () => tf.Scalar, layers: Layer[]): Model {
  tf.tidy(() => void loss());
  const variables = layers.flatMap(({ trainableWeights }) =>
    trainableWeights.map((weight) => weight.read() as tf.Variable),
  );
  const optimizer = tf.train.sgd(1e-2);
  return { step: () => optimizer.minimize(loss, true, variables) as tf.Scalar };
}

function sequential(layers: Layer[], inputs: number[], targets: number[]): Model {
  const model = tf.sequential({ layers });
  const x = tf.randomNormal(inputs, 0, 1, "float32", 1);
  const y = tf.randomNormal(targets, 0, 1, "float32", 2);
  const loss = () =>
    tf.losses.meanSquaredError(y, model.apply(x, { training: true }) as tf.Tensor) as tf.Scalar;
  return trained(loss, layers);
}

/** Three times dense, batch norm and ReLU. */
export function dense({ width, examples }: Scale): Model {
  const blocks = [0, 1, 2].flatMap((at) => [
    tf.layers.dense({
      units: width,
      useBias: false,
      kernelInitializer: glorot(at),
      ...(at ? {} : { inputShape: [width] }),
    }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
  ]);
  const last = tf.layers.dense({ units: 10, kernelInitializer: glorot(3) });
  return sequential([...blocks, last], [examples, width], [examples, 10]);
}

/** Two convolutions with batch norm and ReLU; the wasm backend has no gradient for their filters. */
export function convolution({ width, examples }: Scale): Model {
  const blocks = [0, 1].flatMap((at) => [
    tf.layers.conv2d({
      filters: width,
      kernelSize: 3,
      useBias: false,
      kernelInitializer: glorot(at),
      ...(at ? {} : { inputShape: [16, 16, 3] }),
    }),
    tf.layers.batchNormalization(),
    tf.layers.reLU(),
  ]);
  const last = tf.layers.dense({ units: 10, kernelInitializer: glorot(3) });
  return sequential([...blocks, tf.layers.flatten(), last], [examples, 16, 16, 3], [examples, 10]);
}

/** Four sequences of `examples` tokens, normalized before attention and before two dense layers. */
export function transformer({ width, examples }: Scale): Model {
  const layer = (units: number, seed: number, activation?: "relu") =>
    tf.layers.dense({ units, kernelInitializer: glorot(seed), ...(activation && { activation }) });
  const [q, k, v, out] = [1, 2, 3, 4].map((seed) => layer(width, seed)) as Layer[];
  const [up, down] = [layer(4 * width, 5, "relu"), layer(width, 6)];
  const norms = [0, 1].map(() => tf.layers.layerNormalization({ epsilon: 1e-5 }));
  const shape = [4, examples, width];
  const x = tf.randomNormal(shape, 0, 1, "float32", 1);
  const y = tf.randomNormal(shape, 0, 1, "float32", 2);
  const apply = (to: Layer | undefined, value: tf.Tensor) => to!.apply(value) as tf.Tensor;
  const loss = () => {
    const a = apply(norms[0], x);
    const scores = tf.div(tf.matMul(apply(q, a), apply(k, a), false, true), Math.sqrt(width));
    const h = tf.add(x, apply(out, tf.matMul(tf.softmax(scores), apply(v, a))));
    const z = tf.add(h, apply(down, apply(up, apply(norms[1], h))));
    return tf.losses.meanSquaredError(y, z) as tf.Scalar;
  };
  return trained(loss, [q!, k!, v!, out!, up, down, ...norms]);
}
