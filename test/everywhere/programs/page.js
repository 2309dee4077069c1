// The package straight from its folder, as a page does that bundles nothing. In a worker it answers by a message.

import * as functional from "./node_modules/wasm-norm/dist/functional.js";
import * as wasmNorm from "./node_modules/wasm-norm/dist/index.js";
import { prove } from "./proof.js";

const query = new URLSearchParams(location.search);
const wasm = query.has("hosted") ? fetch("./node_modules/wasm-norm/dist/wasm/simd.wasm") : undefined;
const result = prove(wasmNorm, functional, query.get("mode"), wasm);
if (typeof document === "object") globalThis.result = result;
else
  result.then(
    (proof) => postMessage({ proof }),
    ({ message }) => postMessage({ message }),
  );
