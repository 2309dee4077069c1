import relaxed from "../../build/relaxed-simd.wasm";
import simd from "../../build/simd.wasm";
import type { Variant } from "./runtime.js";

/** The binaries, inlined: nothing to host, nothing to fetch. */
export const embedded = (variant: Variant): Uint8Array<ArrayBuffer> => (variant === "simd" ? simd : relaxed);
