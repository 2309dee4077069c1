import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";

const [mode, thread] = isMainThread ? process.argv.slice(2) : [workerData];
if (thread === "worker")
  new Worker(new URL(import.meta.url), { workerData: mode }).on("message", console.log);
else
  prove(wasmNorm, functional, mode).then((result) =>
    (parentPort ? parentPort.postMessage.bind(parentPort) : console.log)(JSON.stringify(result)),
  );
