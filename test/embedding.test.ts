/** The text that carries both binaries inside the JavaScript. */
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { encode } from "../assembly/build/embed.js";
import { decode, nameSection } from "../src/runtime/embedding.js";

const embedded = JSON.parse(readFileSync(new URL("../build/binaries.json", import.meta.url), "utf8"));
const built = (variant: string) =>
  new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));

describe("the embedded text", () => {
  test("holds both binaries to the byte", () => {
    expect(decode(embedded, 0)).toEqual(built("relaxed-simd"));
    expect(decode(embedded, -1)).toEqual(built("simd"));
  });

  test("holds only characters that a string literal need not escape", () => {
    expect(embedded.text + embedded.locals + embedded.offsets).toMatch(/^[(-[\]-~]*$/);
  });

  test("has functions' names as text that a string literal need not escape", () => {
    expect(embedded.names).toMatch(/^1 [!#-[\]-~ ]*$/);
    expect(embedded.names.split(";")[0].split(" ")).toContain("assembly/index/forward");
  });

  test("brings back what ends with names, or with what only begins so", () => {
    const section = nameSection("1 one two;7 three");
    const name = fc.constantFrom(section, section.slice(0, -1), [...section, 0], nameSection("1 one"), []);
    const bytes = fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 20 });
    fc.assert(
      fc.property(bytes, bytes, name, name, (ours, theirs, one, two) => {
        const first = Uint8Array.from([...ours, ...one]);
        const last = Uint8Array.from([...theirs, ...two]);
        const embedding = encode(first, last);
        expect(decode(embedding, 0)).toEqual(first);
        expect(decode(embedding, -1)).toEqual(last);
      }),
    );
  });

  test("brings back any two byte strings", () => {
    // Many opcodes for locals and many loads among them, at the end too.
    const byte = fc.integer({ min: 0, max: 255 }).map((n) => [n]);
    const opcode = fc.integer({ min: 0x20, max: 0x22 }).map((n) => [n]);
    const access = fc.constant([0xfd, 0x00, 0x04]);
    const bytes = fc.array(fc.oneof(opcode, access, byte), { maxLength: 100 }).map((parts) => parts.flat());
    fc.assert(
      fc.property(bytes, bytes, bytes, bytes, (head, ours, theirs, tail) => {
        const first = Uint8Array.from([...head, ...ours, ...tail]);
        const last = Uint8Array.from([...head, ...theirs, ...tail]);
        const embedding = encode(first, last);
        expect(decode(embedding, 0)).toEqual(first);
        expect(decode(embedding, -1)).toEqual(last);
      }),
    );
  });
});
