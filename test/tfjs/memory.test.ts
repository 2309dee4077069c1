/** The wasm backend's memory: its growth, what lies beside tensors, and builds whose memory the kernels cannot run in. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { runtimeInfo } from "../../src/index.js";
import { install, type Uninstall } from "../../src/tfjs.js";
import { forward, geometry, statistics } from "../reference.js";
import { gap, read, sizeOf, tf, use, values } from "./setup.js";

interface Wasm {
  asm: { memory?: WebAssembly.Memory };
  HEAPF32: Float32Array;
  _malloc(bytes: number): number;
  _free(address: number): void;
}
const wasmOf = () => (tf.backend() as unknown as { wasm: Wasm }).wasm;

describe("on wasm", () => {
  let uninstall: Uninstall;
  beforeAll(async () => {
    await use("wasm");
    uninstall = await install(tf);
  });
  afterAll(() => uninstall());

  test("memory may grow before, between and in calls", () => {
    const { memory } = wasmOf().asm;
    const layer = tf.layers.batchNormalization();
    const sizes: number[] = [];
    const gradient = tf.grad((x: tf.Tensor) =>
      tf.sum(tf.square(layer.apply(x, { training: true }) as tf.Tensor)),
    );
    const filler: tf.Tensor[] = [];
    for (const rows of [1, 40, 1000, 9000, 30000, 5]) {
      const x = values(rows * 64, rows, 1, 3);
      const at = tf.tensor(x, [rows, 64]);
      layer.apply(at);
      for (const weight of layer.weights.slice(2)) weight.write(tf.ones([64]));
      const s = statistics(x, geometry([rows, 64], [1], [1]), { eps: 1e-3 });
      const y = layer.apply(at, { training: true }) as tf.Tensor;
      expect(gap(read(y), forward(x, geometry([rows, 64], [1], [1]), s).y)).toBeLessThan(3e-7);
      expect(gradient(at).shape).toEqual([rows, 64]);
      sizes.push(memory!.buffer.byteLength);
      filler.push(tf.zeros([2 ** 20 * (filler.length + 1)]));
    }
    expect(sizes.at(-1)).toBeGreaterThan(sizes[0]!);
    tf.dispose(filler);
  });

  test("nothing beside a tensor is written", () => {
    const wasm = wasmOf();
    for (const shape of [
      [3, 5],
      [7, 33],
      [5, 3, 7],
      [2, 3, 3, 9],
    ]) {
      for (const axis of [1, shape.length - 1]) {
        for (const layer of [
          tf.layers.batchNormalization({ axis }),
          tf.layers.layerNormalization({ axis }),
        ]) {
          layer.apply(tf.zeros(shape));
          // Blocks of the sizes that the call asks for, marked and freed, are what malloc gives it; the marks between stay.
          const blocks = Array.from({ length: 64 }, () => wasm._malloc(4 * sizeOf(shape)));
          for (const at of blocks) wasm.HEAPF32.fill(7, at / 4, at / 4 + sizeOf(shape));
          for (const at of blocks.filter((_, i) => i % 2)) wasm._free(at);
          const x = tf.tensor(values(sizeOf(shape), 1), shape);
          tf.grad((at: tf.Tensor) => tf.sum(tf.square(layer.apply(at, { training: true }) as tf.Tensor)))(x);
          const kept = blocks.filter((_, i) => i % 2 === 0);
          for (const at of kept)
            expect(wasm.HEAPF32.subarray(at / 4, at / 4 + sizeOf(shape)).every((value) => value === 7)).toBe(
              true,
            );
          for (const at of kept) wasm._free(at);
        }
      }
    }
  });

  test("what is left after uninstall is what was there", async () => {
    uninstall();
    const wasm = wasmOf();
    // Emscripten's malloc gives the lowest block that fits: the same one again if all was given back.
    const probe = () => {
      const at = wasm._malloc(2 ** 22);
      wasm._free(at);
      return at;
    };
    const layer = tf.layers.layerNormalization();
    const x = tf.zeros([512, 256]);
    const call = () => tf.tidy(() => void layer.apply(x));
    call();
    const before = probe();
    uninstall = await install(tf);
    call();
    uninstall();
    expect(probe()).toBe(before);
    uninstall = await install(tf);
  });

  test("where the memory is out of reach, tensors are copied", () => {
    const { asm } = wasmOf();
    const { bytesInUse } = runtimeInfo();
    const wasm = wasmOf() as { asm?: unknown };
    // The backend itself calls its exports there.
    wasm.asm = Object.create(asm, { memory: { value: undefined } });
    try {
      const x = values(60, 1);
      const layer = tf.layers.layerNormalization({ epsilon: 1e-5 });
      const g = geometry([10, 6], [0], [1]);
      const at = tf.tensor(x, [10, 6]);
      const s = statistics(x, g, { eps: 1e-5 });
      expect(gap(read(layer.apply(at)), forward(x, g, s).y)).toBeLessThan(3e-7);
      const f = (a: tf.Tensor) => tf.sum(tf.square(layer.apply(a) as tf.Tensor));
      const dx = read(tf.grad(f)(at));
      wasm.asm = asm;
      expect(dx).toEqual(read(tf.grad(f)(at)));
    } finally {
      wasm.asm = asm;
    }
    expect(runtimeInfo().bytesInUse).toBe(bytesInUse);
  });
});
