/**
 * This package without its facade: what a layer's call asks of the WebAssembly module, recorded once and called
 * again with the same numbers. A layer's call on Tensors less this is the facade's own cost.
 */
import type { Open, Operation, Prepared } from "./contender.ts";

type Exported = (...numbers: number[]) => unknown;

/** The calls made since it was last emptied. */
const calls: { kernel: Exported; numbers: number[] }[] = [];

/** Stands in for WebAssembly.Instance while the package loads, and notes each call of an export. */
class RecordingInstance {
  readonly exports: WebAssembly.Exports;

  constructor(module: WebAssembly.Module, imports?: WebAssembly.Imports) {
    const { exports } = new Instance(module, imports);
    const recorded = (kernel: Exported): Exported => {
      return (...numbers) => {
        calls.push({ kernel, numbers });
        return kernel(...numbers);
      };
    };
    this.exports = Object.fromEntries(
      Object.entries(exports).map(([name, value]) => [
        name,
        typeof value === "function" ? recorded(value as Exported) : value,
      ]),
    );
  }
}
const { Instance } = WebAssembly;

export const open: Open = async (variant) => {
  WebAssembly.Instance = RecordingInstance as typeof WebAssembly.Instance;
  const { open: openLayers } = await import("./wasm-norm.ts");
  const layers = await openLayers(variant);
  return {
    prepare: async (inputs) => {
      const prepared = await layers.prepare(inputs);
      const ops = Object.entries(prepared.ops).map(([op, operation]) => [op, replayed(operation)]);
      return { ...prepared, ops: Object.fromEntries(ops) as Prepared["ops"] };
    },
  };
};

function replayed({ run, outputs }: Operation): Operation {
  calls.length = 0;
  run();
  const made = calls.map(
    ({ kernel, numbers }) =>
      () =>
        kernel(...numbers),
  );
  return {
    run: () => {
      for (const call of made) call();
    },
    outputs: () => {
      run(); // gradients leave the module through the facade
      return outputs();
    },
  };
}
