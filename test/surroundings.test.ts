/** What the package says where it cannot run, and of an init that cannot work. */
import { readFileSync } from "node:fs";
import { afterEach, describe, expect, test, vi } from "vitest";
import { load, variants } from "./cases.js";

const binary = (variant: string) =>
  new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));

/** (module (global (export "ABI") i32 (i32.const 2))): another version of the interface. */
const FUTURE = Uint8Array.of(
  ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
  ...[6, 6, 1, 0x7f, 0, 0x41, 2, 0x0b],
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
  test("a second time, at once or later", async () => {
    const { init } = await load();
    const again = new Error("init: expected one call, got a second");
    const first = init();
    await expect(init()).rejects.toEqual(again);
    await first;
    await expect(init()).rejects.toEqual(again);
  });

  test("after the first use", async () => {
    const { init, tensor } = await load();
    tensor([1]);
    await expect(init()).rejects.toThrow("init: expected before the first use, got it after");
  });

  test("overtaken by the first use", async () => {
    const { init, tensor } = await load();
    const late = init({ wasm: Promise.resolve(binary("simd")) });
    tensor([1]);
    await expect(late).rejects.toThrow("init: expected before the first use, got it after");
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
    ["another version", FUTURE, RangeError, "wasm-norm: expected a binary of interface 1, got 2"],
    [
      "another module",
      Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0),
      RangeError,
      "wasm-norm: expected a binary of interface 1, got another module",
    ],
    [
      "a module of other imports", // (module (import "a" "b" (global i32)))
      Uint8Array.of(0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, 2, 8, 1, 1, 0x61, 1, 0x62, 3, 0x7f, 0),
      RangeError,
      "wasm-norm: expected a binary of interface 1, got a module that does not instantiate",
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
