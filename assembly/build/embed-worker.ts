// Run by the build: bundles src/runtime/threads/worker.ts into one script without imports, as text that
// src/runtime/threads/spawn.ts inlines (build/worker.json) and as a file that ships (build/threads-worker.js).
import { writeFileSync } from "node:fs";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/runtime/threads/worker.ts"],
  bundle: true,
  format: "iife",
  platform: "neutral",
  target: "es2022",
  minify: true,
  write: false,
});
const { text } = outputFiles[0]!;
writeFileSync("build/worker.json", JSON.stringify({ text }));
writeFileSync("build/threads-worker.js", text);
