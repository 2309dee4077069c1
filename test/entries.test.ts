/** The list of public entries, package.json and what is built say the same. Needs a build. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { entries, packageFields, programs } from "../assembly/build/entries.js";

const root = new URL("..", import.meta.url);
const manifest = JSON.parse(readFileSync(new URL("package.json", root), "utf8"));

/** What Node 20 prints for an ES module. */
const run = (code: string) =>
  execFileSync(process.execPath, ["--input-type=module", "--eval", code], { cwd: root, encoding: "utf8" });

describe("package.json", () => {
  test.each(Object.keys(packageFields()))("%s follow from the list of entries", (field) => {
    expect(manifest[field]).toEqual(packageFields()[field]);
    // Conditions are tried in their order.
    expect(JSON.stringify(manifest[field])).toBe(JSON.stringify(packageFields()[field]));
  });

  test("bin names the programs", () => {
    expect(Object.values(manifest.bin ?? {})).toEqual(programs.map((program) => `./dist/${program}.js`));
  });
});

describe.each(entries)("dist/%s", (entry) => {
  const names = (file: string) =>
    JSON.parse(
      run(
        `import(${JSON.stringify(file)}).then((module) => console.log(JSON.stringify(Object.keys(module))))`,
      ),
    ) as string[];

  test("has the same names as ES module and as CommonJS, and import sees them in both", () => {
    const esm = names(`./dist/${entry}.js`);
    const extras = ["default", "module.exports"];
    expect(esm.length).toBeGreaterThan(0);
    expect(
      names(`./dist/${entry}.cjs`)
        .filter((name) => !extras.includes(name))
        .sort(),
    ).toEqual(esm.sort());
  });
});

test.each([
  ["ES modules", `import * as a from "wasm-norm"; import * as b from "wasm-norm/functional";`],
  [
    "CommonJS",
    `import { createRequire } from "node:module"; const require = createRequire(${JSON.stringify(`${root}x.js`)});
     const a = require("wasm-norm"), b = require("wasm-norm/functional");`,
  ],
])("entries as %s share one runtime", (_, imports) => {
  const code = `${imports}
    const before = a.runtimeInfo().memoryBytes;
    b.moments(new Float32Array(1 << 22), [1 << 22, 1], { axes: [0] });
    console.log(before, a.runtimeInfo().memoryBytes);`;
  const [before, after] = run(code).split(" ").map(Number);
  expect(after).toBeGreaterThan(before!);
});
