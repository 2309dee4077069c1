/**
 * What is registered with tfjs-core. Kernels of our own with gradients of their own, rather than `tf.customGrad`: tfjs counts
 * what a kernel leaves behind, and takes for a leak what a custom gradient saves (its leak check, IS_TEST).
 */
import { sizeOf } from "../../arrays.js";
import { ofBatch } from "./geometry.js";
import { type Attributes, backward, forward, track } from "./kernels.js";
import { forget } from "./place.js";
import type { Engine, KernelArguments, Tensor, TensorInfo, Tf } from "./types.js";

/** The backends that are served. */
export const BACKENDS = ["cpu", "wasm"] as const;

export const KERNEL = {
  FORWARD: "WasmNormForward",
  BACKWARD: "WasmNormBackward",
  TRACK: "WasmNormTrack",
} as const;

const STOCK = "FusedBatchNorm";

/**
 * The gradient of every input, which stand in an array, so that gamma and beta can be left out. It runs at once, since tfjs
 * calls each of what is returned in a scope of its own.
 */
const gradient = (engine: Engine) => (dys: Tensor | Tensor[], saved: Tensor[], attributes: object) => {
  const dy = Array.isArray(dys) ? dys[0]! : dys;
  const gradients = engine.runKernel(KERNEL.BACKWARD, [dy, ...saved], attributes) as Tensor[];
  return Object.fromEntries(gradients.map((of, i) => [i, () => of]));
};

/** The axis of x along which a vector of parameters lies as it is broadcast; -1 where they are not a vector. */
function axisOf(x: TensorInfo, parameters: TensorInfo): number {
  const lead = x.shape.length - parameters.shape.length;
  const size = sizeOf(parameters.shape);
  const axis = lead + parameters.shape.lastIndexOf(size);
  return lead >= 0 && axis >= lead && x.shape[axis] === size ? axis : -1;
}

/** FusedBatchNorm, which is what tf.batchNorm2d to 4d and graph models run, with the kernels where they have it. */
function fused(args: KernelArguments): TensorInfo | undefined {
  const { x, mean, variance, offset, scale } = args.inputs;
  const vectors = [mean!, variance!, ...[scale, offset].filter((tensor) => tensor != null)];
  const axis = axisOf(x!, mean!);
  const fits = vectors.every((v) => v.dtype === "float32" && axisOf(x!, v) === axis);
  if (x!.dtype !== "float32" || axis < 0 || !fits || sizeOf(x!.shape) === 0) return undefined;
  const attrs: Attributes = {
    geometry: ofBatch(x!.shape, axis),
    eps: (args.attrs as { varianceEpsilon?: number }).varianceEpsilon ?? 1e-3,
    scale: scale != null,
    offset: offset != null,
    frozen: true,
    activation: 0,
  };
  const inputs = [x!, ...vectors] as unknown as KernelArguments["inputs"];
  const [y, statistics] = forward({ ...args, inputs, attrs });
  args.backend.disposeData(statistics!.dataId);
  return y;
}

/** Registers all of it. @returns what takes it back */
export function register(tf: Tf): () => void {
  const undo: (() => void)[] = [];
  for (const backendName of BACKENDS) {
    for (const [kernelName, kernelFunc] of [
      [KERNEL.FORWARD, forward],
      [KERNEL.BACKWARD, backward],
      [KERNEL.TRACK, track],
    ] as const) {
      tf.registerKernel({ kernelName, backendName, kernelFunc, disposeFunc: forget });
      undo.push(() => tf.unregisterKernel(kernelName, backendName));
    }
    const stock = tf.getKernel(STOCK, backendName);
    if (!stock) continue;
    // Registering over a kernel warns.
    tf.unregisterKernel(STOCK, backendName);
    const kernelFunc = (args: KernelArguments) => {
      // Gradients of gradients are stock's, to the bit.
      const own = tf.engine().state.gradientDepth <= 1 ? fused(args) : undefined;
      return own ?? stock.kernelFunc(args);
    };
    tf.registerKernel({ ...stock, kernelFunc });
    undo.push(() => {
      tf.unregisterKernel(STOCK, backendName);
      tf.registerKernel(stock);
    });
  }
  tf.registerGradient({
    kernelName: KERNEL.FORWARD,
    saveAllInputs: true,
    outputsToSave: [false, true],
    gradFunc: gradient(tf.engine()),
  });
  undo.push(() => tf.unregisterGradient(KERNEL.FORWARD));
  return () => {
    for (const step of undo.reverse()) step();
  };
}
