// The bare binary by its subpath, from a file.
import { readFile } from "node:fs/promises";
import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";

const wasm = readFile(new URL(import.meta.resolve("wasm-norm/wasm/simd.wasm")));
console.log(JSON.stringify(await prove(wasmNorm, functional, process.argv[2], wasm)));
