/** Tensors as people make, print, send and wrap them. */
import { inspect } from "node:util";
import { MessageChannel } from "node:worker_threads";
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { expectRefused, oneOfEach, refusal } from "./refusal.js";

// biome-ignore lint/suspicious/noExplicitAny: wrong values are the point
type Any = any;

let library: Library;
beforeAll(async () => {
  library = await load();
});

const six = Float32Array.of(1, 2, 3, 4, 5, 6);

describe("numbers of any kind", () => {
  const kinds: [string, unknown][] = [
    ["a plain array", [1, 2, 3, 4, 5, 6]],
    [
      "nested arrays",
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
    ],
    ["rows of typed arrays", [Float64Array.of(1, 2, 3), Int8Array.of(4, 5, 6)]],
    ["a Float64Array", Float64Array.of(1, 2, 3, 4, 5, 6)],
    ["an Int32Array", Int32Array.of(1, 2, 3, 4, 5, 6)],
    ["a Uint8Array", Uint8Array.of(1, 2, 3, 4, 5, 6)],
    ["a Uint8ClampedArray", Uint8ClampedArray.of(1, 2, 3, 4, 5, 6)],
    ["a BigInt64Array", BigInt64Array.of(1n, 2n, 3n, 4n, 5n, 6n)],
    ["a subclass of Array", class extends Array {}.from([1, 2, 3, 4, 5, 6])],
  ];
  test.each(kinds)("tensor and set take %s", (_, numbers) => {
    const made = library.tensor([2, 3], numbers as Any);
    expect(made.toArray()).toEqual(six);
    const set = library.tensor([2, 3]);
    set.set(numbers as Any);
    expect(set.toArray()).toEqual(six);
  });

  test("are rounded to float32, NaN and infinities included", () => {
    const numbers = [0.1, Number.NaN, -Infinity, 1e300];
    expect(library.tensor([4], numbers).toArray()).toEqual(Float32Array.from(numbers));
  });

  test("of no values at all fit where the shape has none", () => {
    expect(library.tensor([0, 3], []).size).toBe(0);
    expect(library.tensor([2, 0], [[], []]).size).toBe(0);
  });

  test.each<[string, unknown, RegExp]>([
    ["too few", [1, 2, 3], /6 values.*got 3/],
    ["too many", [1, 2, 3, 4, 5, 6, 7], /6 values.*got 7/],
    [
      "another nesting",
      [
        [1, 2],
        [3, 4],
        [5, 6],
      ],
      /2 parts \(shape \[2, 3\]\), got 3/,
    ],
    [
      "a ragged nesting",
      [
        [1, 2, 3],
        [4, 5],
      ],
      /(data|array)\[1\] to have 3 values, got 2/,
    ],
    [
      "one level too deep",
      [
        [[1], [2], [3]],
        [[4], [5], [6]],
      ],
      /\[0\]\[0\] to be a number/,
    ],
    ["text in it", [1, 2, 3, 4, 5, "6"], /(data|array)\[5\] to be a number, got "6"/],
    ["a bigint in a plain array", [1, 2, 3, 4, 5, 6n], /\[5\] to be a number, got 6n/],
    ["a hole", [1, 2, 3, 4, 5, undefined], /\[5\] to be a number/],
    ["an ArrayBuffer", new ArrayBuffer(24), /new Float32Array\((data|array)\)/],
    ["text", "123456", /an array of numbers, got "123456"/],
    ["a length that lies", new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 50 : 1) }), /6 values/],
    [
      "an item that throws",
      Object.defineProperty([1, 2, 3, 4, 5, 6], 3, {
        get() {
          throw new SyntaxError("mine");
        },
      }),
      /cannot be read/,
    ],
  ])("refuses %s, and changes nothing", (_, numbers, words) => {
    const before = library.runtimeInfo();
    expectRefused("Tensor", () => library.tensor([2, 3], numbers as Any), words);
    expect(library.runtimeInfo()).toEqual(before);
    const tensor = library.tensor([2, 3], six);
    expectRefused("Tensor.set", () => tensor.set(numbers as Any), words);
    expect(tensor.toArray()).toEqual(six);
  });

  test("a set that disposes of its Tensor while it is read is refused", () => {
    const tensor = library.tensor([2]);
    const numbers = Object.defineProperty([1, 2], 1, {
      get() {
        tensor.dispose();
        return 2;
      },
    });
    expect(refusal(() => tensor.set(numbers)).message).toMatch(/disposed/);
  });

  test("dtype is float32 by default, and only what is known is taken", () => {
    expect(library.tensor([1]).dtype).toBe("float32");
    expect(library.tensor([1], [2], { dtype: "float32" }).dtype).toBe("float32");
    expectRefused(
      "Tensor",
      () => library.tensor([1], [2], { dtype: "float64" } as Any),
      /dtype to be "float32"/,
    );
    expectRefused("Tensor", () => library.tensor([1], [2], { type: "float32" } as Any), /nearest is dtype/);
  });
});

describe("out of the process", () => {
  test("JSON has shape, type and values, and comes back", () => {
    const json = JSON.stringify({ x: library.tensor([2, 3], six) });
    expect(JSON.parse(json)).toEqual({ x: { shape: [2, 3], dtype: "float32", data: [1, 2, 3, 4, 5, 6] } });
    const { shape, data } = JSON.parse(json).x;
    expect(library.tensor(shape, data).toArray()).toEqual(six);
  });

  test("cloning and sending are errors that say what to send", () => {
    const tensor = library.tensor([2, 3], six);
    const { port1, port2 } = new MessageChannel();
    for (const send of [
      () => structuredClone(tensor),
      () => structuredClone({ deep: [tensor] }),
      () => port1.postMessage(tensor),
    ]) {
      const error = refusal(send);
      expect(error.name).toBe("DataCloneError");
      expect(error.message).toMatch(/toArray\(\) and tensor\.shape/);
    }
    port1.close();
    port2.close();
    expect(structuredClone(tensor.toArray())).toEqual(six);
    expect(tensor.toArray().buffer.byteLength).toBe(24);
  });

  test("printing shows shape, type and the first values", () => {
    expect(inspect(library.tensor([2, 3], six))).toBe("Tensor float32 [2, 3] { 1, 2, 3, 4, 5, 6 }");
    expect(inspect({ x: library.tensor([3], [0.1, Number.NaN, -Infinity]) })).toMatch(
      "Tensor float32 [3] { 0.1, NaN, -Infinity }",
    );
    const long = library.tensor([100]);
    expect(inspect(long)).toBe("Tensor float32 [100] { 0, 0, 0, 0, 0, 0, 0, 0, … }");
    long.dispose();
    expect(inspect(long)).toBe("Tensor float32 [100] (disposed)");
  });
});

describe("of another copy of the package", () => {
  test("is refused in words, by layers and by Tensors", async () => {
    const there = await load();
    const foreign = there.tensor([6, 4], normals(24, 1)) as Any;
    for (const { who, layer } of oneOfEach(library)) {
      expectRefused(who, () => layer.forward(foreign), /another copy of wasm-norm/, /x\.toArray\(\)/);
    }
    expectRefused("Tensor", () => library.tensor([6, 4], foreign), /another copy/, /data\.toArray\(\)/);
    expectRefused(
      "SGD",
      () => new library.SGD([{ data: foreign, grad: foreign }], { lr: 1 }),
      /another copy/,
    );
  });

  test("one of this copy in an array's place is told from it", () => {
    const tensor = library.tensor([2], [1, 2]) as Any;
    const parameter = { data: tensor, grad: new Float32Array(2) };
    expectRefused("SGD", () => new library.SGD([parameter], { lr: 1 }), /pass parameters\[0\]\.data\.data/);
  });
});

describe("wrapped by a reactive framework", () => {
  const wrap = (tensor: InstanceType<Library["Tensor"]>) => new Proxy(tensor, {});

  test("every method says what to do", () => {
    const proxy = wrap(library.tensor([2, 3], six)) as Any;
    for (const use of [
      () => proxy.shape,
      () => proxy.size,
      () => proxy.dtype,
      () => proxy.data,
      () => proxy.set(six),
      () => proxy.toArray(),
      () => proxy.toJSON(),
      () => proxy.dispose(),
      () => proxy[Symbol.dispose](),
    ]) {
      const error = refusal(use);
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toMatch(/^Tensor: expected a Tensor itself, got a Proxy of it: .*markRaw.*toRaw/);
    }
  });

  test("a layer says the same of it", () => {
    const proxy = wrap(library.tensor([6, 4], normals(24, 1)));
    for (const { who, layer } of oneOfEach(library)) {
      expectRefused(who, () => layer.forward(proxy), /got a Proxy of it/, /toRaw/);
    }
  });

  test("Vue's reactive leaves it out, by the mark that markRaw sets", () => {
    expect((library.tensor([1]) as Any).__v_skip).toBe(true);
    expect(Object.keys(library.tensor([1]))).not.toContain("__v_skip");
  });
});
