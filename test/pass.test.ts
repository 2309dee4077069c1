/** The record of a pass: what this side takes its fields' offsets to be, and what the compiler does. */

import { readFileSync } from "node:fs";
import asc from "assemblyscript/asc";
import { expect, test } from "vitest";
import { FIELDS, PASS_BYTES } from "./pass-driver.js";

const source = readFileSync(new URL("../assembly/pass.ts", import.meta.url), "utf8");

/** What the compiler says of the fields by name, compiled and run. */
async function offsetsOf(names: readonly string[]): Promise<number[]> {
  const files: Record<string, string> = {
    "pass.ts": source,
    "entry.ts": `import { Pass } from "./pass";
${names.map((name, i) => `export function f${i}(): usize { return offsetof<Pass>("${name}"); }`).join("\n")}
export function bytes(): usize { return offsetof<Pass>(); }`,
  };
  const { binary, error, stderr } = await asc.compileString(files, { runtime: "stub", optimizeLevel: 0 });
  if (error || !binary) throw error ?? new Error(stderr.toString());
  const { instance } = await WebAssembly.instantiate(binary as BufferSource, { env: { abort() {} } });
  const call = (name: string) => (instance.exports[name] as () => number)();
  return [...names.map((_, i) => call(`f${i}`)), call("bytes")];
}

test("every field of a pass lies where both sides take it to be", async () => {
  const names = Object.keys(FIELDS);
  const offsets = await offsetsOf(names);
  expect(Object.fromEntries(names.map((name, i) => [name, offsets[i]]))).toEqual(FIELDS);
  expect(offsets.at(-1)).toBeLessThanOrEqual(PASS_BYTES);
});

test("no field of a pass is left out", () => {
  const declared = source
    .slice(source.indexOf("class Pass"), source.indexOf("\n}"))
    .matchAll(/^ {2}(\w+): /gm);
  expect(Object.keys(FIELDS).sort()).toEqual([...declared].map(([, name]) => name).sort());
});
