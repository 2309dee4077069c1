// npm run make-state: trains the layer that the service starts with and writes its state.json. It normalizes the 64
// pixels of a handwritten digit; gamma and beta learn to give back the pixels, blurred by the minibatch's noise.
import { readFileSync, writeFileSync } from "node:fs";
import { BatchNorm, SGD } from "wasm-norm";
import { PIXELS, parseDigits } from "../digits/data.ts";

const BATCH = 64;

const { pixels, rows } = parseDigits(
  readFileSync(new URL("../digits/digits.csv", import.meta.url), "utf8"),
).training;
const layer = new BatchNorm(PIXELS);
const optimizer = new SGD(layer.parameters(), { lr: 0.1 });
for (let row = 0; row + BATCH <= rows; row += BATCH) {
  const x = pixels.subarray(row * PIXELS, (row + BATCH) * PIXELS);
  const y = layer.forward(x);
  optimizer.zeroGrad();
  layer.backward(y.map((value, i) => (value - x[i]!) / BATCH));
  optimizer.step();
}
const state = Object.entries(layer.stateDict()).map(([name, values]) => [name, Array.from(values)]);
writeFileSync(new URL("state.json", import.meta.url), `${JSON.stringify(Object.fromEntries(state))}\n`);
