import { app } from "./app.js";
import { type Case, proofs } from "./case.js";
import { installed, sh } from "./shell.js";

const parse = (output: string) => JSON.parse(output.trim());

const node = (version: number): Case[] =>
  [
    ["ESM", "node.js"],
    ["CommonJS", "node.cjs"],
  ].flatMap(([format, file]) =>
    ["main thread", "worker"].map((thread) =>
      proofs(`Node ${version}`, `${format}, ${thread}`, async (mode) =>
        parse(await sh(installed(`node-${version}/bin/node`), [file!, mode, thread], await app())),
      ),
    ),
  );

const file = proofs("Node 20", "ESM, wasm-norm/wasm/simd.wasm given to init", async (mode) =>
  parse(await sh(installed("node-20/bin/node"), ["file.js", mode], await app())),
);

const deno = ["main thread", "worker"].map((thread) =>
  proofs("Deno", `ESM, ${thread}`, async (mode) =>
    parse(
      await sh(
        installed("@deno/linux-x64-glibc/deno"),
        [
          "run",
          "--quiet",
          "--no-remote",
          "--node-modules-dir=manual",
          "--allow-read",
          "node.js",
          mode,
          thread,
        ],
        await app(),
      ),
    ),
  ),
);

const bun = [
  ["ESM", "node.js"],
  ["CommonJS", "node.cjs"],
].flatMap(([format, file]) =>
  ["main thread", "worker"].map((thread) =>
    proofs("Bun", `${format}, ${thread}`, async (mode) =>
      parse(await sh(installed("@oven/bun-linux-x64/bin/bun"), [file!, mode, thread], await app())),
    ),
  ),
);

/** The programs that run on a server or a command line, each in a process of its own. */
export const servers: Case[] = [...[20, 22, 24, 26].flatMap(node), file, ...deno, ...bun];
