/** What the runtimes that take .wasm files as modules make of them. */
declare module "*.wasm" {
  const module: WebAssembly.Module;
  export default module;
}

/** Written by the build (assembly/build/embed.ts). */
declare module "*/binaries.json" {
  const binaries: import("./runtime/embedding.js").Embedding;
  export default binaries;
}

/** Written by the build (assembly/build/embed-scaler.ts). */
declare module "*/scaler.json" {
  const embedded: { readonly hex: string };
  export default embedded;
}

declare module "*/worker.json" {
  const program: { text: string };
  export default program;
}
