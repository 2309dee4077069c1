/** Arrays whose memory changes its length: another thread grows it during a call, or it is resized between two. */
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { checkAttached, copyFrom, copyInto, copyOf, fixed, given } from "../src/arrays.js";
import { type Library, load, normals } from "./cases.js";
import { refusal } from "./refusal.js";

// ES2024's growable memory, which the compiler's library does not know yet
type Growable = SharedArrayBuffer & { grow(bytes: number): void };
type Resizable = ArrayBuffer & { resize(bytes: number): void };
const growable = (bytes: number, maxByteLength: number) =>
  new (SharedArrayBuffer as unknown as new (bytes: number, options: object) => Growable)(bytes, {
    maxByteLength,
  });
const resizable = (bytes: number, maxByteLength: number) =>
  new (ArrayBuffer as unknown as new (bytes: number, options: object) => Resizable)(bytes, { maxByteLength });

describe("a length that was judged stays", () => {
  for (const length of [8, 40]) {
    test(`copies ${length} values and no more once there are twice as many`, () => {
      for (const grow of ["growable", "resizable"] as const) {
        const bytes = 4 * length;
        const memory = grow === "growable" ? growable(bytes, 2 * bytes) : resizable(bytes, 2 * bytes);
        const array = new Float32Array(memory);
        array.fill(1);
        const linear = new Float32Array(4 * length);
        const operand = given(array, linear);
        const view = fixed(array);
        if ("grow" in memory) memory.grow(2 * bytes);
        else memory.resize(2 * bytes);
        array.fill(2, length);
        expect(array).toHaveLength(2 * length);
        expect([operand.size, operand.array.length, view.length]).toEqual([length, length, length]);

        const ones = new Float32Array(4 * length).fill(1, 0, length);
        copyInto(linear, array, 0, length);
        expect(linear).toEqual(ones);
        copyInto(linear.fill(0), operand.array as Float32Array);
        expect(linear).toEqual(ones);
        expect(copyOf(array, length)).toEqual(new Float32Array(length).fill(1));

        copyFrom(new Float32Array(2 * length).fill(3), 0, array, length);
        expect([...array]).toEqual([...new Float32Array(2 * length).fill(2).fill(3, 0, length)]);
      }
    });
  }

  test("an array of fixed length is taken as it is", () => {
    const array = new Float32Array(4);
    expect(fixed(array)).toBe(array);
    const shared = new Float32Array(new SharedArrayBuffer(16));
    expect(fixed(shared)).toBe(shared);
  });

  test("a subclass of shared memory that says what it is not is seen through", () => {
    const memory = growable(128, 256);
    Object.setPrototypeOf(memory, ArrayBuffer.prototype);
    const array = new Float32Array(memory);
    const view = fixed(array);
    Object.setPrototypeOf(memory, SharedArrayBuffer.prototype);
    memory.grow(256);
    expect([array.length, view.length]).toEqual([64, 32]);
  });
});

describe("memory that is gone", () => {
  const gone: [string, () => Float32Array][] = [
    [
      "transferred",
      () => {
        const array = new Float32Array(4);
        structuredClone(array.buffer, { transfer: [array.buffer] });
        return array;
      },
    ],
    [
      "transferred when empty",
      () => {
        const array = new Float32Array(0);
        structuredClone(array.buffer, { transfer: [array.buffer] });
        return array;
      },
    ],
    [
      "resized away",
      () => {
        const memory = resizable(16, 16);
        const array = new Float32Array(memory, 8, 2);
        memory.resize(4);
        return array;
      },
    ],
  ];
  test.each(gone)("is refused in words: %s", async (_, make) => {
    expect(refusal(() => checkAttached("A", "x", make())).message).toMatch(
      /^A: expected x with its memory, got one that is detached/,
    );
    const library = await load();
    const layer = new library.LayerNorm(4);
    for (const call of [
      () => layer.forward(make(), [0, 4]),
      () => layer.forwardInto(new Float32Array(0), make(), [0, 4]),
      () => library.tensor([0], make()),
      () => library.tensor([0]).set(make()),
    ]) {
      expect(refusal(call).message).toMatch(/detached/);
    }
  });

  test("an array that never had values is none of these", () => {
    expect(() => checkAttached("A", "x", new Float32Array(0))).not.toThrow();
  });
});

describe("another thread grows the memory during a call", () => {
  const ROUNDS = 400;
  const SIZE = 96;
  const shape = [24, 4];
  const rooms = () => Array.from({ length: ROUNDS }, () => growable(4 * SIZE, 16 * SIZE));
  let library: Library;
  let worker: Worker;
  const turn = new Int32Array(new SharedArrayBuffer(4));

  beforeAll(async () => {
    library = await load();
    worker = new Worker(
      `const { parentPort } = require("node:worker_threads");
       parentPort.on("message", ({ rooms, turn, bytes }) => {
         parentPort.postMessage("ready");
         for (let i = 0; i < rooms.length; i++) {
           while (Atomics.load(turn, 0) <= i);
           for (let spin = (i * 7919) % 400; spin > 0; spin--);
           rooms[i].grow(bytes);
         }
         parentPort.postMessage("done");
       });`,
      { eval: true },
    );
  });
  afterAll(async () => {
    await worker.terminate();
  });

  /** Calls `use` with each room, once in peace and then while the other thread grows it until it is as large as it will be. */
  async function race(use: (array: Float32Array) => void): Promise<void> {
    const all = rooms();
    Atomics.store(turn, 0, 0);
    const answer = () => new Promise((resolve) => worker.once("message", resolve));
    const ready = answer();
    worker.postMessage({ rooms: all, turn, bytes: 16 * SIZE });
    await ready;
    const done = answer();
    try {
      for (const [i, room] of all.entries()) {
        const array = new Float32Array(room);
        array.set(normals(SIZE, 1));
        use(array);
        Atomics.store(turn, 0, i + 1);
        while (room.byteLength === 4 * SIZE) {
          try {
            use(array);
          } catch (error) {
            expect((error as Error).message).toMatch(/: expected .* to have 96 values/);
          }
        }
      }
    } finally {
      Atomics.store(turn, 0, ROUNDS);
      await done;
    }
  }

  /** Tensors of NaN around a place, which any value written past it would spoil. */
  function guarded<T>(make: () => T): { made: T; intact: () => boolean } {
    const nan = new Float32Array(512).fill(Number.NaN);
    const before = library.tensor([512], nan);
    const made = make();
    const after = library.tensor([512], nan);
    return { made, intact: () => [before, after].every(({ data }) => data.every(Number.isNaN)) };
  }

  test("Tensor.set writes its own values and no others", async () => {
    const { made, intact } = guarded(() => library.tensor([SIZE]));
    await race((array) => made.set(array));
    expect(intact()).toBe(true);
    expect(made.toArray()).toEqual(normals(SIZE, 1));
  });

  test("forward and backward read x and dy within their places", async () => {
    const { made: layer, intact } = guarded(() => {
      const made = new library.BatchNorm(4);
      made.backward(made.forward(new Float32Array(SIZE).fill(1), shape));
      return made;
    });
    await race((array) => {
      layer.forward(array, shape);
      layer.backward(array);
    });
    expect(intact()).toBe(true);
  });

  test("forwardInto writes as many values as the shape has", async () => {
    const layer = new library.LayerNorm(4);
    const x = library.tensor(shape, normals(SIZE, 2));
    const outs = new Set<Float32Array>();
    await race((array) => {
      outs.add(array);
      layer.forwardInto(x, array, shape);
    });
    const beyond = [...outs].filter((out) => out.subarray(SIZE).some((value) => value !== 0));
    expect(beyond).toEqual([]);
  });

  test("gamma, beta and their gradients are read and written by their length", async () => {
    const layer = new library.LayerNorm(SIZE);
    const { intact } = guarded(() => layer.backward(layer.forward(normals(2 * SIZE, 3))));
    const optimizer = new library.SGD(layer.parameters(), { lr: 0.1 });
    const arrays = new Set<Float32Array>();
    const own = layer.gamma!.grad;
    await race((array) => {
      arrays.add(array);
      layer.gamma!.grad = array;
      layer.backward(layer.forward(normals(2 * SIZE, 3)));
      optimizer.step();
      optimizer.zeroGrad();
    });
    layer.gamma!.grad = own;
    expect(intact()).toBe(true);
    const beyond = [...arrays].filter((array) => array.subarray(SIZE).some((value) => value !== 0));
    expect(beyond).toEqual([]);
  });
});
