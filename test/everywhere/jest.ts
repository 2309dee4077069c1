import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { app } from "./app.js";
import { type Case, proofs } from "./case.js";
import { installed, sh } from "./shell.js";

const TEST = `import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { writeFileSync } from "node:fs";
import { prove } from "./proof.js";

test("proof", async () => {
  expect(typeof document).toBe("object");
  expect(typeof TextDecoder).toBe("undefined");
  writeFileSync("proof.json", JSON.stringify(await prove(wasmNorm, functional, process.env.MODE)));
});
`;

/** Jest's jsdom, which has neither TextDecoder nor fetch, and arrays of another realm than Node's own. */
export const jest: Case = proofs("Jest", "jsdom, CommonJS", async (mode) => {
  const folder = await app({ "proof.in.js": TEST });
  await build({
    absWorkingDir: folder,
    entryPoints: ["proof.in.js"],
    outfile: join(folder, "proof.test.cjs"),
    bundle: true,
    format: "cjs",
    packages: "external",
  });
  const config = {
    rootDir: folder,
    testEnvironment: installed("jest-environment-jsdom/build/index.js"),
    testMatch: ["**/proof.test.cjs"],
    transform: {},
  };
  await sh(
    process.execPath,
    [installed("jest/bin/jest.js"), "--runInBand", "--no-watchman", "--config", JSON.stringify(config)],
    folder,
    { MODE: mode },
  );
  return JSON.parse(await readFile(join(folder, "proof.json"), "utf8"));
});
