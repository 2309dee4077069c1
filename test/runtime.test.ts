/** The runtime as a value: over its own memory and over one that another module owns, with its scratch and its owners. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import asc from "assemblyscript/asc";
import { beforeAll, describe, expect, test } from "vitest";
import { Borrowed } from "../src/runtime/borrowed.js";
import { kernelsIn } from "../src/runtime/compile.js";
import { Runtime } from "../src/runtime/instance.js";
import { allocatorIn, newMemory } from "../src/runtime/memory.js";
import { load, type Variant, variants } from "./cases.js";

const PAGE = 65536;
const binary = (variant: Variant) =>
  new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));

function ownRuntime(maxMemory = 64 * PAGE): Runtime {
  const memory = newMemory(0, maxMemory);
  const kernels = kernelsIn(memory, binary("simd"));
  const allocator = allocatorIn(memory, kernels.heapBase(), maxMemory);
  return new Runtime({ kernels, memory, allocator, maxMemory });
}

/** AssemblyScript's own allocator and memory, which stand for another library's. */
interface Foreign {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  free(address: number): void;
}

let foreign: WebAssembly.Module;

const owner = (): Foreign =>
  new WebAssembly.Instance(foreign, { env: { abort: () => 0 } }).exports as unknown as Foreign;

beforeAll(async () => {
  const source = `
    export function malloc(bytes: usize): usize { return heap.alloc(bytes); }
    export function free(address: usize): void { heap.free(address); }`;
  const { binary: bytes, error } = await asc.compileString(source, { runtime: "minimal", optimizeLevel: 0 });
  if (error) throw error;
  foreign = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
});

describe.each(variants)("over a memory that another module owns, %s", (variant) => {
  const borrow = (theirs: Foreign) =>
    new Runtime({
      kernels: kernelsIn(theirs.memory, binary(variant)),
      memory: theirs.memory,
      allocator: new Borrowed({ alloc: theirs.malloc, free: theirs.free }),
    });

  test("blocks are the owner's, begin at multiples of 64 and do not touch what the owner has", () => {
    const theirs = owner();
    const held = borrow(theirs);
    expect(held.variant).toBe(variant);
    const blocks: { address: number; bytes: number; value: number }[] = [];
    for (let value = 1; value <= 200; value++) {
      const bytes = 4 * (1 + ((value * 37) % 3000));
      const mine = value % 2 === 0;
      const address = mine ? held.alloc(bytes) : theirs.malloc(bytes);
      if (mine) expect(address % 64).toBe(0);
      held.f32.fill(value, address / 4, (address + bytes) / 4);
      blocks.push({ address, bytes, value });
    }
    for (const { address, bytes, value } of blocks) {
      expect(held.f32.subarray(address / 4, (address + bytes) / 4).every((one) => one === value)).toBe(true);
    }
    expect(held.bytesInUse).toBeGreaterThan(0);
    for (const { address, value } of blocks) value % 2 ? theirs.free(address) : held.free(address);
    expect(held.bytesInUse).toBe(0);
    expect(() => held.free(blocks[1]!.address)).toThrow("block in use");
  });

  test("views follow the memory, whoever makes it grow", () => {
    const theirs = owner();
    const held = borrow(theirs);
    const address = held.alloc(64);
    held.f64[address / 8] = 1.5;
    const before = held.f64;
    theirs.memory.grow(3);
    expect(before.length).toBe(0);
    expect(held.f64[address / 8]).toBe(1.5);
    theirs.malloc(1 << 20);
    expect(held.f32.byteLength).toBe(theirs.memory.buffer.byteLength);
    expect(held.u32.buffer).toBe(theirs.memory.buffer);
    expect(held.memoryBytes).toBe(theirs.memory.buffer.byteLength);
  });

  test("what the owner gave back it can give out again", () => {
    const theirs = owner();
    const held = borrow(theirs);
    held.free(held.alloc(1 << 20));
    const { memoryBytes } = held;
    for (let i = 0; i < 50; i++) held.free(held.alloc(1 << 20));
    expect(held.memoryBytes).toBe(memoryBytes);
  });
});

test("views of a shared memory follow it too, where growth detaches nothing", () => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 8, shared: true });
  const { kernels } = ownRuntime();
  const held = new Runtime({ kernels, memory, allocator: new Borrowed({ alloc: () => 64, free() {} }) });
  expect(held.f32.byteLength).toBe(PAGE);
  memory.grow(2);
  expect([held.f32, held.f64, held.u32].map(({ byteLength }) => byteLength)).toEqual(Array(3).fill(3 * PAGE));
});

test("an owner without room is a RangeError, and nothing is in use", () => {
  const { kernels } = ownRuntime();
  const memory = new WebAssembly.Memory({ initial: 1 });
  const allocator = new Borrowed({ alloc: () => 0, free() {} });
  const held = new Runtime({ kernels, memory, allocator });
  expect(() => held.alloc(100)).toThrow(RangeError);
  expect(() => held.alloc(100)).toThrow("has an owner with no room for 164 more");
  expect(held.bytesInUse).toBe(0);
});

describe("the workspace", () => {
  test("belongs to the runtime: in use by no one, where it was as long as it suffices", () => {
    const held = ownRuntime();
    const first = held.workspace(1000);
    expect(first % 64).toBe(0);
    const round = held.workspaceRound;
    for (const bytes of [0, 1, 1000, 1024]) expect(held.workspace(bytes)).toBe(first);
    held.workspace(1000, 1);
    expect(held.workspaceRound).toBe(round);
    expect(held.bytesInUse).toBe(0);
    const block = held.alloc(64);
    expect(held.bytesInUse).toBe(64);
    held.workspace(100_000);
    expect(held.bytesInUse).toBe(64);
    expect(held.workspaceRound).toBe(round + 1);
    held.free(block);
    expect(held.bytesInUse).toBe(0);
  });

  test("counts a smaller one in the place of a larger as another", () => {
    const held = ownRuntime();
    const large = held.workspace(100_000);
    const round = held.workspaceRound;
    held.releaseWorkspaces();
    const given = held.workspaceRound;
    expect(given).not.toBe(round);
    expect(held.workspace(1000)).toBe(large);
    expect(held.workspaceRound).not.toBe(given);
  });

  test("is not what others hold", () => {
    const held = ownRuntime();
    const blocks = [held.alloc(5000)];
    for (const bytes of [100, 10_000, 1000, 50_000, 200_000]) {
      const address = held.workspace(bytes);
      blocks.push(held.alloc(3000));
      for (const block of blocks) expect(block + 3000 <= address || address + bytes <= block).toBe(true);
    }
  });

  test("has slots beside one another", () => {
    const held = ownRuntime();
    const [a, b] = [held.workspace(1000), held.workspace(1000, 1)];
    expect(Math.abs(a - b)).toBeGreaterThanOrEqual(1024);
    held.workspace(100_000, 1);
    expect(held.workspace(1000)).toBe(a);
    expect(held.bytesInUse).toBe(0);
  });

  test("takes no more than it must where a power of two finds no room", () => {
    const held = ownRuntime(16 * PAGE);
    const bytes = 10 * PAGE;
    const address = held.workspace(bytes);
    expect(held.workspace(bytes)).toBe(address);
    expect(() => held.workspace(20 * PAGE)).toThrow(RangeError);
    expect(held.bytesInUse).toBe(0);
    expect(held.workspace(bytes)).toBeGreaterThan(0);
  });
});

test("out of memory, the error says who holds it and what gives it back", async () => {
  const library = await load();
  await library.init({ maxMemory: 16 * PAGE });
  const layer = new library.BatchNorm(4);
  layer.forward(new Float32Array(4000), [1000, 4]);
  const tensors = [library.tensor([10]), library.tensor([5000])];
  const { bytesInUse, memoryBytes } = library.runtimeInfo();
  const held = 64 + 20_352; // 20,000 bytes and 320 to shift them, in cache lines
  let message = "";
  try {
    library.tensor([1 << 20]);
  } catch (error) {
    message = (error as Error).message;
  }
  expect(message).toBe(
    `wasm-norm: memory of ${memoryBytes} bytes (${bytesInUse} in use) cannot grow to ${/to (\d+)/.exec(message)?.[1]}: ` +
      `its maximum is 1048576. 2 Tensors hold ${held} bytes, layers ${bytesInUse - held}: ` +
      "dispose() of what is not needed, or make it with `using` or in tidy()",
  );
  for (const tensor of tensors) tensor.dispose();
  layer.dispose();
});

/** Runs in a process of its own, over the built package, where garbage is collected as the engine sees fit. */
const alone = (code: string): string =>
  execFileSync(process.execPath, ["--input-type=module", "--eval", code], {
    cwd: new URL("..", import.meta.url),
    encoding: "utf8",
  }).trim();

describe("what was dropped without a word", () => {
  const program = (task: string) => `
    import { init, runtimeInfo, tensor } from "wasm-norm";
    await init({ maxMemory: 64 * 2 ** 20 });
    const task = () => new Promise((resolve) => setImmediate(resolve));
    ${task}`;

  test("is swept when memory is short, before anything is refused", () => {
    // Each task makes 8 MB, and the next has dropped them: the engine sees little garbage and collects nothing.
    const made = alone(
      program(`
      let made = 0;
      for (let i = 0; i < 40; i++) {
        await task();
        tensor([2 ** 21]).data[0] = ++made;
      }
      console.log(made);`),
    );
    expect(made).toBe("40");
  });

  test("is not what is still held", () => {
    const output = alone(
      program(`
      const kept = [];
      for (let i = 0; i < 3; i++) { await task(); kept.push(tensor([2 ** 21])); kept[i].data.fill(i); }
      for (let i = 0; i < 40; i++) { await task(); tensor([2 ** 21]).data.fill(9); }
      let refused = "";
      try { for (;;) kept.push(tensor([2 ** 21])); } catch (error) { refused = error.name; }
      console.log(kept.slice(0, 3).map(({ data }) => data[0] + data.at(-1)).join(), refused);`),
    );
    expect(output).toBe("0,2,4 RangeError");
  });

  test("a task that makes and disposes of many keeps nothing of them", () => {
    const [before, after] = alone(
      program(`
      const fill = tensor([2 ** 20]);
      const heap = () => { gc(); return process.memoryUsage().heapUsed; };
      for (let i = 0; i < 1000; i++) tensor([4]).dispose();
      const before = heap();
      for (let i = 0; i < 300_000; i++) tensor([4]).dispose();
      console.log(before, heap(), fill.size);`).replace(
        "import {",
        `import { setFlagsFromString } from "node:v8"; import { runInNewContext } from "node:vm";
         setFlagsFromString("--expose-gc"); const gc = runInNewContext("gc");
         import {`,
      ),
    )
      .split(" ")
      .map(Number);
    expect(after! - before!).toBeLessThan(2_000_000);
  });
});

test("kernels show in a profile under their names", () => {
  const folder = mkdtempSync(join(tmpdir(), "wasm-norm-profile-"));
  try {
    const code = `
      import { LayerNorm, tensor } from "wasm-norm";
      const layer = new LayerNorm(512), x = tensor([64, 512]), y = tensor([64, 512]);
      const end = Date.now() + 300;
      while (Date.now() < end) layer.forwardInto(x, y);`;
    execFileSync(
      process.execPath,
      ["--cpu-prof", "--cpu-prof-dir", folder, "--input-type=module", "--eval", code],
      { cwd: new URL("..", import.meta.url) },
    );
    const [file] = readdirSync(folder);
    const { nodes } = JSON.parse(readFileSync(join(folder, file!), "utf8")) as {
      nodes: { callFrame: { functionName: string; url: string }; hitCount: number }[];
    };
    const kernels = nodes.filter(({ callFrame, hitCount }) => callFrame.url.startsWith("wasm:") && hitCount);
    expect(kernels.length).toBeGreaterThan(0);
    for (const { callFrame } of kernels) expect(callFrame.functionName).toMatch(/^(assembly\/\w|[a-z]\w*$)/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
