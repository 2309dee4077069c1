import binaries from "../../build/binaries.json";
import { decode } from "./embedding.js";
import type { Code, Variant } from "./variant.js";

const decoded: { [variant in Variant]?: Code } = {};

/** A binary, inlined: nothing to host, nothing to fetch. */
export const binary = (variant: Variant): Code | undefined =>
  (decoded[variant] ??= decode(binaries, variant === "simd" ? -1 : 0));
