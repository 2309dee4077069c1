import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";

export default {
  async fetch(request) {
    const mode = new URL(request.url).searchParams.get("mode");
    try {
      return Response.json({ proof: await prove(wasmNorm, functional, mode) });
    } catch ({ message }) {
      return Response.json({ message });
    }
  },
};
