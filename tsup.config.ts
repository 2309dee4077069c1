import { defineConfig } from "tsup";

export default defineConfig({
  entry: ["src/index.ts", "src/functional.ts"],
  format: ["esm", "cjs"],
  platform: "neutral",
  target: "es2022",
  loader: { ".wasm": "binary" },
  noExternal: ["@assemblyscript/loader"],
  splitting: true,
  dts: true,
  clean: true,
});
