import { cpSync, rmSync } from "node:fs";
import { basename, resolve } from "node:path";
import { defineConfig, type Options } from "tsup";

// The configurations below run side by side, so that none of them may clean for the others.
rmSync("dist", { recursive: true, force: true });
for (const file of ["simd.wasm", "relaxed-simd.wasm"]) cpSync(`build/${file}`, `dist/wasm/${file}`);

const entry = ["src/index.ts", "src/functional.ts"];

const shared: Options = {
  entry,
  platform: "neutral",
  target: "es2022",
  noExternal: ["@assemblyscript/loader"],
  splitting: true,
};

/** A build for a runtime that compiles imported .wasm files ahead: `module` takes the place of the inlined text. */
const precompiled = (outDir: string, module: string, suffix: string): Options => ({
  ...shared,
  outDir,
  format: "esm",
  esbuildPlugins: [
    {
      name: "precompiled",
      setup(build) {
        build.onResolve({ filter: /\/embedded\.js$/ }, () => ({ path: resolve("src/runtime", module) }));
        build.onResolve({ filter: /\.wasm$/ }, ({ path }) => ({
          path: `../wasm/${basename(path)}${suffix}`,
          external: true,
        }));
      },
    },
  ],
});

export default defineConfig([
  { ...shared, entry: [...entry, "src/safetensors.ts"], format: ["esm", "cjs"], dts: true },
  precompiled("dist/workerd", "precompiled.ts", ""),
  precompiled("dist/edge-light", "precompiled-simd.ts", "?module"),
]);
