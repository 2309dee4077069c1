/** This package with what is around a norm in the same call, and the norm alone. */
import type { Activation, Tensor as AnyTensor } from "../../src/index.ts";
import { axesOf } from "../shapes.ts";
import type { InputName, Inputs, Operation, Prepared } from "./contender.ts";
import { type Layer, type Library, makeLayer } from "./wasm-norm.ts";

const ACTIVATIONS: readonly string[] = ["relu", "silu", "gelu"];

export function prepareAround(library: Library, inputs: Inputs): Prepared {
  const { around } = inputs.shape;
  const activation = ACTIVATIONS.includes(around!) ? (around as Activation) : "none";
  const { x, dy, z, out, dz, modulation, modulationGrad, all } = tensorsOf(library, inputs);
  const layers: Layer[] = [];
  const layer = (last: Activation = "none"): Layer => {
    const made = makeLayer(library, inputs, last);
    layers.push(made);
    return made;
  };
  const start = z?.toArray();

  const forwardOptions = {
    ...(around === "residual" && { residual: z! }),
    ...(around === "stream" && { stream: z! }),
    ...(around === "modulation" && { modulation: modulation! }),
    ...(around === "gate" && { gate: z! }),
  };
  const backwardOptions = {
    retain: true,
    ...(around === "stream" && { stream: dz! }),
    ...(around === "modulation" && { modulationGrad: modulationGrad! }),
    ...(around === "gate" && { gateGrad: dz! }),
  };
  const fused = layer(activation);
  const run = () => fused.forwardInto(x, out, forwardOptions);
  const train: Operation = {
    run,
    outputs: () => {
      if (around === "stream") z!.set(start!); // it has grown since
      run();
      return { y: out.data };
    },
  };
  const ops: Prepared["ops"] = { train, ...alone(layer(), x, dy, out) };
  if (around !== "residual") {
    const own = layer(activation);
    own.forwardInto(x, out, forwardOptions);
    const run = () => own.backwardInto(dy, out, backwardOptions);
    ops.backward = {
      run,
      outputs: () => {
        own.zeroGrad();
        if (around === "stream") dz!.set(start!);
        run();
        return {
          ...gradients(own, out.data),
          ...(around === "gate" && { dz: dz!.data }),
          ...(modulationGrad && { dscale: modulationGrad.scale.data, dshift: modulationGrad.shift.data }),
        };
      },
    };
    if (around === "stream") z!.set(start!);
  }
  return {
    ops,
    close: () => {
      for (const each of [...all, ...layers]) each.dispose();
    },
  };
}

type Tensor = AnyTensor<"float32">;

/** Everything that the two passes read and write. */
export function tensorsOf({ tensor }: Library, { shape, read }: Inputs) {
  const axes = axesOf(shape);
  const all: Tensor[] = [];
  const make = (sizes: number[]): Tensor => {
    const made = tensor(sizes);
    all.push(made);
    return made;
  };
  const filled = (name: InputName, sizes: number[]) => {
    const made = make(sizes);
    made.set(read(name));
    return made;
  };
  const x = filled("x", axes);
  const dy = filled("dy", axes);
  const z = filled("z", axes);
  const modulated = shape.around === "modulation";
  const rows = [axes[0]!, shape.c];
  const modulation = modulated ? { scale: filled("scale", rows), shift: filled("shift", rows) } : undefined;
  const modulationGrad = modulated ? { scale: make(rows), shift: make(rows) } : undefined;
  return { x, dy, z, out: make(axes), dz: make(axes), n: make(axes), modulation, modulationGrad, all };
}

/** Both passes of a norm with nothing around it. */
function alone(layer: Layer, x: Tensor, dy: Tensor, out: Tensor): Prepared["ops"] {
  layer.forwardInto(x, out);
  const retain = { retain: true };
  return {
    norm: { run: () => layer.forwardInto(x, out), outputs: () => ({ y: out.data }) },
    "norm-backward": {
      run: () => layer.backwardInto(dy, out, retain),
      outputs: () => {
        layer.zeroGrad();
        layer.backwardInto(dy, out, retain);
        return gradients(layer, out.data);
      },
    },
  };
}

/** gamma's and beta's are sums over all calls since `zeroGrad`. */
export function gradients(layer: Layer, dx: Float32Array) {
  return { dx, dgamma: layer.gamma!.grad, ...(layer.beta && { dbeta: layer.beta.grad }) };
}
