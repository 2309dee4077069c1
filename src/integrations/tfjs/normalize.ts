/** Normalization as an operation on tensors: the kernels, where they serve. */
import { sizeOf } from "../../arrays.js";
import { ACTIVATIONS, type Activation } from "../../engine/activation.js";
import { type Geometry, parametersOf } from "../../engine/geometry.js";
import { BACKENDS, KERNEL } from "./registry.js";
import type { LayerVariable, Tensor, Tf } from "./types.js";

/** Gamma and beta, each or none. */
export interface Vectors {
  gamma: Tensor | null;
  beta: Tensor | null;
}

/** The weights that a layer has. */
export const vectorsOf = (layer: {
  scale: boolean;
  center: boolean;
  gamma?: LayerVariable | null;
  beta?: LayerVariable | null;
}): Vectors => ({
  gamma: (layer.scale && layer.gamma?.read()) || null,
  beta: (layer.center && layer.beta?.read()) || null,
});

/** Whether the kernels serve the backend that is set. */
export const isServed = (tf: Tf): boolean => (BACKENDS as readonly string[]).includes(tf.getBackend());

/**
 * Whether the kernels serve a call: on their backends, for float32, and where its gradient is not differentiated again, as
 * the backward kernel has no gradient of its own.
 */
export function serves(tf: Tf, x: Tensor, others: (Tensor | null)[]): boolean {
  return (
    isServed(tf) &&
    [x, ...others].every((tensor) => tensor === null || tensor.dtype === "float32") &&
    tf.engine().state.gradientDepth <= 1
  );
}

/** Whether gamma and beta have as many values as the geometry asks for. */
export const fits = (geometry: Geometry, { gamma, beta }: Vectors): boolean =>
  [gamma, beta].every((vector) => !vector || sizeOf(vector.shape) === parametersOf(geometry));

export interface Call extends Vectors {
  geometry: Geometry;
  eps: number;
  /** Statistics to use, in place of x's own. */
  given?: { mean: Tensor; variance: Tensor } | undefined;
  activation?: Activation | undefined;
}

/** y and the statistics, for `track`. */
export function normalize(tf: Tf, x: Tensor, call: Call): [Tensor, Tensor] {
  const { geometry, eps, gamma, beta, given, activation = "none" } = call;
  const inputs = [x, given?.mean, given?.variance, gamma, beta].filter((tensor) => tensor != null);
  const attributes = {
    geometry,
    eps,
    scale: !!gamma,
    offset: !!beta,
    frozen: !!given,
    activation: ACTIVATIONS.indexOf(activation),
  };
  return tf.engine().runKernel(KERNEL.FORWARD, inputs, attributes) as [Tensor, Tensor];
}
