// Installs the packed package into empty folders and proves it wherever JavaScript runs. Arguments narrow it to the
// cases whose names hold one of them: npm run test:everywhere -- chromium vite
import Table from "cli-table3";
import { removeFolders } from "./app.js";
import { browsers } from "./browsers.js";
import { bundlers } from "./bundlers.js";
import type { Case } from "./case.js";
import { closeBrowser } from "./chromium.js";
import { edges } from "./edges.js";
import { entries } from "./entries.js";
import { jest } from "./jest.js";
import { packages } from "./packages.js";
import { servers } from "./servers.js";
import { threaded } from "./threads.js";

const wanted = process.argv.slice(2).map((word) => word.toLowerCase());
const cases: Case[] = [
  ...packages,
  ...servers,
  ...entries,
  jest,
  ...edges,
  ...browsers,
  ...bundlers,
  ...threaded,
].filter(
  ({ where, what }) =>
    !wanted.length || wanted.some((word) => `${where} ${what}`.toLowerCase().includes(word)),
);

const table = new Table({
  head: ["where", "what", "result", "checksum", "seconds"],
  style: { head: [], border: [] },
});
const failures: string[] = [];
const checksums = new Map<string, string[]>();

for (const { where, what, run } of cases) {
  const start = performance.now();
  let result = "";
  let checksum = "";
  try {
    const outcome = await run();
    if (typeof outcome === "string") result = outcome;
    else {
      result = outcome[0]!.variant;
      checksum = outcome.find((proof) => proof.checksum)?.checksum ?? "";
      checksums.set(checksum, [...(checksums.get(checksum) ?? []), `${where}, ${what}`]);
    }
  } catch (error) {
    result = "FAILED";
    failures.push(`${where}, ${what}: ${(error as Error).message}`);
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  table.push([where, what, result, checksum, seconds]);
  process.stdout.write(`${result === "FAILED" ? "FAILED" : "ok    "} ${where}, ${what} (${seconds} s)\n`);
}
await closeBrowser();
await removeFolders();

console.log(table.toString());
let total = cases.length;
if (checksums.size) {
  total++;
  if (checksums.size > 1)
    failures.push(`the training run gave ${checksums.size} checksums: ${JSON.stringify([...checksums])}`);
  else console.log(`One checksum on every runtime: ${[...checksums.keys()][0]}`);
}
for (const failure of failures) console.error(`\n${failure}`);
console.log(`${total - failures.length} passed, ${failures.length} failed`);
process.exitCode = failures.length ? 1 : 0;
