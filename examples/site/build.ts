// npm run build: puts the site together in build/site of the repository.
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { fileURLToPath } from "node:url";
import { pictures, render } from "./page.ts";
import { pages } from "./pages.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const site = join(root, "build/site");

/** What other tools have built, and where it goes. */
const BUILT = [
  ["examples/explorable/dist", "explorable", "npm --prefix examples/explorable run build"],
  ["build/docs", "reference", "npm run docs"],
] as const;

rmSync(site, { recursive: true, force: true });
mkdirSync(site, { recursive: true });
for (const [from, to, command] of BUILT) {
  if (!existsSync(join(root, from, "index.html"))) throw new Error(`${from} is not built: run ${command}`);
  cpSync(join(root, from), join(site, to), { recursive: true });
}
cpSync(new URL("style.css", import.meta.url), join(site, "style.css"));
// Static hosts of a certain kind leave files out whose names begin with an underscore, unless this is there.
writeFileSync(join(site, ".nojekyll"), "");

const all = pages();
for (const page of all) {
  const text = source(page.source);
  const copied = new Set(pictures(text, page));
  for (const picture of copied) {
    cpSync(join(root, picture), join(site, posix.dirname(page.out), "pictures", posix.basename(picture)));
  }
  const out = join(site, page.out);
  mkdirSync(dirname(out), { recursive: true });
  writeFileSync(out, render(text, page, all, copied));
}
console.log(`${all.length} pages, the reference and the explorable: ${site}`);

/** A page's markdown; the report, which is a part of the README, gets a title, its plots and what else there is. */
function source(file: string): string {
  const text = readFileSync(join(root, file), "utf8");
  if (file !== "bench/report/readme.md") return text;
  const plots = ["batch-norm", "resnet50", "transformer", "sizes"].map(
    (name) => `![${name}: time over that of a memory copy, for each contender](${name}-node24.svg)`,
  );
  return [
    "# Benchmarks",
    "Time beside everything else that normalizes a minibatch on a CPU, in turns, outputs checked first. [How it is measured](../README.md), [every figure](tables.md).",
    text,
    ...plots,
  ].join("\n\n");
}
