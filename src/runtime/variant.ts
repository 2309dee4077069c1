/** The two instruction sets the kernels are built for; relaxed SIMD has fused multiply-add. */
export type Variant = "simd" | "relaxed-simd";

/** What there is to instantiate: a module, or bytes to make one of. */
export type Code = WebAssembly.Module | BufferSource;

/** What stands before the message of an error that is about no call in particular. */
export const WHO = "wasm-norm";

const tagOf = (value: unknown): string => Object.prototype.toString.call(value).slice(8, -1);

// By their tags: what comes out of another realm (Jest's, a sandbox's) is no instance of this one's classes.
export const isModule = (code: unknown): code is WebAssembly.Module => tagOf(code) === "WebAssembly.Module";

export const isBytes = (code: unknown): code is BufferSource =>
  ArrayBuffer.isView(code) || tagOf(code) === "ArrayBuffer";

/** Whether this engine could run it. */
export const isValid = (code: unknown): code is Code =>
  typeof WebAssembly === "object" && (isModule(code) || (isBytes(code) && WebAssembly.validate(code)));
