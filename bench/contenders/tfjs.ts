/**
 * TensorFlow.js on its cpu or wasm backend: `moments` and `batchNorm` where the channels come last, the same
 * formula from its generic operations elsewhere (it has no batch norm for channels first, and no layer or RMS
 * norm). Its gradients come only together with a forward pass, which `time` therefore contains; the report takes
 * the forward's own time off again.
 */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { axesOf } from "../shapes.ts";
import type { Inputs, Open, Outputs, Prepared } from "./contender.ts";
import { epsOf } from "./contender.ts";

export const open: Open = async (backend = "cpu") => {
  if (backend === "wasm") {
    const { setWasmPaths } = await import("@tensorflow/tfjs-backend-wasm");
    const main = createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm");
    setWasmPaths(`${dirname(main)}/`);
  }
  await tf.setBackend(backend);
  return { prepare };
};

type Three = [tf.Tensor, tf.Tensor, tf.Tensor];

function prepare(inputs: Inputs): Prepared {
  const { shape } = inputs;
  const eps = epsOf(shape);
  const axes = axesOf(shape);
  const channelsFirst = shape.layout === "channels-first";
  const perChannel = channelsFirst ? [shape.c, 1, 1] : [shape.c];
  const parameter = (name: "gamma" | "beta" | "mean" | "var") => tf.tensor(inputs.read(name), perChannel);

  const x = tf.tensor(inputs.read("x"), axes);
  const dy = tf.tensor(inputs.read("dy"), axes);
  const gamma = parameter("gamma");
  const beta = shape.family === "rms-norm" ? tf.zerosLike(gamma) : parameter("beta");

  const affine = (centered: tf.Tensor, variance: tf.Tensor, g: tf.Tensor, b: tf.Tensor) =>
    centered.mul(variance.add(eps).rsqrt()).mul(g).add(b);
  const batchNorm = channelsFirst
    ? (v: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, g: tf.Tensor, b: tf.Tensor) =>
        affine(v.sub(mean), variance, g, b)
    : (v: tf.Tensor, mean: tf.Tensor, variance: tf.Tensor, g: tf.Tensor, b: tf.Tensor) =>
        tf.batchNorm(
          v,
          mean as tf.Tensor1D,
          variance as tf.Tensor1D,
          b as tf.Tensor1D,
          g as tf.Tensor1D,
          eps,
        );
  const forward = {
    "batch-norm": (v: tf.Tensor, g: tf.Tensor, b: tf.Tensor) => {
      const groups = channelsFirst ? [0, 2, 3] : axes.map((_, axis) => axis).slice(0, -1);
      const { mean, variance } = tf.moments(v, groups);
      return batchNorm(v, mean.reshape(perChannel), variance.reshape(perChannel), g, b);
    },
    "layer-norm": (v: tf.Tensor, g: tf.Tensor, b: tf.Tensor) => {
      const { mean, variance } = tf.moments(v, -1, true);
      return affine(v.sub(mean), variance, g, b);
    },
    "rms-norm": (v: tf.Tensor, g: tf.Tensor, b: tf.Tensor) => affine(v, v.square().mean(-1, true), g, b),
  }[shape.family];
  const gradients = tf.grads(forward as (...v: tf.Tensor[]) => tf.Tensor);

  const tensors = [x, dy, gamma, beta];
  let y: tf.Tensor | undefined;
  const forwardOp = (f: () => tf.Tensor) => ({
    run: () => {
      y?.dispose();
      y = tf.tidy(f);
    },
    outputs: (): Outputs => ({ y: y!.dataSync() as Float32Array }),
  });
  let grads: Three | undefined;
  const ops: Prepared["ops"] = {
    train: forwardOp(() => forward(x, gamma, beta)),
    backward: {
      run: () => {
        if (grads) tf.dispose(grads);
        grads = tf.tidy(() => gradients([x, gamma, beta], dy)) as Three;
      },
      outputs: (): Outputs => {
        const [dx, dgamma, dbeta] = grads!.map((t) => t.dataSync() as Float32Array);
        return { dx: dx!, dgamma: dgamma!, dbeta: dbeta! };
      },
    },
  };
  if (shape.family === "batch-norm") {
    const mean = parameter("mean");
    const variance = parameter("var");
    tensors.push(mean, variance);
    ops.eval = forwardOp(() => batchNorm(x, mean, variance, gamma, beta));
  }
  return {
    ops,
    close: () => tf.dispose([...tensors, ...(y ? [y] : []), ...(grads ?? [])]),
  };
}
