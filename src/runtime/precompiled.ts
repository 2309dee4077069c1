// Stands in for embedded.ts where compiling bytes is forbidden and imported .wasm files are compiled ahead: workerd.
import relaxed from "../../build/relaxed-simd.wasm";
import simd from "../../build/simd.wasm";
import type { Code, Variant } from "./variant.js";

/** A binary, compiled before the program started. */
export const binary = (variant: Variant): Code | undefined => (variant === "simd" ? simd : relaxed);
