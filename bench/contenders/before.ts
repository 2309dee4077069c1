/** This package as another commit built it, in the folder that is the argument: layers on Tensors, the fastest binary. */
import { pathToFileURL } from "node:url";
import type { Open } from "./contender.ts";
import { fastest, type Library, prepare, tensors } from "./wasm-norm.ts";

export const open: Open = async (folder) => {
  const library: Library = await import(pathToFileURL(`${folder}/dist/index.js`).href);
  await library.init({ variant: fastest() });
  const retains = takesRetain(library);
  return { prepare: (inputs) => prepare(library, inputs, tensors, retains ? undefined : null) };
};

/** Version 0.1 kept every forward for as many backwards as came, and knew no option for it. */
function takesRetain({ LayerNorm }: Library): boolean {
  const layer = new LayerNorm(2);
  const x = Float32Array.of(1, 2);
  layer.forward(x);
  try {
    layer.backward(x, { retain: true });
    return true;
  } catch {
    return false;
  } finally {
    layer.dispose();
  }
}
