/**
 * Fine-tuning of MobileNetV2's end: the last batch norm and a new classifier, on features that the rest computes once. The wasm
 * backend has no gradient for convolutions' filters, which therefore stay.
 */
import * as tf from "@tensorflow/tfjs";
import { picture } from "./network.js";

const PICTURES = 16;
const CLASSES = 2;

/** @returns a training step that gives its loss; `live`: batch norm uses the minibatch's statistics */
export function tuning(model: tf.LayersModel, live: boolean): { step: () => number; dispose: () => void } {
  const stem = tf.model({
    inputs: model.inputs,
    outputs: model.getLayer("Conv_1").output as tf.SymbolicTensor,
  });
  const features = tf.tidy(() => {
    const pictures = Array.from({ length: PICTURES }, (_, seed) => tf.div(picture(seed), 255));
    return stem.predict(tf.stack(pictures)) as tf.Tensor;
  });
  const labels = tf.oneHot(
    Array.from({ length: PICTURES }, (_, seed) => seed % CLASSES),
    CLASSES,
  );
  const trained = model.getLayer("Conv_1_bn");
  // A copy: both networks' batch norm begins where the published one stands.
  const norm = tf.layers.batchNormalization({ epsilon: 1e-3, momentum: 0.999 });
  norm.apply(tf.zeros([1, 1, 1, 1280]));
  norm.setWeights(trained.getWeights());
  const classifier = tf.layers.dense({ units: CLASSES, kernelInitializer: "zeros" });
  classifier.apply(tf.zeros([1, 1280]));
  const optimizer = tf.train.sgd(0.01);
  const variables = [norm, classifier].flatMap(({ trainableWeights }) =>
    trainableWeights.map((weight) => weight.read() as tf.Variable),
  );
  const loss = () => {
    const y = norm.apply(features, { training: live }) as tf.Tensor;
    const logits = classifier.apply(tf.mean(tf.relu6(y), [1, 2])) as tf.Tensor;
    return tf.losses.softmaxCrossEntropy(labels, logits) as tf.Scalar;
  };
  return {
    step() {
      const value = optimizer.minimize(loss, true, variables)!;
      const number = value.dataSync()[0]!;
      value.dispose();
      return number;
    },
    dispose() {
      tf.dispose([features, labels]);
      for (const layer of [norm, classifier]) for (const weight of layer.weights) weight.dispose();
      optimizer.dispose();
    },
  };
}
