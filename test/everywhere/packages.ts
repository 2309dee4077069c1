import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { build } from "esbuild";
import { app, packed } from "./app.js";
import type { Case } from "./case.js";
import { installed, ROOT, sh } from "./shell.js";

const CONSUMER = `import { BatchNorm, init, type InitOptions, type Layer, LayerNorm, runtimeInfo, SGD, type StateDict, Tensor, tensor } from "wasm-norm";
import { type Moments, moments } from "wasm-norm/functional";
import { loadSafetensors } from "wasm-norm/safetensors";

const options: InitOptions = { variant: "simd" };
const layer = new BatchNorm(4, { momentum: null, affine: { gamma: true, beta: false } });
const array: Float32Array = layer.forward(new Float32Array(8), [2, 4]);
const same: Tensor = layer.forward(tensor([2, 4], array));
const dict: StateDict = layer.stateDict();
const { count }: Moments = moments(same.data, same.shape, { axes: [0] });
new SGD(layer.parameters(), { lr: 0.1 }).step();
layer.loadStateDict(loadSafetensors(new Uint8Array(8)));
declare const maybe: number | undefined;
declare const flag: boolean | undefined;
const layers: Layer[] = [layer, new LayerNorm(4, { eps: maybe, affine: { gamma: flag } })];
layers[0]!.forward(array, { shape: [2, 4], save: flag, updateRunning: flag });
export const all = [init(options), runtimeInfo().variant.length, count.toFixed(), dict];
// @ts-expect-error: an array of numbers is no minibatch
layer.forward([1, 2]);
`;

const typescript = (version: string, alias: string): Case[] =>
  [
    ["node16", "consumer.ts", "Node16"],
    ["node16", "consumer.cts", "Node16"],
    ["bundler", "consumer.ts", "ESNext"],
  ].map(([resolution, file, module]) => ({
    where: `TypeScript ${version}`,
    what: `moduleResolution ${resolution}, ${file!.endsWith("cts") ? "CommonJS" : "ESM"}`,
    async run() {
      const folder = await app({ [file!]: CONSUMER });
      const options = [
        "--noEmit",
        "--strict",
        "--exactOptionalPropertyTypes",
        "--target",
        "ES2022",
        "--lib",
        "ES2022,DOM",
      ];
      await sh(
        process.execPath,
        [
          installed(`${alias}/bin/tsc`),
          ...options,
          "--module",
          module!,
          "--moduleResolution",
          resolution!,
          file!,
        ],
        folder,
      );
      return "types hold";
    },
  }));

/** The package itself, as others' tools and compilers see it. */
export const packages: Case[] = [
  {
    where: "package",
    what: "publint",
    async run() {
      await sh(process.execPath, [installed("publint/src/cli.js"), await packed(), "--strict"], ROOT);
      return "nothing found";
    },
  },
  {
    where: "package",
    what: "are the types wrong?",
    async run() {
      // Binaries, and a worker's program, are no modules that anyone imports.
      const untyped = ["./wasm/simd.wasm", "./wasm/relaxed-simd.wasm", "./threads-worker"];
      await sh(
        process.execPath,
        [
          installed("@arethetypeswrong/cli/dist/index.js"),
          await packed(),
          "--exclude-entrypoints",
          ...untyped,
        ],
        ROOT,
      );
      return "nothing found";
    },
  },
  {
    where: "package",
    what: "no runtime dependencies",
    async run() {
      const lock = await readFile(join(await app(), "package-lock.json"), "utf8");
      const names = Object.keys(JSON.parse(lock).packages).filter(Boolean);
      if (names.length !== 1) throw new Error(`installed: ${names.join(", ")}`);
      return names[0]!;
    },
  },
  {
    where: "package",
    what: "size",
    async run() {
      await sh("npm", ["run", "size"], ROOT);
      return "within the limits";
    },
  },
  {
    where: "package",
    what: "no top-level await",
    async run() {
      const code = "require('./node_modules/wasm-norm/dist/index.js')"; // ESM: Node throws where it awaits
      await sh(installed("node-24/bin/node"), ["-e", code], await app());
      return "required as it is";
    },
  },
  {
    where: "package",
    what: "tree shaking",
    async run() {
      const folder = await app();
      const bundled = async (contents: string) => {
        const stdin = { contents, resolveDir: folder };
        const { outputFiles } = await build({
          stdin,
          bundle: true,
          minify: true,
          write: false,
          format: "esm",
          logLevel: "error",
        });
        return outputFiles[0]!.text;
      };
      if (await bundled('import "wasm-norm"')) throw new Error("something is left of an import of nothing");
      const alone = await bundled('export { BatchNorm } from "wasm-norm"');
      const left = [
        "LayerNorm",
        "RMSNorm",
        "GroupNorm",
        "InstanceNorm",
        "SGD",
        "AdamW",
        "foldBatchNorm",
      ].filter((name) => new RegExp(`["\`]${name}["\`(]`).test(alone)); // how each calls itself in its errors
      if (left.length) throw new Error(`BatchNorm alone brings ${left.join(", ")}`);
      return "BatchNorm comes alone";
    },
  },
  ...typescript("5.4", "typescript-5.4"),
  ...typescript("newest", "typescript-newest"),
];
