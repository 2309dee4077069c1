/**
 * TensorFlow.js on these kernels: `await install(tf)`, and models need no change.
 *
 * What it hooks, and why there:
 * - `call` of tf.layers.batchNormalization's and layerNormalization's classes. Names, configurations and saved files stay tfjs's
 *   own, and models that were made before are served, too.
 * - Kernels of its own (`WasmNorm...`) with a registered gradient: tfjs's leak check takes what `tf.customGrad` saves for a leak.
 *   Each call has statistics of its own, so that a layer may be called twice before its backward.
 * - The kernel of `FusedBatchNorm`, which tf.batchNorm2d to 4d and graph models run; its gradient stays tfjs's.
 * - Classes under Keras's names where tfjs has none: "Unknown layer" is what users of converted models meet.
 *
 * On the wasm backend, with threads or without, the kernels run in tfjs's memory, on its tensors where they lie. On the cpu
 * backend tensors are copied. Others (webgl, webgpu, node) keep their own kernels, and so do gradients of
 * gradients and minibatches that are not float32.
 *
 * Conventions are tfjs's: momentum is the weight of the past (0.99), the moving variance is biased, epsilon is 1e-3, a layer
 * with `trainable = false` still uses the minibatch in training, and a mask passes through. Other than in tfjs, `training` that
 * was given when a layer was put into a model holds, as in Keras; statistics that are not finite leave the moving ones as they are;
 * and what tfjs refuses or gets wrong works: training without gamma or beta, any axis, rank 5.
 *
 * @module
 */
export type { Activation } from "./engine/activation.js";
export { install, type TensorFlow, type Uninstall } from "./integrations/tfjs/install.js";
export {
  type AffineOptions,
  type CommonOptions,
  type KerasLayers,
  layers,
} from "./integrations/tfjs/layers.js";
export * from "./integrations/tfjs/operations.js";
