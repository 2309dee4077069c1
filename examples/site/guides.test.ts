// The guides' code, run against the built package: every block as it stands, after what its text takes as given.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";

const guides = fileURLToPath(new URL("guides/", import.meta.url));
const dist = fileURLToPath(new URL("../../dist/", import.meta.url));
const folder = mkdtempSync(join(tmpdir(), "guides-"));
after(() => rmSync(folder, { recursive: true }));

/** What a block takes as given: by guide and the block's number in it, from 0. */
const GIVEN: Record<string, string> = {
  "first-steps.md 1": `import { BatchNorm } from "wasm-norm"; const x = new Float32Array(32 * 64 * 56 * 56);`,
  "first-steps.md 3": `import { BatchNorm } from "wasm-norm"; const layer = new BatchNorm(3);
    const x = Float32Array.from({ length: 12 }, (_, i) => i); const [residual, mask] = [x, [1, 1, 0, 1]];`,
  "from-pytorch-keras-tfjs.md 0": `import { BatchNorm } from "wasm-norm"; import { saveSafetensors } from "wasm-norm/safetensors";
    const layer = new BatchNorm(3);
    const bytes = saveSafetensors(Object.fromEntries(
      Object.entries(layer.stateDict()).map(([name, entry]) => ["bn1." + name, entry])));`,
  "running-statistics.md 0": `const [first, second] = [new Float32Array(64 * 256), new Float32Array(32 * 256)];`,
  "running-statistics.md 1": `import { BatchNorm } from "wasm-norm"; const norms = [new BatchNorm(3)];`,
  "running-statistics.md 2": `import { BatchNorm } from "wasm-norm"; const norms = [new BatchNorm(3)];
    const network = (x) => norms[0].forward(x); const minibatches = [Float32Array.from({ length: 12 }, (_, i) => i)];`,
  "running-statistics.md 4": `import { BatchNorm, SGD } from "wasm-norm"; const layer = new BatchNorm(3);
    const optimizer = new SGD(layer.parameters(), { lr: 0.1 });
    const parts = [0, 1].map(() => ({ x: Float32Array.from({ length: 12 }, (_, i) => i), dy: new Float32Array(12).fill(1) }));`,
  "first-steps.md 4": `import { readFileSync } from "node:fs";
    const module = new WebAssembly.Module(readFileSync(${JSON.stringify(`${dist}wasm/simd.wasm`)}));`,
  "tensors.md 1": `import { tensor } from "wasm-norm"; const x = tensor([32, 768]);`,
  "tensors.md 5": "globalThis.self = {};",
  "transformers.md 0": `const tokens = 2; import { tensor as make } from "wasm-norm"; const attention = make([tokens, 4096]);`,
  "transformers.md 1": `import { RMSNorm, tensor } from "wasm-norm"; const norm = new RMSNorm(16);
    const [attention, stream, out, dout, dx, dstream] = Array.from({ length: 6 }, () => tensor([2, 16]));
    norm.forwardInto(attention, out, { stream });`,
};
/** Those that tell what this build does not do yet: they must fail, and leave this list once they run. */
const AHEAD: string[] = [];
/** Those that need what is not here: a file, a broker, a network's files, a loader of modules, a page. */
const ELSEWHERE = [
  "tensors.md 4",
  "services.md 0",
  "several-machines.md 0",
  "checkpoints.md 0",
  "where-it-runs.md 0",
  "threads.md 1",
];

const dialled = (code: string) =>
  code.replace(/"wasm-norm(\/[a-z]+)?"/g, (_, entry = "/index") =>
    JSON.stringify(pathToFileURL(join(dist, `${entry.slice(1)}.js`)).href),
  );
const IMPORT = /import \{([^}]+)\} from "(wasm-norm(?:\/[a-z]+)?)"/g;

for (const guide of readdirSync(guides)) {
  const blocks = [...readFileSync(guides + guide, "utf8").matchAll(/^```js\n([\s\S]*?)^```/gm)];
  blocks.forEach(([, code = ""], i) => {
    const name = `${guide} ${i}`;
    test(`${name}: what it imports is there`, async () => {
      for (const [, names = "", from = ""] of code.matchAll(IMPORT)) {
        const entry = from === "wasm-norm" ? "index" : from.slice("wasm-norm/".length);
        const module = await import(pathToFileURL(join(dist, `${entry}.js`)).href);
        for (const one of names.split(",")) assert.ok(one.trim() in module, `${from} has ${one.trim()}`);
      }
    });
    if (ELSEWHERE.includes(name)) return;
    // A process each: a runtime starts once.
    test(`${name}: ${AHEAD.includes(name) ? "does not run yet" : "runs"}`, () => {
      const path = join(folder, `${guide}-${i}.mjs`);
      writeFileSync(path, dialled(`${GIVEN[name] ?? ""}\n${code}`));
      const run = () => execFileSync(process.execPath, [path], { stdio: "pipe" });
      if (AHEAD.includes(name)) assert.throws(run, /expected/);
      else run();
    });
  });
}
