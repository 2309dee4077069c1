// The bare binary by its subpath, from a file.
import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";

const wasm = new URL(import.meta.resolve("wasm-norm/wasm/simd.wasm"));
console.log(JSON.stringify(await prove(wasmNorm, functional, process.argv[2], wasm)));
