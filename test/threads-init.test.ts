/** How threads start and end: init, shutdown, what runtimeInfo says, and what becomes of a process. */
import { execFile } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterEach, describe, expect, test } from "vitest";
import { asleepOf } from "../src/runtime/threads/control.js";
import { type Library, load, normals } from "./cases.js";

const run = promisify(execFile);
let library: Library | undefined;
afterEach(() => library?.shutdown());

/** A copy whose workers are given `startMs` to report. */
async function copy(startMs = 60_000): Promise<Library> {
  library = await load();
  const { LIMITS } = await import("../src/runtime/threads/limits.js");
  LIMITS.startMs = startMs;
  return library;
}

/** A call of several tiles, and what one thread gives. */
function shown({ BatchNorm, tensor }: Library): Float32Array {
  const x = tensor([300, 512], normals(300 * 512, 1));
  const layer = new BatchNorm(512);
  const y = layer.forward(x);
  const values = y.toArray();
  for (const one of [x, y, layer]) one.dispose();
  return values;
}

describe("init", () => {
  test("starts threads once, and again after shutdown, with what was made before", {
    timeout: 60_000,
  }, async () => {
    const { init, runtimeInfo, shutdown, tensor } = await copy();
    await Promise.all([init({ threads: 3 }), init({ threads: 3 }), init()]);
    await init({ threads: 3 });
    expect(runtimeInfo()).toMatchObject({ threads: 3, threadsReason: undefined });
    await expect(init({ threads: 2 })).rejects.toThrow(/expected threads .*, 3, got 2: .*shutdown/);
    const kept = tensor([2], [1, 2]);
    expect(kept.data.buffer).toBeInstanceOf(SharedArrayBuffer);
    expect(kept.toArray().buffer).toBeInstanceOf(ArrayBuffer);
    const values = shown(library!);
    for (const threads of [2, 1, 4]) {
      await shutdown();
      expect(runtimeInfo()).toMatchObject({ threads: 1, threadsReason: undefined, tensors: 1 });
      expect(shown(library!)).toEqual(values);
      await init({ threads });
      expect(runtimeInfo().threads).toBe(threads);
      expect(shown(library!)).toEqual(values);
    }
    expect(kept.toArray()).toEqual(Float32Array.of(1, 2));
    await shutdown();
    await shutdown();
  });

  test('"auto" is one thread a core, at most 8', async () => {
    const { init, runtimeInfo } = await copy();
    await init({ threads: "auto" });
    const { availableParallelism } = await import("node:os");
    expect(runtimeInfo().threads).toBe(Math.min(8, availableParallelism()));
  });

  test("after the first use is an error that says what to do", async () => {
    const { init, tensor } = await copy();
    tensor([1]);
    await expect(init({ threads: 2 })).rejects.toThrow(
      /threads .*, 1, got 2: call init before the first use/,
    );
  });

  test.each([0, 65, 1.5, "two", null])("refuses threads: %j", async (threads) => {
    const { init } = await copy();
    await expect(init({ threads: threads as never })).rejects.toThrow(/^init: expected threads/);
  });

  test("memory grows under workers that live", { timeout: 60_000 }, async () => {
    const { init, runtimeInfo, BatchNorm, tensor } = await copy();
    await init({ threads: 2 });
    const values = shown(library!);
    const before = runtimeInfo().memoryBytes;
    const kept = tensor([4], [1, 2, 3, 4]);
    const view = kept.data;
    for (let rows = 600; rows <= 4800; rows *= 2) {
      const layer = new BatchNorm(512);
      const dy = tensor([rows, 512]);
      layer.forward(tensor([rows, 512]));
      layer.backwardInto(dy, dy);
      expect(shown(library!)).toEqual(values);
    }
    expect(runtimeInfo().memoryBytes).toBeGreaterThan(before);
    // What was seen of it before stays, and is known for what it is.
    const { given } = await import("../src/arrays.js");
    const { runtime } = await import("../src/runtime/runtime.js");
    expect(view.buffer).not.toBe(runtime().f32.buffer);
    expect(given(view, runtime().f32).offset).toBe(view.byteOffset);
    view[0] = 5;
    expect(kept.toArray()).toEqual(Float32Array.of(5, 2, 3, 4));
  });
});

describe("where threads cannot be had, one runs and says why", () => {
  const silent = () => new Worker("setInterval(() => {}, 1000)", { eval: true });
  const cases: [string, object, RegExp][] = [
    ["workers that never report", { worker: silent }, /did not report within 300 ms/],
    [
      "a factory that throws",
      {
        worker: () => {
          throw new Error("no more threads");
        },
      },
      /no more threads/,
    ],
    [
      "a program that fails",
      { worker: () => new Worker("throw new Error('broken')", { eval: true }) },
      /broken/,
    ],
    ["a file that is not there", { worker: new URL("./none.js", import.meta.url) }, /none\.js/],
    ["a module that is compiled", { wasm: "module" }, /give init the bytes/],
  ];
  test.each(cases)("%s", { timeout: 60_000 }, async (_, options, reason) => {
    const { init, runtimeInfo } = await copy(300);
    const { readFileSync } = await import("node:fs");
    const wasm =
      "wasm" in options
        ? new WebAssembly.Module(readFileSync(new URL("../build/simd.wasm", import.meta.url)))
        : undefined;
    await init({ threads: 2, ...options, wasm });
    expect(runtimeInfo().threads).toBe(1);
    expect(runtimeInfo().threadsReason).toMatch(reason);
    expect(shown(library!)[0]).toBeTypeOf("number");
    await init({ threads: 2 });
  });

  test("a page that is not isolated, an engine without what is shared or a memory of that kind", async () => {
    const names = globalThis as Record<string, unknown>;
    for (const [name, value, reason] of [
      ["crossOriginIsolated", false, /not cross-origin isolated/],
      ["SharedArrayBuffer", undefined, /no SharedArrayBuffer/],
    ] as const) {
      const before = Object.getOwnPropertyDescriptor(names, name);
      Object.defineProperty(names, name, { value, configurable: true, writable: true });
      try {
        const { init, runtimeInfo } = await copy();
        await init({ threads: 2 });
        expect(runtimeInfo().threads).toBe(1);
        expect(runtimeInfo().threadsReason).toMatch(reason);
      } finally {
        if (before) Object.defineProperty(names, name, before);
        else delete names[name];
      }
    }
  });
});

test("the file that ships is what a factory or a URL is for", { timeout: 60_000 }, async () => {
  const { init, runtimeInfo } = await copy();
  await init({ threads: 2, worker: new URL("../build/threads-worker.js", import.meta.url) });
  expect(runtimeInfo()).toMatchObject({ threads: 2, threadsReason: undefined });
});

describe("a process of its own", () => {
  const start = `import { init, runtimeInfo, BatchNorm, tensor } from "wasm-norm"; await init({ threads: 3 });
    const x = tensor([600, 512], new Float32Array(600 * 512).map((_, i) => Math.sin(i)));
    const layer = new BatchNorm(512); const show = () => layer.forward(x).toArray().slice(0, 3).join();`;
  const alone = (code: string) =>
    run(process.execPath, ["--input-type=module", "--eval", code], { cwd: new URL("..", import.meta.url) });

  test("ends by itself, though its workers were not ended", { timeout: 60_000 }, async () => {
    const { stdout } = await alone(`${start} console.log(show(), runtimeInfo().threads);`);
    expect(stdout).toMatch(/^-?[\d.,-]+ 3\n$/);
  });

  test("beside others, and in a worker of its own: each has its own threads", {
    timeout: 120_000,
  }, async () => {
    const entry = new URL("../dist/index.js", import.meta.url).href;
    const said = "console.log(show(), runtimeInfo().threads);";
    // The same program in a worker, while the thread that started it makes its own calls.
    const inside = `import(${JSON.stringify(entry)}).then(async ({ init, runtimeInfo, BatchNorm, tensor }) => {
      ${start.slice(start.indexOf("await"))} ${said} });`;
    const both = `import { setTimeout } from "node:timers/promises";
import { Worker } from "node:worker_threads"; ${start}
      new Worker(${JSON.stringify(inside)}, { eval: true }); for (let i = 0; i < 20; i++) show(); ${said}`;
    const answers = await Promise.all([alone(`${start} ${said}`), alone(both), alone(both)]);
    const lines = answers.flatMap(({ stdout }) => stdout.trim().split("\n"));
    expect(lines).toHaveLength(5);
    expect(new Set(lines).size).toBe(1);
  });
});

test("workers sleep soon after they have worked", { timeout: 60_000 }, async () => {
  const { init, shutdown } = await copy();
  await init({ threads: 3 });
  const { runtime } = await import("../src/runtime/runtime.js");
  const { words } = runtime().team as import("../src/runtime/threads/team.js").Team;
  shown(library!);
  // In a wait without an end: they use no CPU.
  const awake = () => [1, 2].filter((worker) => !Atomics.load(words, asleepOf(worker)));
  while (awake().length > 0) await setTimeout(1);
  await setTimeout(50);
  expect(awake()).toEqual([]);
  await shutdown();
});
