import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { app } from "./app.js";
import { type Case, MODES, type Proof } from "./case.js";
import { visit } from "./chromium.js";
import { installed, sh } from "./shell.js";

const html = (script: string) =>
  `<!doctype html><title>app</title><script type="module" src="${script}"></script>\n`;

/** How each bundles the folder's bundle.js (or the index.html that names it) into dist/, with no settings of ours. */
const BUNDLERS: Record<string, (folder: string) => Promise<unknown>> = {
  Vite: (folder) => sh(process.execPath, [installed("vite/bin/vite.js"), "build"], folder),
  webpack: (folder) =>
    sh(process.execPath, [installed("webpack/bin/webpack.js"), "--entry", "./bundle.js"], folder),
  esbuild: (folder) =>
    sh(installed(".bin/esbuild"), ["bundle.js", "--bundle", "--outfile=dist/main.js"], folder),
  Rollup: (folder) =>
    sh(
      process.execPath,
      [
        installed("rollup/dist/bin/rollup"),
        "bundle.js",
        "-p",
        installed("@rollup/plugin-node-resolve/dist/cjs/index.js"),
        "-f",
        "es",
        "-o",
        "dist/main.js",
      ],
      folder,
    ),
  Parcel: (folder) =>
    sh(process.execPath, [installed("parcel/lib/bin.js"), "build", "index.html", "--no-cache"], folder),
};

export const bundlerNames = Object.keys(BUNDLERS);

/** The folder that a bundler writes: a page that runs programs/bundle.js. */
export async function bundled(where: string): Promise<string> {
  const folder = await app({ "index.html": html("./bundle.js") });
  await BUNDLERS[where]!(folder);
  const dist = join(folder, "dist");
  if (!existsSync(join(dist, "index.html"))) await writeFile(join(dist, "index.html"), html("main.js"));
  return dist;
}

/** Chromium, on what each bundler makes of the installed package. */
export const bundlers: Case[] = bundlerNames.map((where) => ({
  where,
  what: "default configuration, run in Chromium",
  async run() {
    const folder = await bundled(where);
    const all: Proof[] = [];
    for (const mode of MODES) all.push(await visit({ folder, path: `index.html?mode=${mode}` }));
    return all;
  },
}));
