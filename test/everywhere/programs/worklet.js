import * as functional from "./node_modules/wasm-norm/dist/functional.js";
import * as wasmNorm from "./node_modules/wasm-norm/dist/index.js";
import { prove } from "./proof.js";

class Prove extends AudioWorkletProcessor {
  constructor({ processorOptions: { mode } }) {
    super();
    const lacks = ["TextDecoder", "URL", "fetch", "Response"].filter((name) => name in globalThis);
    if (lacks.length) this.port.postMessage({ message: `an AudioWorklet without ${lacks} was expected` });
    prove(wasmNorm, functional, mode).then(
      (proof) => this.port.postMessage({ proof }),
      ({ message }) => this.port.postMessage({ message }),
    );
  }

  process() {
    return false;
  }
}

registerProcessor("prove", Prove);
