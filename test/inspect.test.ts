/** `npx wasm-norm inspect`, the built command, on files of each kind. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { saveSafetensors } from "../src/safetensors.js";

const command = fileURLToPath(new URL("../dist/bin/wasm-norm.js", import.meta.url));
const run = promisify(execFile);
let directory: string;

const inspect = async (...args: string[]) =>
  (await run(process.execPath, [command, "inspect", ...args], { cwd: directory, maxBuffer: 1e8 })).stdout;
const json = async (...args: string[]) => JSON.parse(await inspect(...args, "--json"));
const failure = (...args: string[]) =>
  inspect(...args).then(
    () => {
      throw new Error("expected a failure");
    },
    ({ code, stderr }: { code: number; stderr: string }) => ({ code, stderr }),
  );

/** Four units: two undone, one dead, one with a variance that was never more than eps; never counted a minibatch. */
const norm = (prefix: string) => ({
  [`${prefix}.weight`]: Float32Array.of(2, 1, 0, 1),
  [`${prefix}.bias`]: Float32Array.of(5, 0, 1, 0),
  [`${prefix}.running_mean`]: Float32Array.of(5, 0, 1, 4),
  [`${prefix}.running_var`]: Float32Array.of(4, 1, 1, 1e-6),
  [`${prefix}.num_batches_tracked`]: Float32Array.of(0),
});
const weight = { "0.weight": new Float32Array(16) };

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "inspect-"));
  const write = (name: string, content: string | Uint8Array) => writeFileSync(join(directory, name), content);
  write("one.safetensors", saveSafetensors({ ...norm("1"), ...weight }, {}, { "0.weight": [4, 4, 1, 1] }));
  write(
    "a.safetensors",
    saveSafetensors({ "1.weight": norm("1")["1.weight"]!, ...weight }, {}, { "0.weight": [4, 4, 1, 1] }),
  );
  const { "1.weight": _, ...rest } = norm("1");
  write("b.safetensors", saveSafetensors(rest));
  const map = Object.fromEntries(Object.keys(rest).map((name) => [name, "b.safetensors"]));
  write(
    "model.safetensors.index.json",
    JSON.stringify({ weight_map: { ...map, "1.weight": "a.safetensors", "0.weight": "a.safetensors" } }),
  );
  write("escape.index.json", JSON.stringify({ weight_map: { a: "../a.safetensors" } }));
  write("missing.index.json", JSON.stringify({ weight_map: { nothing: "a.safetensors" } }));
  write("cut.safetensors", saveSafetensors(norm("1")).subarray(0, 60));
  write("broken.json", "{");
  write("rms.safetensors", saveSafetensors({ "model.norm.weight": Float32Array.of(0.01, 0.02, 0.01) }));
  const quantization = { dtype: "uint8", scale: 0.5, min: 0 };
  const weights = ["gamma", "beta", "moving_mean", "moving_variance"].map((name) => ({
    ...{ name: `bn/${name}`, shape: [2], dtype: "float32", quantization },
  }));
  mkdirSync(join(directory, "tfjs"));
  write("tfjs/model.json", JSON.stringify({ weightsManifest: [{ paths: ["1.bin", "2.bin"], weights }] }));
  // gamma 1 1, beta 0 0, mean 0 0, variance 0 1: the first variance is at the lowest level
  write("tfjs/1.bin", Uint8Array.of(2, 2, 0));
  write("tfjs/2.bin", Uint8Array.of(0, 0, 0, 0, 2));
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("what it prints", () => {
  test("a row a layer, a verdict, its limits and findings", async () => {
    const text = await inspect("one.safetensors");
    expect(text).toMatch(/^1 +pointwise +4 +2 /m);
    expect(text).toContain("2 of 4 units (50 %) stand within 0.1 of undoing the normalization");
    expect(text).toContain("What these figures can and cannot say");
    expect(text).toMatch(/Dead channels .*: 1 \(1 1 of 4\)/);
    expect(text).toContain("Variances at or below eps: 1 (1 1 of 4)");
    expect(text).toContain("Layers whose statistics were never updated: 1");
    expect(text.split("\n").every((line) => line.length <= 160 && line === line.trimEnd())).toBe(true);
  });

  test("--json has the figures, the options and the findings; shards give the same", async () => {
    const one = await json("one.safetensors", "--deals", "7", "--seed", "3", "--tolerance", "0.2");
    expect(one.report).toMatchObject({ tolerance: 0.2, deals: 7, seed: 3 });
    expect(one.report.layers[0].scale.slice(0, 3)).toEqual([
      2 / Math.sqrt(4 + 1e-5),
      1 / Math.sqrt(1 + 1e-5),
      0,
    ]);
    expect(one.health[0]).toMatchObject({ dead: [2], atEps: [3], neverUpdated: true });
    const sharded = await json(
      "model.safetensors.index.json",
      "--deals",
      "7",
      "--seed",
      "3",
      "--tolerance",
      "0.2",
    );
    expect(sharded.report).toEqual(one.report);
    // the directory's checkpoint is its index
    expect((await json(".")).report.layers).toHaveLength(1);
  });

  test("--eps is taken where the file says nothing", async () => {
    expect((await json("one.safetensors", "--eps", "0")).report.layers[0].scale[0]).toBe(1);
  });

  test("a quantized layers model: the lowest variance is left out", async () => {
    const { report, format } = await json("tfjs/model.json");
    expect(format).toBe("tfjs");
    expect(report.all).toMatchObject({
      units: 2,
      measured: 1,
      atLowest: 1,
      within: 1,
      surely: 0,
      possibly: 1,
    });
  });

  test("norms without statistics, with gamma stored about 0", async () => {
    const text = await inspect("rms.safetensors");
    expect(text).toContain("Layer and RMS norms, which keep no statistics");
    expect(text).toMatch(/gamma about 0, stored as gamma - 1 \(zeroCenteredGamma\).*: model\.norm/s);
  });

  test("--html: one file with its plots inside that asks for nothing, and no script", async () => {
    await inspect("one.safetensors", "--html", "out.html");
    const page = readFileSync(join(directory, "out.html"), "utf8");
    expect(page.match(/<svg/g)!.length).toBeGreaterThanOrEqual(6);
    expect(page).toContain("default-src 'none'");
    expect(page).not.toMatch(/<script|<link|<img|(src|href)=|url\(|@import/i);
    const links = page.match(/https?:\/\/[^"' ]+/g) ?? [];
    expect(links.filter((link) => !link.startsWith("http://www.w3.org/"))).toEqual([]);
    expect(page).toContain("2 of 4 units");
  });
});

describe("bad files get the errors of their readers, no stack, and exit code 1", () => {
  test.each([
    [["cut.safetensors"], /^openSafetensors: expected a header that fits into/],
    [["broken.json"], /^inspect: expected JSON in broken\.json/],
    [["none.safetensors"], /no such file/],
    [
      ["escape.index.json"],
      /expected weight_map to name files in the index's own folder, got "\.\.\/a\.safetensors"/,
    ],
    [["missing.index.json"], /expected "nothing" in a\.safetensors/],
    [["one.safetensors", "--deals", "0"], /'--deals <count>'.*expected a whole number from 1/],
    [["one.safetensors", "--tolerance", "wide"], /expected a number from 0/],
    [[], /missing required argument 'file'/],
  ])("%j", async (args, message) => {
    const { code, stderr } = await failure(...args);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/\n {4}at /);
  });
});

describe("how it is packed", () => {
  test("the licences of all that is bundled lie beside it", () => {
    const notices = readFileSync(new URL("NOTICES.txt", `file://${command}`), "utf8");
    for (const name of [
      "commander",
      "cli-table3",
      "wrap-ansi",
      "@observablehq/plot",
      "d3-scale",
      "@mixmark-io/domino",
    ]) {
      expect(notices).toMatch(new RegExp(`^${name} \\d.*\\((MIT|ISC|BSD-2-Clause)\\)$`, "m"));
    }
  });

  test("no entry holds any of it", () => {
    for (const entry of ["index.js", "functional.js", "safetensors.js", "analysis.js", "analysis.cjs"]) {
      const code = readFileSync(new URL(`../dist/${entry}`, import.meta.url), "utf8");
      expect(code).not.toMatch(/\.\/bin\/|commander|cli-table/);
    }
  });
});
