// Given to the bundler, which takes this name for the global of the same name: @assemblyscript/loader makes a
// TextDecoder while it is imported, and where there is none (Jest's jsdom, an AudioWorklet) the import would fail. The
// kernels pass no strings, so that none is ever decoded.

/** The engine's own, or one that says that there is none once it is used. */
export const TextDecoder: typeof globalThis.TextDecoder =
  globalThis.TextDecoder ??
  class {
    decode(): never {
      throw new Error("wasm-norm: expected an engine with TextDecoder, got one without");
    }
  };
