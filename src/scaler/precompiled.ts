// Stands in for binary.ts where compiling bytes is forbidden and imported .wasm files are compiled ahead.
import module from "../../build/scaler.wasm";

// Sandboxes compile in their host's realm and run the program in another, where the module is no instance of
// WebAssembly.Module; it is instantiated all the same once it says so.
if (!(module instanceof WebAssembly.Module)) Object.setPrototypeOf(module, WebAssembly.Module.prototype);

/** The scaler's kernels, compiled before the program started. */
export const binary = (): WebAssembly.Module => module;
