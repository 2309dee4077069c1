// As precompiled.ts, for runtimes of which not all have relaxed SIMD (edge-light on Node 20): a module that the
// engine does not know would stop the whole program at its start.
import simd from "../../build/simd.wasm";
import type { Code, Variant } from "./variant.js";

// Sandboxes compile in their host's realm and run the program in another, where the module is no instance of
// WebAssembly.Module; it is instantiated all the same once it says so.
if (!(simd instanceof WebAssembly.Module)) Object.setPrototypeOf(simd, WebAssembly.Module.prototype);

/** The one binary that there is, compiled before the program started. */
export const binary = (variant: Variant): Code | undefined => (variant === "simd" ? simd : undefined);
