// The licences of what is bundled, which ask to travel along: written beside the bundle by the build.
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";

/** What may be bundled and passed on with no more than its notice. */
const ALLOWED = new Set(["MIT", "ISC", "BSD-2-Clause", "BSD-3-Clause", "0BSD"]);

/** The package that a bundled file is of; null for files of this repository. */
const packageOf = (file: string): string | null =>
  /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(file)?.[1] ?? null;

function notice(directory: string): string {
  const manifest = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const { name, version, license } = manifest as Record<string, string>;
  if (!ALLOWED.has(license!)) throw new Error(`${name} ${version} is under ${license}, which is not bundled`);
  const file = readdirSync(directory).find((one) => /^(licen[cs]e|copying)/i.test(one));
  const text = file ? readFileSync(join(directory, file), "utf8").trim() : `Licence: ${license}`;
  return `${name} ${version} (${license})\n\n${text}`;
}

/** Writes the notices of all packages in the bundle to `out`. @throws Error for a licence that asks for more */
export const notices = (out: string): Plugin => ({
  name: "notices",
  setup(build) {
    build.initialOptions.metafile = true;
    build.onEnd(({ metafile }) => {
      const packages = new Set(Object.keys(metafile?.inputs ?? {}).flatMap((file) => packageOf(file) ?? []));
      const found = [...packages].filter((directory) => existsSync(join(directory, "package.json"))).sort();
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, `${found.map(notice).join(`\n\n${"-".repeat(80)}\n\n`)}\n`);
    });
  },
});
