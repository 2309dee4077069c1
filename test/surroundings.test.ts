/** What the package says where it cannot run, and of an init that cannot work. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { load, variants } from "./cases.js";

const binary = (variant: string) =>
  new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));

/** (module (global (export "ABI") i32 (i32.const 33))): another version of the interface. */
const FUTURE = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[6, 6, 1, 0x7f, 0, 0x41, 33, 0x0b],
  ...[7, 7, 1, 3, 0x41, 0x42, 0x49, 3, 0],
);

const firstUse = async () => {
  const library = await load();
  return () => library.tensor([1]);
};

afterEach(() => {
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A constructor that only throws: an arrow function cannot be called with new. */
const throwing = (error: Error) =>
  class {
    constructor() {
      throw error;
    }
  } as never;

describe("the engine", () => {
  test("without WebAssembly", async () => {
    const use = await firstUse();
    vi.stubGlobal("WebAssembly", undefined);
    expect(use).toThrow("wasm-norm: expected an engine with WebAssembly SIMD, got one without");
  });

  test("without SIMD", async () => {
    const use = await firstUse();
    vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
    expect(use).toThrow("wasm-norm: expected an engine with WebAssembly SIMD, got one without");
  });

  test("without relaxed SIMD, where init asks for it", async () => {
    const { init } = await load();
    vi.spyOn(WebAssembly, "validate").mockReturnValue(false);
    await expect(init({ variant: "relaxed-simd" })).rejects.toThrow(
      "wasm-norm: expected an engine with WebAssembly relaxed SIMD, got one without",
    );
  });

  test("that forbids compiling", async () => {
    const use = await firstUse();
    const forbidden = new WebAssembly.CompileError("Wasm code generation disallowed by embedder");
    vi.spyOn(WebAssembly, "Module").mockImplementation(throwing(forbidden));
    expect(use).toThrow(/^wasm-norm: compiling WebAssembly is forbidden here.*'wasm-unsafe-eval'.*init/);
    expect(use).toThrow(expect.objectContaining({ cause: forbidden }));
  });

  // Chromium up to 114, on a page's main thread.
  test.each(["Module", "Instance"] as const)("that refuses a large %s at once", async (name) => {
    const refused = new RangeError(
      `WebAssembly.${name} is disallowed on the main thread, if the buffer size is larger than 4KB.`,
    );
    const fail = (): never => {
      throw refused;
    };
    // A proxy, so that instanceof still answers.
    const refuse = () =>
      vi.stubGlobal(
        "WebAssembly",
        new Proxy(WebAssembly, {
          get(all, key) {
            const value = Reflect.get(all, key);
            return key === name ? new Proxy(value, { construct: fail }) : value;
          },
        }),
      );
    const use = await firstUse();
    refuse();
    expect(use).toThrow(/^wasm-norm: compiling WebAssembly at once is refused here.*`await init\(\)` first$/);
    expect(use).toThrow(expect.objectContaining({ cause: refused }));
    vi.unstubAllGlobals();
    for (const wasm of [undefined, binary("simd"), new WebAssembly.Module(binary("simd"))]) {
      const { init, LayerNorm } = await load();
      refuse();
      await init({ wasm });
      expect(new LayerNorm(2, { eps: 0 }).forward(Float32Array.of(1, 3))).toEqual(Float32Array.of(-1, 1));
      vi.unstubAllGlobals();
    }
  });

  test("that refuses memory", async () => {
    const { init, tensor } = await load();
    const Memory = vi
      .spyOn(WebAssembly, "Memory")
      .mockImplementation(throwing(new RangeError("could not allocate memory")));
    const message = "wasm-norm: the engine refused a memory that may grow to 4294967296 bytes";
    expect(() => tensor([1])).toThrow(RangeError);
    expect(() => tensor([1])).toThrow(message);
    await expect(init()).rejects.toThrow(message);
    Memory.mockRestore();
    await init({ maxMemory: 1 << 20 });
    expect(tensor([1]).size).toBe(1);
  });
});

describe("init", () => {
  test("with what holds already, at once, later, and after the first use", async () => {
    const { init, runtimeInfo, tensor } = await load();
    const compile = vi.spyOn(WebAssembly, "compile");
    const options = { variant: "simd", maxMemory: 1 << 24, initialMemory: 1 << 20, threads: 1 } as const;
    await Promise.all([init(options), init({ ...options }), init({ variant: "simd" })]);
    expect(compile).toHaveBeenCalledTimes(1);
    const kept = tensor([1]);
    await init();
    await init(options);
    await init({ initialMemory: 5, maxMemory: undefined });
    await init({ wasm: binary("simd") });
    await init({ wasm: Promise.resolve(new Response(binary("simd"))), variant: "simd" });
    expect(runtimeInfo()).toMatchObject({ variant: "simd", memoryBytes: 1 << 20, tensors: 1 });
    expect(kept.toArray()).toEqual(Float32Array.of(0));
  });

  test("after a first use without it", async () => {
    const { init, tensor } = await load();
    tensor([1]);
    await init();
    await init({ variant: "relaxed-simd", threads: 1, maxMemory: 2 ** 32, initialMemory: 65536 });
    await init({ wasm: binary("relaxed-simd") });
  });

  test.each([
    ["variant", { variant: "simd" }, "relaxed-simd, got simd"],
    ["the binary", { wasm: binary("simd") }, "relaxed-simd, got simd"],
    ["maxMemory", { maxMemory: 1 << 20 }, "4294967296, got 1048576"],
    ["initialMemory", { initialMemory: 1 << 20 }, "65536, got 1048576"],
  ] as const)("with another %s than what runs", async (_, options, difference) => {
    const runs =
      /\(what runs: variant "relaxed-simd", threads 1, maxMemory 4294967296, 65536 bytes of memory\)$/;
    const late = await load();
    late.tensor([1]);
    const early = await load();
    const first = early.init();
    for (const outcome of [late.init(options), early.init(options)]) {
      const error = await outcome.catch((thrown) => thrown);
      expect(error).toBeInstanceOf(Error);
      expect(error.message).toContain(`since the first use or init, ${difference}`);
      expect(error.message).toMatch(runs);
    }
    await first;
  });

  test("with an option that is wrong in itself, after the start too", async () => {
    const { init } = await load();
    await init();
    await expect(init({ threads: 0 })).rejects.toThrow(RangeError);
    await expect(init({ maxMemory: 1 << 20, initialMemory: 1 << 21 })).rejects.toThrow(
      "init: expected initialMemory to be an integer from 0 to 1048576, got 2097152",
    );
    await expect(init({ wasm: 5 as never })).rejects.toThrow(TypeError);
  });

  test("overtaken by the first use", async () => {
    const { init, tensor } = await load();
    const other = init({ wasm: Promise.resolve(binary("simd")) });
    tensor([1]);
    await expect(other).rejects.toThrow("since the first use or init, relaxed-simd, got simd");
    const again = await load();
    const same = again.init({ wasm: Promise.resolve(binary("relaxed-simd")), maxMemory: 2 ** 32 });
    again.tensor([1]);
    await same;
  });

  test("that fails does not stop another that is under way", async () => {
    const { init, runtimeInfo } = await load();
    const bad = init({ wasm: Promise.reject(new Error("offline")) });
    const good = init({ variant: "simd" });
    await expect(bad).rejects.toThrow("init: wasm cannot be read from Promise");
    await good;
    expect(runtimeInfo().variant).toBe("simd");
  });

  test("initialMemory is there before it is needed, so that views stay", async () => {
    const { init, runtimeInfo, tensor } = await load();
    await init({ initialMemory: 100_000 });
    expect(runtimeInfo().memoryBytes).toBe(131_072);
    const { data } = tensor([1]);
    tensor([20_000]);
    expect(data.length).toBe(1);
    tensor([20_000]);
    expect(data.length).toBe(0);
  });

  test.each(["as a URL", "as text"])("takes a file %s", async (how) => {
    const { init, runtimeInfo } = await load();
    const url = new URL("../build/simd.wasm", import.meta.url);
    await init({ wasm: how === "as text" ? url.href : url });
    expect(runtimeInfo().variant).toBe("simd");
    const missing = await load();
    const nowhere = new URL("../build/none.wasm", import.meta.url);
    await expect(missing.init({ wasm: nowhere })).rejects.toThrow(/^init: wasm cannot be read from "file:/);
  });

  test("again after one that failed", async () => {
    const { init, runtimeInfo } = await load();
    await expect(init({ wasm: FUTURE })).rejects.toThrow(RangeError);
    await init({ variant: "simd" });
    expect(runtimeInfo().variant).toBe("simd");
  });

  test.each(variants)("tells the variant of the binary it was given: %s", async (variant) => {
    const { init, runtimeInfo } = await load();
    await init({ wasm: binary(variant) });
    expect(runtimeInfo().variant).toBe(variant);
  });

  test("with a binary of the other variant", async () => {
    const { init } = await load();
    await expect(init({ wasm: binary("simd"), variant: "relaxed-simd" })).rejects.toThrow(
      'init: expected wasm to be the binary for "relaxed-simd", got "simd"',
    );
  });

  test.each<[string, unknown, ErrorConstructor, string]>([
    [
      "a number",
      5,
      TypeError,
      "init: expected wasm to be a WebAssembly.Module, its bytes, a Response or a URL, got 5",
    ],
    [
      "null",
      null,
      TypeError,
      "init: expected wasm to be a WebAssembly.Module, its bytes, a Response or a URL, got null",
    ],
    [
      "garbage",
      Uint8Array.of(1, 2, 3),
      RangeError,
      "init: expected wasm to be a valid binary, got Uint8Array(3)",
    ],
    ["another version", FUTURE, RangeError, "wasm-norm: expected a binary of interface 4, got 33"],
    [
      "another module",
      Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0),
      RangeError,
      "wasm-norm: expected a binary of interface 4, got another module",
    ],
    [
      "a module of other imports", // (module (import "a" "b" (global i32)))
      Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 2, 8, 1, 1, 0x61, 1, 0x62, 3, 0x7f, 0),
      RangeError,
      "wasm-norm: expected a binary of interface 4, got a module that does not instantiate",
    ],
    [
      "a refusal by a server",
      new Response("not found", { status: 404 }),
      RangeError,
      'init: expected wasm to be a successful response, got "a response of status 404"',
    ],
    ["an address that leads nowhere", "nowhere:x", Error, 'init: wasm cannot be read from "nowhere:x"'],
  ])("with %s as wasm", async (_, wasm, kind, message) => {
    const { init } = await load();
    const error = await init({ wasm: wasm as never }).catch((thrown) => thrown);
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toBe(message);
  });
});
