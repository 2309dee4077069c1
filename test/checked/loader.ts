/** In place of the loader: the same, with the import that the checked binaries ask. */
import { instantiate as later, instantiateSync as plain } from "@assemblyscript/loader";
import { check } from "./shadow.js";

const asking = (imports: { env: object }): { env: Record<string, unknown> } => ({
  env: { ...imports.env, check },
});

export const instantiateSync = (module: WebAssembly.Module, imports: { env: object }) =>
  plain(module, asking(imports));

export const instantiate = (module: WebAssembly.Module, imports: { env: object }) =>
  later(module, asking(imports));
