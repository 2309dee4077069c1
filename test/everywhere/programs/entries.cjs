const analysis = require("wasm-norm/analysis");
const collective = require("wasm-norm/collective");
const scaler = require("wasm-norm/scaler");

import("./entries-proof.js")
  .then(({ proveEntries }) => proveEntries({ scaler, collective, analysis }))
  .then(console.log);
