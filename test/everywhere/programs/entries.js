import * as analysis from "wasm-norm/analysis";
import * as collective from "wasm-norm/collective";
import * as scaler from "wasm-norm/scaler";
import { proveEntries } from "./entries-proof.js";

console.log(await proveEntries({ scaler, collective, analysis }));
