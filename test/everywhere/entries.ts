import { app } from "./app.js";
import type { Case } from "./case.js";
import { installed, sh } from "./shell.js";

const DENO = ["run", "--quiet", "--no-remote", "--node-modules-dir=manual", "--allow-read"];

/** How each runs a file. */
const RUNTIMES: Record<string, string[]> = {
  "Node 20": [installed("node-20/bin/node")],
  "Node 24": [installed("node-24/bin/node")],
  Deno: [installed("@deno/linux-x64-glibc/deno"), ...DENO],
  Bun: [installed("@oven/bun-linux-x64/bin/bun")],
};

const FORMATS = { ESM: "entries.js", CommonJS: "entries.cjs" };

const run = async (where: string, folder: string, file: string): Promise<string> => {
  const [command, ...options] = RUNTIMES[where] as [string, ...string[]];
  const said = (await sh(command, [...options, file], folder)).trim();
  if (said !== "scaler, collective and analysis hold") throw new Error(`it said ${JSON.stringify(said)}`);
  return said;
};

const runtimes: Case[] = Object.keys(RUNTIMES).flatMap((where) =>
  Object.entries(FORMATS).map(([format, file]) => ({
    where,
    what: `entries, ${format}`,
    run: async () => run(where, await app(), file),
  })),
);

const bundled: Case = {
  where: "esbuild",
  what: "entries, bundled and run in Node 20",
  async run() {
    const folder = await app();
    const options = ["--bundle", "--format=esm", "--outfile=dist/entries.mjs", "--log-level=error"];
    await sh(installed(".bin/esbuild"), ["entries.js", ...options], folder);
    return run("Node 20", folder, "dist/entries.mjs");
  },
};

/** The further entries of the installed package: the scaler, the collective and the analysis. */
export const entries: Case[] = [...runtimes, bundled];
