/**
 * What a service sees that runs for months: nothing piles up, what is dropped comes back, what is in use does not go
 * away.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { naming, oneOfEach, refusal } from "./refusal.js";

/** Fewer where every load and store is a call. */
const STEPS = process.env.CHECKED ? 20_000 : 1_000_000;
const PAGE = 65536;

setFlagsFromString("--expose-gc");
const gc = runInNewContext("gc") as () => void;

/** Collects what is unreachable, and lets the finalizers run, which engines do when they please. */
async function collect(done: () => boolean = () => false): Promise<void> {
  for (let round = 0; round < 50 && !done(); round++) {
    gc();
    await setTimeout(1);
  }
}

let library: Library;
beforeEach(async () => {
  library = await load();
});
afterEach(() => {
  vi.restoreAllMocks();
});

test("steps of forward, backward and optimizer leave memory where it was", { timeout: 600_000 }, async () => {
  const { BatchNorm, LayerNorm, SGD, AdamW, tensor, runtimeInfo } = library;
  const [first, second] = [new BatchNorm(6), new LayerNorm(6, { activation: "relu" })];
  const optimizers = [
    new SGD(first.parameters(), { lr: 1e-3, momentum: 0.9 }),
    new AdamW(second.parameters(), { lr: 1e-3 }),
  ];
  const shape = [9, 6];
  const [x, h, y, dy, dh, dx] = [
    tensor(shape, normals(54, 1)),
    ...[2, 3, 4, 5, 6].map(() => tensor(shape)),
  ] as const;
  dy!.set(normals(54, 2));
  const step = () => {
    first.forwardInto(x, h!);
    second.forwardInto(h!, y!);
    second.backwardInto(dy!, dh!);
    first.backwardInto(dh!, dx!);
    for (const optimizer of optimizers) {
      optimizer.step();
      optimizer.zeroGrad();
    }
  };
  const measure = async () => {
    for (let round = 0; round < 4; round++) {
      gc();
      await setTimeout(1);
    }
    const { heapUsed, rss } = process.memoryUsage();
    const { bytesInUse, memoryBytes, tensors } = runtimeInfo();
    return { heapUsed, rss, held: { bytesInUse, memoryBytes, tensors } };
  };
  for (let i = 0; i < 1000; i++) step();
  const before = await measure();
  for (let i = 1000; i < STEPS; i++) step();
  const after = await measure();
  expect(after.held).toEqual(before.held);
  // 8 bytes a step would be 8 MB over a million
  expect(after.heapUsed - before.heapUsed).toBeLessThan(2e6);
  // the engine's own: code that it optimizes, pages of young objects that it keeps
  expect(after.rss - before.rss).toBeLessThan(64e6);
  expect(y!.toArray().every(Number.isFinite)).toBe(true);
});

describe("what is dropped without disposal", () => {
  test("layers and Tensors come back", async () => {
    const { BatchNorm, tensor, runtimeInfo } = library;
    const before = runtimeInfo();
    (() => {
      for (let i = 0; i < 100; i++) {
        const layer = new BatchNorm(3);
        layer.backward(layer.forward(tensor([4, 3])));
      }
    })();
    expect(runtimeInfo().tensors).toBe(before.tensors + 300);
    await collect(() => runtimeInfo().bytesInUse === before.bytesInUse);
    expect(runtimeInfo()).toEqual({ ...before, memoryBytes: runtimeInfo().memoryBytes });
  });

  test("optimizers hold nothing of linear memory", async () => {
    const { BatchNorm, AdamW, runtimeInfo } = library;
    const { bytesInUse } = runtimeInfo();
    new AdamW(new BatchNorm(3).parameters()).step();
    expect(runtimeInfo().bytesInUse).toBe(bytesInUse);
  });

  test("a Tensor that could not be made is not counted, then or when it is collected", async () => {
    const { tensor, runtimeInfo } = library;
    tensor([1]);
    const { tensors } = runtimeInfo();
    for (let i = 0; i < 20; i++) expect(() => tensor([2 ** 40])).toThrow(RangeError);
    expect(runtimeInfo().tensors).toBe(tensors);
    await collect(() => runtimeInfo().tensors !== tensors);
    expect(runtimeInfo().tensors).toBeLessThanOrEqual(tensors);
    expect(runtimeInfo().tensors).toBeGreaterThanOrEqual(tensors - 1);
  });
});

describe("what is in use stays, though its Tensor was dropped", () => {
  /** Allocates over whatever was freed. */
  const overwrite = (size: number) => {
    for (let i = 0; i < 50; i++) library.tensor([size]).data.fill(1e6);
  };

  test("x, until backward", async () => {
    const x = normals(400, 1);
    const dy = normals(400, 2);
    for (const affine of [true, false]) {
      const [layer, twin] = [1, 2].map(() => new library.BatchNorm(4, { affine })) as [
        InstanceType<Library["BatchNorm"]>,
        InstanceType<Library["BatchNorm"]>,
      ];
      twin.forward(x);
      (() => layer.forward(library.tensor([100, 4], x)))();
      await collect();
      overwrite(400);
      expect(layer.backward(dy)).toEqual(twin.backward(dy));
    }
  });

  test("a view", async () => {
    // room enough: growth would detach it, as the interface says
    library.tensor([1e6]).dispose();
    const values = normals(400, 1);
    const view = (() => library.tensor([400], values).data)();
    await collect();
    overwrite(400);
    expect(view).toEqual(values);
  });
});

describe("memory that grows within a call", () => {
  /** A Tensor's view, with no room left for anything of `bytes`, so that the next call has to grow. */
  function views(bytes: number, ...values: Float32Array[]): Float32Array[] {
    const { tensor, runtimeInfo } = library;
    const made = values.map((each) => tensor([each.length], each));
    kept.push(...made);
    const { memoryBytes } = runtimeInfo();
    for (let size = memoryBytes; size >= bytes; size /= 2) {
      while (runtimeInfo().memoryBytes === memoryBytes) {
        const filler = tensor([size / 4]);
        if (runtimeInfo().memoryBytes === memoryBytes) kept.push(filler);
        else {
          // it grew: start over, on a memory that is full but for that
          filler.dispose();
          return fill(bytes, made);
        }
      }
    }
    return made.map(({ data }) => data as Float32Array);
  }
  const kept: unknown[] = [];

  /** Takes the largest blocks that fit without growth, until only less than `bytes` are free. */
  function fill(bytes: number, made: InstanceType<Library["Tensor"]>[]): Float32Array[] {
    const { tensor, runtimeInfo } = library;
    const { memoryBytes } = runtimeInfo();
    const free = () => memoryBytes - runtimeInfo().bytesInUse;
    while (free() > bytes + 4096) kept.push(tensor([Math.floor((free() - bytes) / 8)]));
    expect(runtimeInfo().memoryBytes).toBe(memoryBytes);
    return made.map(({ data }) => data as Float32Array);
  }

  test("and takes x, out, dy and dx with it, where they are views of Tensors", () => {
    const n = 40_000;
    const [x, dy] = [normals(n, 1), normals(n, 2)];
    for (const mode of ["train", "eval"] as const) {
      const twin = new library.BatchNorm(4)[mode]();
      const want = { y: twin.forward(x), dx: twin.backward(dy) };

      const layer = new library.BatchNorm(4)[mode]();
      const { memoryBytes } = library.runtimeInfo();
      const [from, out] = views(4 * n, x, new Float32Array(n));
      const grown = () => library.runtimeInfo().memoryBytes > memoryBytes;
      layer.forwardInto(from!, out!);
      expect(grown()).toBe(true);
      expect(from).toHaveLength(0);
      const [y] = (kept as InstanceType<Library["Tensor"]>[]).filter((each) => each.size === n).slice(-1);
      expect(y!.toArray()).toEqual(want.y);

      const [gradient, dx] = views(4 * n, dy, new Float32Array(n));
      layer.backwardInto(gradient!, dx!);
      const [back] = (kept as InstanceType<Library["Tensor"]>[]).filter((each) => each.size === n).slice(-1);
      expect(back!.toArray()).toEqual(want.dx);
      kept.length = 0;
    }
  });
});

describe("memory that cannot grow", () => {
  async function full(): Promise<void> {
    library = await load();
    await library.init({ maxMemory: 16 * PAGE });
  }

  /** Layers and a Tensor made before, and what each of them gives. */
  function furnish() {
    const tensor = library.tensor([6, 4], normals(24, 3));
    const layers = oneOfEach(library);
    const run = () =>
      layers.map(({ layer, shape }) => {
        const y = layer.forward(normals(24, 1), shape);
        const dx = layer.backward(normals(24, 2));
        layer.zeroGrad();
        return [y, dx];
      });
    return { tensor, run, want: run() };
  }

  const huge = 20 * PAGE;

  test.each(["its maximum", "the engine's refusal"])(
    "because of %s: the error says how much, all else goes on",
    async (why) => {
      await full();
      const { tensor, run, want } = furnish();
      if (why !== "its maximum") {
        vi.spyOn(WebAssembly.Memory.prototype, "grow").mockImplementation(() => {
          throw new RangeError("WebAssembly.Memory.grow(): Unable to grow instance memory");
        });
      }
      const { memoryBytes, bytesInUse, tensors } = library.runtimeInfo();
      const size = why === "its maximum" ? huge : memoryBytes;
      const calls = [
        () => library.tensor([size / 4]),
        () => new library.BatchNorm(4).forward(new Float32Array(size / 4), [size / 16, 4]),
        () => new library.LayerNorm(4).forwardInto(new Float32Array(size / 4), new Float32Array(size / 4)),
        () => new library.BatchNorm(size / 4).forward(new Float32Array(size / 2)),
      ];
      for (const call of calls) {
        const error = refusal(call);
        expect(error).toBeInstanceOf(RangeError);
        expect(error.message).toMatch(naming("wasm-norm"));
        const [have, used, wanted] = error.message.match(/\d+/g)!.map(Number);
        expect(have).toBe(memoryBytes);
        expect(used).toBeGreaterThanOrEqual(bytesInUse);
        expect(wanted).toBeGreaterThan(memoryBytes);
        expect(library.runtimeInfo()).toMatchObject({ memoryBytes, bytesInUse, tensors });
      }
      expect(tensor.toArray()).toEqual(normals(24, 3));
      expect(run()).toEqual(want);
    },
  );

  test("freeing makes room again", async () => {
    await full();
    const { run, want } = furnish();
    const held: InstanceType<Library["Tensor"]>[] = [];
    const make = () => {
      for (;;) held.push(library.tensor([PAGE / 8]));
    };
    expect(make).toThrow(RangeError);
    const most = held.length;
    expect(most).toBeGreaterThan(10);
    expect(run()).toEqual(want);
    for (const each of held.splice(0)) each.dispose();
    expect(make).toThrow(RangeError);
    expect(held.length).toBe(most);
  });
});

const dist = new URL("../dist/index.cjs", import.meta.url);
describe.runIf(existsSync(dist))("sixty copies of the package in one process", () => {
  const run = (limit: string) => {
    const program = `
      const said = {};
      const held = [];
      for (let i = 0; i < 60; i++) {
        for (const key of Object.keys(require.cache)) delete require.cache[key];
        const { BatchNorm, tensor } = require(${JSON.stringify(dist.pathname)});
        let message = "ok";
        try {
          held.push(new BatchNorm(4).forward(tensor([1000, 4])));
        } catch (error) {
          message = error.name + ": " + error.message;
        }
        said[message] = (said[message] ?? 0) + 1;
      }
      console.log(JSON.stringify({ said, alive: held.every((y) => y.data.length === 4000) }));`;
    const shell = `ulimit -v ${limit}; exec ${JSON.stringify(process.execPath)} -e "$PROGRAM"`;
    return JSON.parse(
      execFileSync("bash", ["-c", shell], { encoding: "utf8", env: { ...process.env, PROGRAM: program } }),
    ) as { said: Record<string, number>; alive: boolean };
  };

  test("all run where addresses are plenty", () => {
    expect(run("unlimited")).toEqual({ said: { ok: 60 }, alive: true });
  });

  test("are refused in words where addresses run out, and those before go on", () => {
    const { said, alive } = run("60000000");
    const { ok, ...refused } = said;
    expect(ok).toBeGreaterThan(0);
    expect(alive).toBe(true);
    expect(Object.keys(refused)).toEqual([
      expect.stringMatching(
        /^RangeError: wasm-norm: the engine refused a memory .* bytes .*; init\(\{ maxMemory/,
      ),
    ]);
  });
});
