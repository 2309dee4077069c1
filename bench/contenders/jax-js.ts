/**
 * jax-js on its WebAssembly backend: the formulas in its numpy, compiled by its `jit`; the backward pass is the
 * pullback that `vjp` gives, so the forward pass is not in its time. Arrays are moved where they are used;
 * `.ref` keeps them.
 */
import { blockUntilReady, defaultDevice, init, jit, numpy as np, tree, vjp } from "@jax-js/jax";
import { axesOf } from "../shapes.ts";
import type { Inputs, Open, Outputs, Prepared } from "./contender.ts";
import { epsOf } from "./contender.ts";

export const open: Open = async () => {
  await init("wasm");
  defaultDevice("wasm");
  return { prepare };
};

function prepare(inputs: Inputs): Prepared {
  const { shape } = inputs;
  const eps = epsOf(shape);
  const axes = axesOf(shape);
  const channel = shape.layout === "channels-first" ? 1 : axes.length - 1;
  const perChannel = axes.map((size, axis) => (axis === channel ? size : 1));
  const groups =
    shape.family === "batch-norm"
      ? axes.map((_, axis) => axis).filter((axis) => axis !== channel)
      : [channel];
  const parameter = (name: "gamma" | "beta" | "mean" | "var") =>
    np.array(inputs.read(name)).reshape(perChannel);

  const x = np.array(inputs.read("x")).reshape(axes);
  const dy = np.array(inputs.read("dy")).reshape(axes);
  const gamma = parameter("gamma");
  const beta = shape.family === "rms-norm" ? np.zeros(perChannel) : parameter("beta");
  const arrays = [x, dy, gamma, beta];

  const affine = (centered: np.Array, variance: np.Array, g: np.Array, b: np.Array) =>
    centered
      .mul(np.reciprocal(np.sqrt(variance.add(eps))))
      .mul(g)
      .add(b);
  const meanOf = (v: np.Array) => np.mean(v, groups, { keepdims: true });
  const forward =
    shape.family === "rms-norm"
      ? (v: np.Array, g: np.Array, b: np.Array) => affine(v.ref, meanOf(np.square(v)), g, b)
      : (v: np.Array, g: np.Array, b: np.Array) => {
          const centered = v.ref.sub(meanOf(v));
          return affine(centered.ref, meanOf(np.square(centered)), g, b);
        };

  let y: np.Array | undefined;
  const forwardOp = (f: () => np.Array) => ({
    run: () => {
      y?.dispose();
      y = f();
      return y.blockUntilReady();
    },
    outputs: (): Outputs => ({ y: y!.ref.dataSync() as Float32Array }),
  });
  const train = jit(forward);
  const [out, pullback] = vjp(train, [x.ref, gamma.ref, beta.ref]);
  out.dispose();
  let grads: np.Array[] | undefined;
  const ops: Prepared["ops"] = {
    train: forwardOp(() => train(x.ref, gamma.ref, beta.ref)),
    backward: {
      run: () => {
        if (grads) tree.dispose(grads);
        grads = pullback(dy.ref) as np.Array[];
        return blockUntilReady(grads);
      },
      outputs: (): Outputs => {
        const [dx, dgamma, dbeta] = grads!.map((g) => g.ref.dataSync() as Float32Array);
        return { dx: dx!, dgamma: dgamma!, dbeta: dbeta! };
      },
    },
  };
  if (shape.family === "batch-norm") {
    const mean = parameter("mean");
    const variance = parameter("var");
    arrays.push(mean, variance);
    const evaluate = jit((v: np.Array, m: np.Array, s: np.Array, g: np.Array, b: np.Array) =>
      affine(v.sub(m), s, g, b),
    );
    ops.eval = forwardOp(() => evaluate(x.ref, mean.ref, variance.ref, gamma.ref, beta.ref));
  }
  return {
    ops,
    close: () => {
      y?.dispose();
      if (grads) tree.dispose(grads);
      pullback.dispose();
      for (const array of arrays) array.dispose();
    },
  };
}
