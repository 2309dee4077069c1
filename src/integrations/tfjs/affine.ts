/** What the operations and Keras's layers compute: the kernels where they serve, generic operations elsewhere. */
import { sizeOf } from "../../arrays.js";
import type { Activation } from "../../engine/activation.js";
import { ofGroup } from "./geometry.js";
import { overAxes } from "./hooks.js";
import { fits, normalize, serves, type Vectors } from "./normalize.js";
import type { Tensor, Tf } from "./types.js";

export interface Affinity extends Vectors {
  eps: number;
  activation?: Activation;
}

/** The engine's activations, made of tfjs's operations. */
const GENERIC: { [name in Activation]: (tf: Tf, z: Tensor) => Tensor } = {
  none: (_, z) => z,
  relu: (tf, z) => tf.relu(z),
  relu6: (tf, z) => tf.relu6(z),
  "leaky-relu": (tf, z) => tf.leakyRelu(z, 0.01),
  silu: (tf, z) => tf.mul(z, tf.sigmoid(z)),
  gelu: (tf, z) => tf.mul(z, tf.add(tf.mul(tf.erf(tf.mul(z, Math.SQRT1_2)), 0.5), 0.5)),
  // (1 + tanh(u)) / 2 is sigmoid(2 u).
  "gelu-tanh": (tf, z) => {
    const cubic = tf.mul(z, tf.add(tf.mul(tf.square(z), 0.044715), 1));
    return tf.mul(z, tf.sigmoid(tf.mul(cubic, 2 * Math.sqrt(2 / Math.PI))));
  },
  hardswish: (tf, z) => tf.mul(z, tf.mul(tf.relu6(tf.add(z, 3)), 1 / 6)),
  sigmoid: (tf, z) => tf.sigmoid(z),
  tanh: (tf, z) => tf.tanh(z),
};

/** gamma * xhat + beta, both of a shape that broadcasts, then the activation. */
function finish(tf: Tf, xhat: Tensor, shape: number[], affinity: Affinity): Tensor {
  const { gamma, beta, activation = "none" } = affinity;
  let y = xhat;
  if (gamma) y = tf.mul(y, tf.reshape(gamma, shape));
  if (beta) y = tf.add(y, tf.reshape(beta, shape));
  return GENERIC[activation](tf, y);
}

/** Layer norm, or RMS norm, over `axes`, which are counted from the front. */
export function layer(tf: Tf, x: Tensor, axes: readonly number[], rms: boolean, affinity: Affinity): Tensor {
  return tf.tidy(() => {
    const { eps, gamma, beta } = affinity;
    const own = serves(tf, x, [gamma, beta]) && overAxes(tf, x, axes, eps, rms, affinity);
    if (own) return own;
    const list = [...axes];
    const shape = x.shape.map((extent, axis) => (axes.includes(axis) ? extent : 1));
    if (rms) {
      const square = tf.mean(tf.square(x), list, true);
      return finish(tf, tf.mul(x, tf.rsqrt(tf.add(square, eps))), shape, affinity);
    }
    const { mean, variance } = tf.moments(x, list, true);
    return finish(tf, tf.mul(tf.sub(x, mean), tf.rsqrt(tf.add(variance, eps))), shape, affinity);
  });
}

/** Group norm of the channels on `axis`; gamma and beta have a value a channel, or one for all. */
export function group(tf: Tf, x: Tensor, axis: number, groups: number, affinity: Affinity): Tensor {
  return tf.tidy(() => {
    const { eps, gamma, beta, activation } = affinity;
    const geometry = ofGroup(x.shape, axis, groups);
    if (serves(tf, x, [gamma, beta]) && fits(geometry, affinity))
      return normalize(tf, x, { geometry, eps, gamma, beta, activation })[0];
    const before = sizeOf(x.shape.slice(1, axis));
    const after = sizeOf(x.shape.slice(axis + 1));
    const cut = tf.reshape(x, [x.shape[0]!, before, groups, x.shape[axis]! / groups, after]);
    const { mean, variance } = tf.moments(cut, [1, 3, 4], true);
    const xhat = tf.reshape(tf.mul(tf.sub(cut, mean), tf.rsqrt(tf.add(variance, eps))), x.shape);
    const shape = x.shape.map((extent, at) => (at === axis ? extent : 1));
    return finish(tf, xhat, shape, affinity);
  });
}

/** Each example as a whole, with one gamma and one beta: keras-contrib's instance norm without an axis. */
export function whole(tf: Tf, x: Tensor, affinity: Affinity): Tensor {
  const flat = tf.reshape(x, [x.shape[0]!, 1, sizeOf(x.shape.slice(1))]);
  return tf.tidy(() => tf.reshape(group(tf, flat, 1, 1, affinity), x.shape));
}
