/** The built package where an engine lacks one global or another, each in a process of its own. */
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { entries } from "../assembly/build/entries.js";

const NAMES = [
  ...["FinalizationRegistry", "WeakRef", "TextEncoder", "TextDecoder", "fetch", "Response", "URL"],
  ...["performance", "SharedArrayBuffer", "Symbol.dispose", "process"],
];

/** Takes them away. Node's Symbol.dispose cannot be deleted, so that Symbol is one that does not have it. */
const without = (names: string[]) =>
  names
    .map((name) =>
      name === "Symbol.dispose"
        ? `const whole = Symbol;
           globalThis.Symbol = new Proxy(() => {}, {
             apply: (_, that, given) => whole(...given),
             get: (_, key) => (key === "dispose" ? undefined : whole[key]),
           });
           if (Symbol.dispose || !Symbol.iterator) throw new Error("it is still there");`
        : `delete globalThis.${name}; if (typeof ${name} !== "undefined") throw new Error("it is still there");`,
    )
    .join("\n");

/** The whole facade: proof.js asks for figures and for a training run of all families and optimizers. */
const FACADE = `
  const library = await load("index"), functional = await load("functional");
  await library.init({ variant: "simd" });
  const { checksum } = await prove(library, functional, "simd");
  const x = library.tensor([4, 8], Float32Array.from({ length: 32 }, (_, i) => i % 7));
  for (const layer of [new library.BatchNorm(8), new library.GroupNorm(2, 8, { layout: "channels-last" })]) {
    const y = layer.forward(x);
    layer.backward(y).dispose();
    y.dispose();
    layer.loadStateDict(layer.stateDict());
    layer.eval();
    layer.forwardInto(x, x);
    layer.dispose();
  }
  x.dispose();
  const { tensors } = library.runtimeInfo();
  print(checksum + " " + tensors);`;

const run = (names: string[], format: "esm" | "cjs", code: string) =>
  execFileSync(
    process.execPath,
    [
      "--input-type=module",
      "--eval",
      `import { createRequire } from "node:module";
       import { prove } from "./test/everywhere/programs/proof.js";
       const require = createRequire(process.cwd() + "/x.js");
       const print = console.log;
       const load = async (name) =>
         ${format === "esm" ? 'import("./dist/" + name + ".js")' : 'require("./dist/" + name + ".cjs")'};
       ${without(names)}
       ${code}`,
    ],
    { cwd: new URL("..", import.meta.url), encoding: "utf8" },
  ).trim();

const whole = run([], "esm", FACADE);

describe("without", () => {
  test.each(NAMES)("%s, all that does not itself need it gives the same", (name) => {
    expect(run([name], "esm", FACADE)).toBe(whole);
  });

  test.each(["esm", "cjs"] as const)("all of them at once, %s", (format) => {
    expect(whole).toMatch(/^[0-9a-f]{8} 0$/);
    expect(run(NAMES, format, FACADE)).toBe(whole);
  });

  test.each(entries)("all of them, dist/%s can be imported", (entry) => {
    expect(run(NAMES, "esm", `print(typeof await load("${entry}"))`)).toBe("object");
  });

  test("fetch, only what needs it fails, and names it", () => {
    const code = `await (await load("index")).init({ wasm: "http://localhost/x.wasm" })
      .catch((error) => print(error.message, "|", error.cause.message));`;
    expect(run(["fetch"], "esm", code)).toBe(
      'init: wasm cannot be read from "http://localhost/x.wasm" | ' +
        "expected an engine with fetch, got one without: give init the bytes or a module",
    );
  });

  test("Response, init still takes what is like one", () => {
    const code = `const { init, runtimeInfo } = await load("index");
      const { readFileSync } = await import("node:fs");
      await init({ wasm: { ok: true, arrayBuffer: async () => readFileSync("dist/wasm/simd.wasm") } });
      print(runtimeInfo().variant);`;
    expect(run(["Response"], "esm", code)).toBe("simd");
  });
});

describe("where a page's main thread refuses more than 4 kB at once, as in Chromium up to 114", () => {
  const REFUSING = `
    const limit = (Class, what, bytesOf) => new Proxy(Class, { construct(made, [code, ...rest]) {
      if (bytesOf(code) <= 4096) return new made(code, ...rest);
      throw new RangeError("WebAssembly." + what + " is disallowed on the main thread, if the buffer size is larger than 4KB.");
    } });
    WebAssembly.Module = limit(WebAssembly.Module, "Compile", (code) => code.byteLength);
    WebAssembly.Instance = limit(WebAssembly.Instance, "Instance", () => Infinity);`;

  test("init makes everything work", () => {
    expect(run([], "esm", REFUSING + FACADE)).toBe(whole);
  });

  test("with a module of the caller's too", () => {
    const code = `const { init, tensor } = await load("index");
      const { readFileSync } = await import("node:fs");
      await init({ wasm: await WebAssembly.compile(readFileSync("dist/wasm/simd.wasm")) });
      print(tensor([3]).size);`;
    expect(run([], "esm", REFUSING + code)).toBe("3");
  });

  test("without init the error says that it comes first, and then it works", () => {
    const code = `const { init, tensor } = await load("index");
      try { tensor([3]); } catch (error) { print(error.message); }
      await init();
      print(tensor([3]).size);`;
    expect(run([], "esm", REFUSING + code)).toMatch(
      /^wasm-norm: compiling WebAssembly at once is refused here.*`await init\(\)` first\n3$/,
    );
  });
});
