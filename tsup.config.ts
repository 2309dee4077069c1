import { cpSync, readdirSync, rmSync } from "node:fs";
import { basename, dirname, resolve } from "node:path";
import { build, type Plugin } from "esbuild";
import { defineConfig, type Options } from "tsup";
import { entries, programs } from "./assembly/build/entries.js";
import { notices } from "./assembly/build/notices.js";

const sources = (names: string[]) => Object.fromEntries(names.map((name) => [name, `src/${name}.ts`]));

const esm: Options = {
  entry: sources(entries),
  format: "esm",
  platform: "neutral",
  target: "es2022",
  external: [/^node:/],
  noExternal: ["@assemblyscript/loader"],
  inject: ["assembly/build/lazy-globals.ts"],
  // The entries share one memory, which therefore is in a chunk of its own.
  splitting: true,
};

const isShared = (file: string) => file.endsWith(".js");

/** CommonJS beside ESM, file by file: esbuild splits ESM alone, and entries with a runtime each would share no Tensor. */
async function writeCommonJS(): Promise<void> {
  const siblings: Plugin = {
    name: "siblings",
    setup({ onResolve }) {
      onResolve({ filter: /^\.\// }, ({ path, kind }) =>
        kind === "entry-point" ? undefined : { path: path.replace(/\.js$/, ".cjs"), external: true },
      );
      onResolve({ filter: /^node:/ }, () => ({ external: true }));
    },
  };
  await build({
    entryPoints: readdirSync("dist")
      .filter((file) => isShared(file) && file !== "threads-worker.js")
      .map((file) => `./dist/${file}`),
    outdir: "dist",
    outExtension: { ".js": ".cjs" },
    bundle: true,
    packages: "external",
    format: "cjs",
    // For Node, esbuild lists the exports' names in a form that `import` of a CommonJS file finds.
    platform: "node",
    target: "es2022",
    // The converted import() is a require(), which finds the same runtime.
    supported: { "dynamic-import": false },
    plugins: [siblings],
  });
}

/** A command, in files of its own that no entry imports: all of its libraries are bundled, with their licences. */
const program = (name: string): Options => ({
  entry: [`src/${name}.ts`],
  outDir: `dist/${dirname(name)}`,
  format: "esm",
  platform: "node",
  target: "node20",
  noExternal: [/./],
  minify: true,
  // What is loaded only by some options is in chunks of its own.
  splitting: true,
  // What is CommonJS among the libraries asks for Node's own modules.
  banner: {
    js: 'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);',
  },
  esbuildPlugins: [notices(`dist/${dirname(name)}/NOTICES.txt`)],
});

/** A build for a platform that compiles imported .wasm files ahead: `module` takes the place of the inlined text. */
const precompiled = (platform: string, module: string, suffix: string): Options => ({
  ...esm,
  outDir: `dist/${platform}`,
  esbuildPlugins: [
    {
      name: "precompiled",
      setup({ onResolve }) {
        onResolve({ filter: /\/embedded\.js$/ }, () => ({ path: resolve("src/runtime", module) }));
        onResolve({ filter: /^\.\/binary\.js$/ }, () => ({ path: resolve("src/scaler/precompiled.ts") }));
        onResolve({ filter: /\.wasm$/ }, ({ path }) => ({
          path: `../wasm/${basename(path)}${suffix}`,
          external: true,
        }));
      },
    },
  ],
});

export default defineConfig(() => {
  // The configurations below run side by side, so that none of them may clean for the others.
  rmSync("dist", { recursive: true, force: true });
  for (const file of ["simd.wasm", "relaxed-simd.wasm", "scaler.wasm"])
    cpSync(`build/${file}`, `dist/wasm/${file}`);
  // For who hosts the workers' program; the package itself has it inlined as text.
  cpSync("build/threads-worker.js", "dist/threads-worker.js");
  // The loader is bundled, and its licence asks to travel along.
  cpSync("node_modules/assemblyscript/LICENSE", "dist/assemblyscript-loader.LICENSE");
  return [
    { ...esm, onSuccess: writeCommonJS },
    ...programs.map(program),
    {
      entry: sources(entries),
      format: ["esm", "cjs"],
      // Symbol.dispose stands in no lib that compilers take by default.
      dts: { only: true, banner: '/// <reference lib="esnext.disposable" />' },
    },
    precompiled("workerd", "precompiled.ts", ""),
    precompiled("edge-light", "precompiled-simd.ts", "?module"),
  ];
});
