/** In place of the binaries inlined: the checked ones. */
import { readFileSync } from "node:fs";
import type { Variant } from "../../src/runtime/variant.js";

const read = (variant: Variant) =>
  new Uint8Array(readFileSync(new URL(`../../build/checked/${variant}.wasm`, import.meta.url)));

const binaries = { simd: read("simd"), "relaxed-simd": read("relaxed-simd") };

export const binary = (variant: Variant): Uint8Array => binaries[variant];
