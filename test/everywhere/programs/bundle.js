// The package by its name, for a bundler to find.
import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";

globalThis.result = prove(wasmNorm, functional, new URLSearchParams(location.search).get("mode"));
