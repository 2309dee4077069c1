// How Tensors know one another. A page may hold two copies of this package (ESM and CommonJS, or two versions): all
// put their mark under one registered symbol, each a mark of its own.

/** Under this name a Tensor of any copy carries its copy's mark. */
export const BRAND = Symbol.for("wasm-norm.Tensor");

/** The same of a layer. */
export const LAYER = Symbol.for("wasm-norm.Layer");

/** The mark of this copy. */
export const COPY: unknown = Object.freeze({});

/** The mark of what may be a Tensor, or a layer; undefined for anything else. Never throws. */
export function brandOf(value: unknown, what: typeof BRAND | typeof LAYER = BRAND): unknown {
  try {
    return typeof value === "object" && value !== null ? (value as Record<symbol, unknown>)[what] : undefined;
  } catch {
    return undefined;
  }
}
