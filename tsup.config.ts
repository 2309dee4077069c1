import { cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { transform } from "esbuild";
import { defineConfig, type Options } from "tsup";

// The configurations below run side by side, so that none of them may clean for the others.
rmSync("dist", { recursive: true, force: true });
for (const file of ["simd.wasm", "relaxed-simd.wasm"]) cpSync(`build/${file}`, `dist/wasm/${file}`);
// The loader is bundled, and its licence asks to travel along.
cpSync("node_modules/assemblyscript/LICENSE", "dist/assemblyscript-loader.LICENSE");

// The binaries' text is a module of its own, as modules come first in a bundle that import nothing: where gzip does
// not find it in one block with JavaScript, the whole is 0.6 kB smaller.
writeFileSync("dist/binaries.js", `export default ${readFileSync("build/binaries.json", "utf8")};\n`);
const embedded: NonNullable<Options["esbuildPlugins"]> = [
  {
    name: "embedded",
    setup(build) {
      build.onResolve({ filter: /\/binaries\.json$/ }, () => ({ path: "./binaries.js", external: true }));
    },
  },
];

const entry = ["src/index.ts", "src/functional.ts"];
/** It has no memory to share, and a chunk shared with it would stand before the binaries. */
const safetensors = "src/safetensors.ts";

/**
 * The loader without what managed objects need: accessors for them, closures about the exports, which are called bare,
 * the imports abort, trace and seed, which the kernels do not have, the compilation of bytes, as it is given a module, and a
 * polyfill of what all engines with SIMD have.
 * That is 2 kB gzipped of the 24 that the entry may have.
 */
const leanLoader: NonNullable<Options["esbuildPlugins"]>[number] = {
  name: "lean-loader",
  setup(build) {
    const parts: [RegExp, string][] = [
      [/const extended = preInstantiate.*?\n/g, ""],
      [/const exports = postInst.*\n.*return \{ module, instance, exports \}/g, "return { instance }"],
      [/const utf16 = new TextDecoder.*?\n/, ""],
      [/Object\.hasOwn = .*?\n};?\n/s, ""],
      [/isModule\(source\) \? source : new WebAssembly\.Module\(source\)/, "source"],
    ];
    build.onLoad({ filter: /assemblyscript[\\/]loader[\\/]index\.js$/ }, ({ path }) => {
      let contents = readFileSync(path, "utf8");
      for (const [part, rest] of parts) {
        if (contents.search(part) < 0) throw new Error("the loader is no longer as it was: see leanLoader");
        contents = contents.replace(part, rest);
      }
      return { contents };
    });
  },
};

/**
 * Names that no one else sees, neither a caller nor a binary, and that stand in no string: the minifiers of those who
 * bundle the package must keep them, and 0.3 kB with them.
 */
const internal =
  /^(added|address|affine64|after|alloc|array|batches|before|bits|block|blockAt|blocks|bytes|channels|check|checkAlive|copy|cut|dySquared|dyXhat|extent|extras|f32|f64|family|fits|flags|following|free|frozen|geometry|held|inner|kept|kernels|kind|known|last|learned|least|local|none|offset|outer|overwritten|own|owner|pairs|perElement|place|places|previous|read|recut|release|relu|reserve|restore|rows|rstd|running|saved|scratch|seen|segmentCount|segments|serves|shapeOf|skipped|slots|spec|start|state|sum1|sum2|sums|take|track|u32|unwatch|use|used|variance|watch|whole|width|work)$/;

const esm: Options = {
  entry,
  format: "esm",
  platform: "neutral",
  target: "es2022",
  noExternal: ["@assemblyscript/loader"],
  esbuildOptions: (options) => {
    options.mangleProps = internal;
  },
  esbuildPlugins: [leanLoader],
  // The entries share one memory, which therefore is in a chunk of its own.
  splitting: true,
};

/**
 * CommonJS beside ESM, file by file. esbuild splits no CommonJS, and where tsup splits it with sucrase a parameter
 * that is named as an export overwrites that export.
 */
async function writeCommonJS(): Promise<void> {
  for (const file of readdirSync("dist").filter((name) =>
    /^(index|functional|binaries|chunk-.*)\.js$/.test(name),
  )) {
    const imports = /(from|import) "(\.\/[^"]+)\.js"/g;
    const code = readFileSync(`dist/${file}`, "utf8").replace(imports, '$1 "$2.cjs"');
    const { code: converted } = await transform(code, { format: "cjs", target: "es2022" });
    writeFileSync(`dist/${file.replace(/\.js$/, ".cjs")}`, converted);
  }
}

/** A build for a runtime that compiles imported .wasm files ahead: `module` takes the place of the inlined text. */
const precompiled = (outDir: string, module: string, suffix: string): Options => ({
  ...esm,
  outDir,
  esbuildPlugins: [
    leanLoader,
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
  { ...esm, esbuildPlugins: [leanLoader, ...embedded], onSuccess: writeCommonJS },
  { ...esm, entry: [safetensors], format: ["esm", "cjs"], splitting: false },
  {
    entry: [...entry, safetensors],
    format: ["esm", "cjs"],
    // Symbol.dispose stands in no lib that compilers take by default.
    dts: { only: true, banner: '/// <reference lib="esnext.disposable" />' },
  },
  precompiled("dist/workerd", "precompiled.ts", ""),
  precompiled("dist/edge-light", "precompiled-simd.ts", "?module"),
]);
