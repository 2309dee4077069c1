// The public entries of the package, in one place: what tsup builds and what package.json names follow from this list.
// To add an entry, write src/<name>.ts, add its name here and run `npm run entries`, which updates package.json; a test
// compares the two.
import { readFileSync, writeFileSync } from "node:fs";

/** Public entries, each src/<name>.ts. They share chunks and thereby one runtime, within a format and a platform. */
export const entries = [
  "index",
  "functional",
  "safetensors",
  "collective",
  "nats",
  "scaler",
  "analysis",
  "tfjs",
];

/** Programs for the command line, each src/<name>.ts: ES modules for Node alone, without types, their libraries inside. */
export const programs = ["bin/wasm-norm"];

/** Conditions under which a build of its own is taken: platforms that compile .wasm files ahead of the start. */
export const PLATFORMS = ["workerd", "edge-light"];

const subpath = (entry: string) => (entry === "index" ? "." : `./${entry}`);

function conditions(entry: string): Record<string, { types: string; default: string }> {
  const types = `./dist/${entry}.d.ts`;
  return {
    ...Object.fromEntries(PLATFORMS.map((name) => [name, { types, default: `./dist/${name}/${entry}.js` }])),
    import: { types, default: `./dist/${entry}.js` },
    require: { types: `./dist/${entry}.d.cts`, default: `./dist/${entry}.cjs` },
  };
}

/** The fields of package.json that name entries. */
export function packageFields(): Record<string, unknown> {
  const further = entries.filter((entry) => entry !== "index");
  return {
    exports: {
      ...Object.fromEntries(entries.map((entry) => [subpath(entry), conditions(entry)])),
      "./threads-worker": "./dist/threads-worker.js",
      "./wasm/simd.wasm": "./dist/wasm/simd.wasm",
      "./wasm/relaxed-simd.wasm": "./dist/wasm/relaxed-simd.wasm",
      "./package.json": "./package.json",
    },
    // For compilers that do not read exports (moduleResolution node10), and for Parcel.
    typesVersions: { "*": Object.fromEntries(further.map((entry) => [entry, [`./dist/${entry}.d.ts`]])) },
    alias: Object.fromEntries(further.map((entry) => [subpath(entry), `./dist/${entry}.js`])),
  };
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const manifest = JSON.parse(readFileSync("package.json", "utf8"));
  writeFileSync("package.json", `${JSON.stringify(Object.assign(manifest, packageFields()), null, 2)}\n`);
}
