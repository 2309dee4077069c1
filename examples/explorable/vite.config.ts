import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { gzipText, texInHtml } from "./plugins.ts";

export default defineConfig({
  // Addresses relative to the page: the built files work under any path.
  base: "./",
  plugins: [texInHtml(), gzipText()],
  resolve: {
    alias: ["index", "analysis", "functional", "safetensors"].map((entry) => ({
      find: entry === "index" ? /^wasm-norm$/ : `wasm-norm/${entry}`,
      replacement: fileURLToPath(new URL(`../../dist/${entry}.js`, import.meta.url)),
    })),
  },
  build: {
    target: "es2022",
    // The oldest that know light-dark(); without it the page could not switch themes.
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    modulePreload: { polyfill: false },
  },
  worker: { format: "es", plugins: () => [gzipText()] },
  test: { include: ["test/**/*.test.ts"], testTimeout: 60_000, hookTimeout: 60_000, fileParallelism: false },
});
