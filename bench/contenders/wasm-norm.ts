/**
 * This package, as built in dist: on Tensors with either binary ("simd", "relaxed-simd") or the "fastest" that runs, on one thread
 * or several ("2 threads"), or on Float32Arrays with the binary that it chooses itself ("arrays"), where the time includes the copies in and out.
 */
import type { Activation } from "../../src/index.ts";
import { axesOf } from "../shapes.ts";
import type { Inputs, Open, Operation, Prepared } from "./contender.ts";
import { epsOf, Unsupported } from "./contender.ts";
import { prepareAround } from "./wasm-norm-around.ts";

export type Library = typeof import("../../src/index.ts");
export type Variant = "simd" | "relaxed-simd";
export type Layer = InstanceType<Library["BatchNorm"] | Library["LayerNorm"] | Library["RMSNorm"]>;
/** Either kind of minibatch, with the Float32Array that shows its values. */
interface Minibatch {
  value: InstanceType<Library["Tensor"]> | Float32Array;
  /** What a call has to be told; a Tensor knows its own. */
  shape?: number[];
  data(): Float32Array;
  dispose(): void;
}

// (module (func (result v128) i32.const 0 i8x16.splat i32.const 0 i8x16.splat i8x16.relaxed_swizzle))
const relaxedSimd = Buffer.from(
  "0061736d010000000105016000017b030201000a0f010d004100fd0f4100fd0ffd80020b",
  "hex",
);

export const open: Open = async (argument) => {
  const library: Library = await import(new URL("../../dist/index.js", import.meta.url).href);
  if (argument === "arrays") return { prepare: (inputs) => prepare(library, inputs, arrays) };
  const threads = Number(/^(\d+) threads$/.exec(argument)?.[1] ?? 1);
  const variant = argument === "fastest" || threads > 1 ? fastest() : (argument as Variant);
  if (variant === "relaxed-simd" && fastest() !== variant) {
    throw new Unsupported("this Node has no relaxed SIMD");
  }
  await library.init({ variant, threads });
  return {
    prepare: (inputs) =>
      inputs.shape.around ? prepareAround(library, inputs) : prepare(library, inputs, tensors),
  };
};

export const fastest = (): Variant => (WebAssembly.validate(relaxedSimd) ? "relaxed-simd" : "simd");

type MakeMinibatch = (library: Library, axes: number[]) => Minibatch;

const arrays: MakeMinibatch = (_, axes) => {
  const value = new Float32Array(axes.reduce((a, b) => a * b, 1));
  return { value, shape: axes, data: () => value, dispose: () => {} };
};

export const tensors: MakeMinibatch = ({ tensor }, axes) => {
  const value = tensor(axes);
  return { value, data: () => value.data, dispose: () => value.dispose() };
};

/** Backward is timed many times for one forward. */
const RETAIN = { retain: true };

/**
 * Backward belongs to a layer's last forward, so each operation has a layer of its own.
 *
 * @param retain the options of a backward that others follow; null where there are none to give
 */
export function prepare(
  library: Library,
  inputs: Inputs,
  make: MakeMinibatch,
  retain: { retain: boolean } | null = RETAIN,
): Prepared {
  const { shape } = inputs;
  const axes = axesOf(shape);
  const x = make(library, axes);
  const dy = make(library, axes);
  const out = make(library, axes);
  inputs.read("x", x.data() as Float32Array<ArrayBuffer>);
  inputs.read("dy", dy.data() as Float32Array<ArrayBuffer>);
  const layers: Layer[] = [];

  const layer = (): Layer => {
    const made = makeLayer(library, inputs);
    layers.push(made);
    return made;
  };
  const forward = (on: Layer): Operation => ({
    run: () => on.forwardInto(x.value, out.value, x.shape),
    outputs: () => ({ y: out.data() }),
  });
  const backward = (on: Layer): Operation => {
    on.forwardInto(x.value, out.value, x.shape);
    const again = retain ?? undefined;
    return {
      run: () => on.backwardInto(dy.value, out.value, again),
      outputs: () => {
        on.zeroGrad(); // gradients add up over calls; what is checked is one call's
        on.backwardInto(dy.value, out.value, again);
        const dbeta = on.beta ? { dbeta: on.beta.grad } : {};
        return { dx: out.data(), dgamma: on.gamma!.grad, ...dbeta };
      },
    };
  };
  const ops: Prepared["ops"] = { train: forward(layer()), backward: backward(layer()) };
  if (shape.family === "batch-norm") {
    const evaluated = layer();
    evaluated.eval();
    ops.eval = forward(evaluated);
  }
  return {
    ops,
    close: () => {
      for (const each of [x, dy, out, ...layers]) each.dispose();
    },
  };
}

export function makeLayer(
  { BatchNorm, LayerNorm, RMSNorm }: Library,
  { shape, read }: Inputs,
  activation: Activation = "none",
): Layer {
  const { family, layout, c } = shape;
  const eps = epsOf(shape);
  if (family === "rms-norm") {
    const layer = new RMSNorm(c, { eps, activation });
    layer.gamma!.data.set(read("gamma"));
    return layer;
  }
  const layer =
    family === "layer-norm"
      ? new LayerNorm(c, { eps, activation })
      : new BatchNorm(c, { eps, layout, activation });
  layer.gamma!.data.set(read("gamma"));
  layer.beta!.data.set(read("beta"));
  if (layer instanceof BatchNorm) {
    const state = layer.stateDict();
    layer.loadStateDict({ ...state, running_mean: read("mean"), running_var: read("var") });
  }
  return layer;
}
