/** The two sides of the binary interface. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { EXPORTS } from "../src/runtime/kernels.js";
import { load, variants } from "./cases.js";

const binary = (variant: string) => readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url));

describe.each(variants)("build/%s.wasm", (variant) => {
  test("is validated by this engine", () => {
    expect(WebAssembly.validate(binary(variant))).toBe(true);
  });

  test("exports exactly what the facade lists", () => {
    const module = new WebAssembly.Module(binary(variant));
    const names = WebAssembly.Module.exports(module).map(({ name }) => name);
    expect(names.sort()).toEqual([...EXPORTS].sort());
  });

  test("imports its memory and nothing else", () => {
    const module = new WebAssembly.Module(binary(variant));
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
  });

  test("holds no data segments, so that a second instance on the same memory changes nothing", () => {
    const sections = new Set<number>();
    const bytes = binary(variant);
    for (let at = 8; at < bytes.length; ) {
      sections.add(bytes[at++]!);
      let [size, shift] = [0, 0];
      for (let byte = 0x80; byte & 0x80; shift += 7) {
        byte = bytes[at++]!;
        size |= (byte & 0x7f) << shift;
      }
      at += size;
    }
    const dataSection = 11;
    expect(sections.has(10)).toBe(true);
    expect(sections.has(dataSection)).toBe(false);
  });
});

describe("the two binaries", () => {
  test("are two: only one has relaxed SIMD", () => {
    expect(binary("simd").equals(binary("relaxed-simd"))).toBe(false);
  });

  test.each(variants)(
    "init takes %s as bytes, a module, a response, and a promise of one",
    async (variant) => {
      const bytes = new Uint8Array(binary(variant));
      for (const wasm of [
        bytes,
        bytes.buffer,
        new WebAssembly.Module(bytes),
        Promise.resolve(bytes),
        new Response(bytes),
      ]) {
        const library = await load();
        await library.init({ wasm, variant });
        const layer = new library.BatchNorm(1, { eps: 0 });
        expect(layer.forward(Float32Array.of(1, 3), [2, 1])).toEqual(Float32Array.of(-1, 1));
        expect(library.runtimeInfo().variant).toBe(variant);
      }
    },
  );

  test("without init, the fastest that the engine validates is there at once", async () => {
    const library = await load();
    expect(library.runtimeInfo().variant).toBe("relaxed-simd");
    expect(library.runtimeInfo().threads).toBe(1);
  });
});
