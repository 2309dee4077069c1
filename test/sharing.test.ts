/** Binaries for a memory that is shared, made of those for one that is not. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { kernelsIn } from "../src/runtime/compile.js";
import { EXPORTS } from "../src/runtime/kernels.js";
import { sharing } from "../src/runtime/shared.js";
import { variants } from "./cases.js";

const memory = (shared: boolean) => new WebAssembly.Memory({ initial: 4, maximum: 65536, shared });

describe.each(variants)("%s", (variant) => {
  const bytes = new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));

  test("runs in a shared memory, and asks for one", () => {
    const code = sharing(bytes) as Uint8Array<ArrayBuffer>;
    const shared = memory(true);
    const kernels = kernelsIn(shared, code);
    expect(Object.keys(kernels)).toEqual(expect.arrayContaining([...EXPORTS]));
    const at = Math.ceil(kernels.heapBase() / 64) * 64;
    const values = new Float32Array(shared.buffer);
    values.set([1, 2, 3, 4, 5, 6], at / 4);
    kernels.transpose(at, at + 64, 1, 2, 3);
    expect([...values.subarray(at / 4 + 16, at / 4 + 22)]).toEqual([1, 4, 2, 5, 3, 6]);
    expect(() => kernelsIn(memory(false), code)).toThrow("does not instantiate");
  });

  test("is the same but for the limits", () => {
    const code = sharing(bytes);
    // The maximum takes three bytes; the section's size stays one.
    expect(code.length).toBe(bytes.length + 3);
    const end = bytes.length - 1000;
    const same = (a: Uint8Array, b: Uint8Array) => expect(Buffer.compare(a, b)).toBe(0);
    same(code.subarray(end + 3), bytes.subarray(end));
    // A view of bytes that begin elsewhere, and a buffer.
    const moved = new Uint8Array(bytes.length + 5);
    moved.set(bytes, 5);
    same(sharing(moved.subarray(5)), code);
    same(sharing(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)), code);
  });
});

const HEAD = [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0];
/** (type (func)). */
const TYPES = [1, 4, 1, 0x60, 0, 0];
const name = (text: string) => [text.length, ...new TextEncoder().encode(text)];
const section = (...content: number[]) =>
  content.length < 128
    ? [2, content.length, ...content]
    : [2, (content.length & 127) | 128, content.length >> 7, ...content];
const module = (...sections: number[][]) => Uint8Array.from([...HEAD, ...sections.flat()]);
const MEMORY = [...name("env"), ...name("memory"), 2];

test("functions before the memory, what follows, and a maximum that was there", () => {
  const f = [...name("env"), ...name("f"), 0, 0];
  const code = module(TYPES, section(3, ...f, ...MEMORY, 1, 0x81, 0, 9, ...f));
  expect(WebAssembly.validate(code)).toBe(true);
  const made = new WebAssembly.Module(sharing(code) as Uint8Array<ArrayBuffer>);
  expect(WebAssembly.Module.imports(made).map(({ kind }) => kind)).toEqual([
    "function",
    "memory",
    "function",
  ]);
  const env = { f() {}, memory: memory(true) };
  expect(() => new WebAssembly.Instance(made, { env })).not.toThrow();
  expect(() => new WebAssembly.Instance(made, { env: { ...env, memory: memory(false) } })).toThrow();
});

test("a section whose size needs a byte more", () => {
  const sizes: number[] = [];
  for (let length = 96; length < 112; length++) {
    const long = [...name("env"), ...name("g".repeat(length)), 0, 0];
    const code = module(TYPES, section(2, ...long, ...MEMORY, 0, 1));
    sizes.push(sharing(code).length - code.length);
    const made = new WebAssembly.Module(sharing(code) as Uint8Array<ArrayBuffer>);
    const env = { ["g".repeat(length)]() {}, memory: memory(true) };
    expect(() => new WebAssembly.Instance(made, { env })).not.toThrow();
  }
  expect(sizes).toEqual([3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 3, 3, 3, 3, 3, 3]);
});

test("a binary without a memory to import is refused", () => {
  expect(() => sharing(module())).toThrow("expected a binary that imports its memory");
  const global = [...name("env"), ...name("g"), 3, 0x7f, 0];
  expect(() => sharing(module(section(1, ...global)))).toThrow("imports functions and its memory");
  expect(() => sharing(module(section(0)))).toThrow("imports functions and its memory");
});
