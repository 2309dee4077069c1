const wasmNorm = require("wasm-norm");
const functional = require("wasm-norm/functional");
const { isMainThread, parentPort, Worker, workerData } = require("node:worker_threads");

const [mode, thread] = isMainThread ? process.argv.slice(2) : [workerData];
if (thread === "worker") new Worker(__filename, { workerData: mode }).on("message", console.log);
else
  import("./proof.js")
    .then(({ prove }) => prove(wasmNorm, functional, mode))
    .then((result) =>
      (parentPort ? parentPort.postMessage.bind(parentPort) : console.log)(JSON.stringify(result)),
    );
