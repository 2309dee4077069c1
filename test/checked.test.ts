/** That the checked build (npm run test:checked) catches what it is there for. */
import { beforeAll, describe, expect, test } from "vitest";
import { passingContext } from "../src/engine/context.js";
import { FIELD, STEP } from "../src/engine/pass.js";
import { load } from "./cases.js";
import { checked } from "./checked/instrument.js";
import { begin, check, give, take } from "./checked/shadow.js";

describe("the shadow", () => {
  beforeAll(() => {
    begin(1024);
    give(1024, 100);
    give(1152, 64);
    give(1216, 8);
  });

  test.each([
    [1024, 100],
    [1123, 1],
    [1152, 64],
    [1216, 8],
    [0, 16],
    [5000, 0],
  ])("lets %i be read for %i bytes", (address, size) => {
    expect(() => check(address, size)).not.toThrow();
  });

  test.each([
    ["one byte past a block", 1024, 101],
    ["a vector over a block's end", 1120, 16],
    ["between blocks", 1124, 1],
    ["from one block into the next, both in use", 1208, 16],
    ["before the first block", 1020, 16],
    ["far away", 1 << 28, 4],
    ["a negative address", -16, 16],
    ["a length that wraps", 1152, -1],
  ])("refuses %s", (_, address, size) => {
    expect(() => check(address, size)).toThrow("not within one block");
  });

  test("forgets a block that was taken back", () => {
    give(4096, 200);
    check(4096, 200);
    take(4096);
    expect(() => check(4096, 4)).toThrow("not within one block");
    expect(() => check(1216, 8)).not.toThrow();
  });
});

describe("instrumenting", () => {
  /** (module (memory (import "env" "memory") 1) (func (export "f") (param i32) one instruction on it)) */
  const module = (...code: number[]) =>
    Uint8Array.of(
      ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
      ...[1, 5, 1, 0x60, 1, 0x7f, 0],
      ...[2, 15, 1, 3, 0x65, 0x6e, 0x76, 6, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 2, 0, 1],
      ...[3, 2, 1, 0],
      ...[7, 5, 1, 1, 0x66, 0, 0],
      ...[10, code.length + 6, 1, code.length + 4, 0, 0x20, 0, ...code, 0x0b],
    );

  test.each([
    ["f32.load offset=8", [0x2a, 2, 8, 0x1a], [[108, 4]]],
    ["i32.load8_u", [0x2d, 0, 0, 0x1a], [[100, 1]]],
    ["v128.load offset=32", [0xfd, 0, 4, 32, 0x1a], [[132, 16]]],
    ["v128.load32_splat", [0xfd, 9, 2, 0, 0x1a], [[100, 4]]],
    ["f64.store", [0x44, 0, 0, 0, 0, 0, 0, 0, 0, 0x39, 3, 0], [[100, 8]]],
    ["memory.fill", [0x41, 0, 0x41, 7, 0xfc, 11, 0], [[100, 7]]],
    [
      "memory.copy",
      [0x41, 50, 0x41, 7, 0xfc, 10, 0, 0],
      [
        [100, 7],
        [50, 7],
      ],
    ],
  ])("%s asks", (_, code, asks) => {
    const asked: number[][] = [];
    const env = {
      memory: new WebAssembly.Memory({ initial: 1 }),
      check: (address: number, bytes: number) => asked.push([address, bytes]),
    };
    const { exports } = new WebAssembly.Instance(
      new WebAssembly.Module(checked(module(...code)) as BufferSource),
      { env },
    );
    (exports.f as (address: number) => void)(100);
    expect(asked).toEqual(asks);
  });
});

if (process.env.CHECKED) {
  test("a kernel that is sent past the end of its array is stopped", async () => {
    await load();
    const held = (await import("../src/runtime/runtime.js")).runtime();
    const x = held.alloc(4 * 5);
    const geometry = (length: number) => ({
      outer: 1,
      rows: 1,
      groups: 1,
      width: 1,
      length,
      perElement: true,
      rms: true,
    });
    const context = passingContext(held);
    const meanSquare = (length: number) => {
      context.reserve(geometry(length), { x: 0, bits: false, extra: 0, running: false }, 0, 0, () => {});
      context.useStatistics(false);
      context.plan(STEP.REDUCE, 0, 0);
      context.pass.set(FIELD.x, x);
      held.kernels.forward(context.pass.address);
    };
    expect(() => meanSquare(5)).not.toThrow();
    expect(() => meanSquare(6)).toThrow(`16 bytes at ${x + 8}`);
  });
}
