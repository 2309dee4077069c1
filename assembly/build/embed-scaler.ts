// Run by the build, after the compiler: writes build/scaler.json, the text that src/scaler/binary.ts inlines. Hexadecimal,
// since no engine lacks what reads it, and gzip makes it smaller than base64, which hides the bytes' alignment.
import { readFileSync, writeFileSync } from "node:fs";

writeFileSync(
  "build/scaler.json",
  JSON.stringify({ hex: readFileSync("build/scaler.wasm").toString("hex") }),
);
