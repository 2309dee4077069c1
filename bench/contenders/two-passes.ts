/**
 * This package's norm alone, and what is around it as a pass over memory of its own: in SIMD ("simd") or as a plain loop ("loop").
 * Passes work in place, the fastest way there is; what backward needs of the norm's output was kept beforehand.
 */
import type { Inputs, Open, Prepared } from "./contender.ts";
import { compilePasses, type Passes, plainPasses, simdPasses } from "./passes.ts";
import { fastest, type Library, makeLayer } from "./wasm-norm.ts";
import { gradients, tensorsOf } from "./wasm-norm-around.ts";

const { Memory } = WebAssembly;
let memory: WebAssembly.Memory | undefined;

/** Stands in for WebAssembly.Memory while the package loads: the passes work in the same memory. */
class NotedMemory extends Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memory = this;
  }
}

export const open: Open = async (argument) => {
  WebAssembly.Memory = NotedMemory;
  const library: Library = await import(new URL("../../dist/index.js", import.meta.url).href);
  await library.init({ variant: fastest() });
  if (argument === "loop")
    return { prepare: (inputs) => prepare(library, inputs, plainPasses(inputs.shape.c)) };
  const kernels = compilePasses(memory!, fastest());
  return { prepare: (inputs) => prepare(library, inputs, simdPasses(kernels, inputs.shape.c)) };
};

function prepare(library: Library, inputs: Inputs, passes: Passes): Prepared {
  const { around } = inputs.shape;
  const { x, dy, z, out, dz, n, modulation, modulationGrad, all } = tensorsOf(library, inputs);
  const start = z.toArray();
  const layer = makeLayer(library, inputs);
  const own = makeLayer(library, inputs);

  const forward = () => {
    if (around === "stream") {
      passes.add(z, x);
      layer.forwardInto(z, out);
      return;
    }
    layer.forwardInto(x, out);
    if (around === "residual") passes.add(out, z);
    else if (around === "modulation") passes.modulate(out, modulation!.scale, modulation!.shift);
    else if (around === "gate") passes.gate(out, z);
    else passes[around!](out);
  };
  const ops: Prepared["ops"] = {
    train: {
      run: forward,
      outputs: () => {
        z.set(start); // a stream has grown since
        forward();
        return { y: out.data };
      },
    },
  };
  if (around !== "residual") {
    const sum = library.tensor(x.shape);
    all.push(sum);
    sum.set(around === "stream" ? x.toArray().map((value, i) => value + start[i]!) : x.toArray());
    own.forwardInto(sum, n);
    const retain = { retain: true };
    const backward = () => {
      if (around === "stream") {
        own.backwardInto(dy, out, retain);
        passes.add(dz, out);
        return;
      }
      if (around === "modulation") {
        const { scale, shift } = modulationGrad!;
        passes.demodulate(dy, n, out, modulation!.scale, scale, shift);
      } else if (around === "gate") passes.gateGradient(dy, n, z, out, dz);
      else if (around === "relu") passes.reluGradient(dy, n, out);
      else if (around === "silu") passes.siluGradient(dy, n, out);
      else passes.geluGradient(dy, n, out);
      own.backwardInto(out, out, retain);
    };
    ops.backward = {
      run: backward,
      outputs: () => {
        own.zeroGrad();
        dz.set(start);
        z.set(start);
        backward();
        return {
          ...gradients(own, around === "stream" ? dz.data : out.data),
          ...(around === "gate" && { dz: dz.data }),
          ...(modulationGrad && { dscale: modulationGrad.scale.data, dshift: modulationGrad.shift.data }),
        };
      },
    };
  }
  return {
    ops,
    close: () => {
      for (const each of [...all, layer, own]) each.dispose();
    },
  };
}
