/** Tensors and arrays of 16 bits: how values get in and out, and what calls make of them. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { bitsOf, HALVES, type Half, meaning, nearest } from "./halves.js";

/** biome-ignore lint/suspicious/noExplicitAny: what no type allows is given on purpose. */
type Any = any;

const { Float16Array: Float16 } = globalThis as { Float16Array?: Float32ArrayConstructor };

describe("16-bit Tensors", () => {
  let library: Library;
  beforeAll(async () => {
    library = await load();
  });
  const bits = (tensor: { data: unknown }) => {
    const { buffer, byteOffset, length } = tensor.data as Uint16Array;
    return new Uint16Array(buffer, byteOffset, length);
  };

  test.each(HALVES)("%s: numbers are rounded once, from float64", (dtype) => {
    const unit = dtype === "float16" ? 2 ** -10 : 2 ** -7;
    const values = [
      // A tie but for what float32 does not hold: rounded twice it would go to the even one.
      1 + unit / 2 + 2 ** -40,
      -(1 + (3 * unit) / 2 - 2 ** -40),
      1 + unit / 2,
      1e-60,
      -1e-60,
      -0,
      1e300,
      3e-6,
      Number.NaN,
      Number.NEGATIVE_INFINITY,
    ];
    const tensor = library.tensor([10], values, { dtype });
    expect([...tensor.toArray()]).toEqual(values.map((value) => nearest(dtype, value)));
    expect([...bits(tensor)].map((value) => meaning(dtype, value))).toEqual(
      values.map((value) => nearest(dtype, value)),
    );
  });

  test.each(HALVES)("%s: float32 of more than one stretch, in and out", (dtype) => {
    const values = normals(40_000, 3);
    const tensor = library.tensor([200, 200], values, { dtype });
    const want = values.map((value) => nearest(dtype, value));
    expect(tensor.toArray()).toEqual(want);
    tensor.set(values.map((value) => -value));
    expect(tensor.toArray()).toEqual(want.map((value) => -value));
    tensor.dispose();
  });

  test.each(HALVES)("%s: bits in a Uint16Array are the values", (dtype) => {
    const given = Uint16Array.from([1.5, -2, 0.25, 1e-7], (value) => bitsOf(dtype, nearest(dtype, value)));
    const tensor = library.tensor([2, 2], given, { dtype });
    expect(bits(tensor)).toEqual(given);
    expect([...tensor.toArray()]).toEqual([...given].map((value) => meaning(dtype, value)));
    tensor.set([
      [1, 2],
      [3, 4],
    ]);
    expect([...tensor.toArray()]).toEqual([1, 2, 3, 4]);
    tensor.set(given);
    expect(bits(tensor)).toEqual(given);
    // In a Tensor of float32 they are whole numbers, as ever.
    expect([...library.tensor([2], Uint16Array.of(3, 4)).data]).toEqual([3, 4]);
  });

  test("bits that say of themselves that they are another type's are refused", () => {
    const kept = Object.assign(Uint16Array.of(1, 2), { dtype: "BF16" });
    expect(() => library.tensor([2], kept, { dtype: "float16" })).toThrow(
      new RangeError('Tensor: expected data to be bits of float16, got "BF16"'),
    );
    expect(library.tensor([2], kept, { dtype: "bfloat16" }).dtype).toBe("bfloat16");
  });

  test("what a Tensor says of itself", () => {
    const tensor = library.tensor([3], [1, 2.00001, -3], { dtype: "bfloat16" });
    expect(JSON.stringify(tensor)).toBe('{"shape":[3],"dtype":"bfloat16","data":[1,2,-3]}');
    expect((tensor as Any)[Symbol.for("nodejs.util.inspect.custom")]()).toBe(
      "Tensor bfloat16 [3] { 1, 2, -3 }",
    );
    expect(tensor.data).toBeInstanceOf(Uint16Array);
    const half = library.tensor([3], [1, 2, 3], { dtype: "float16" });
    if (Float16) expect(half.data).toEqual(Float16.of(1, 2, 3));
    else expect(half.data).toEqual(Uint16Array.of(0x3c00, 0x4000, 0x4200));
  });

  test("it takes half the room, and gives it back", () => {
    const before = library.runtimeInfo().bytesInUse;
    const tensor = library.tensor([1000, 500], undefined, { dtype: "bfloat16" });
    const taken = library.runtimeInfo().bytesInUse - before;
    expect(taken).toBeGreaterThanOrEqual(1_000_000);
    expect(taken).toBeLessThan(1_010_000);
    tensor.dispose();
    expect(library.runtimeInfo().bytesInUse).toBe(before);
  });

  test("wrong data is refused, and changes nothing", () => {
    const tensor = library.tensor([2], [1, 2], { dtype: "float16" });
    expect(() => tensor.set(Uint16Array.of(1, 2, 3))).toThrow(RangeError);
    expect(() => tensor.set(["1", "2"] as Any)).toThrow(TypeError);
    expect([...tensor.toArray()]).toEqual([1, 2]);
    expect(() => library.tensor([1], [1], { dtype: "float8" as Any })).toThrow(
      'expected dtype to be "float32", "float16" or "bfloat16"',
    );
  });

  test("a Uint16Array as a minibatch is refused with the way to a Tensor", () => {
    const layer = new library.LayerNorm(4);
    expect(() => layer.forward(new Uint16Array(4) as Any)).toThrow("tensor(shape, x, { dtype })");
  });
});

describe("calls on 16-bit minibatches", () => {
  let library: Library;
  beforeAll(async () => {
    library = await load();
  });
  const shape = [6, 16];
  const rounded = (half: Half, seed: number) => normals(96, seed).map((value) => nearest(half, value));

  test.each(HALVES)("%s: what comes back has the type of what was given", (dtype) => {
    const layer = new library.LayerNorm(16);
    const y = layer.forward(library.tensor(shape, rounded(dtype, 1), { dtype }));
    expect(y.dtype).toBe(dtype);
    expect(layer.backward(library.tensor(shape, rounded(dtype, 2))).dtype).toBe("float32");
    layer.forward(library.tensor(shape, rounded(dtype, 1)));
    expect(layer.backward(library.tensor(shape, rounded(dtype, 2), { dtype })).dtype).toBe(dtype);
  });

  test.each(HALVES)("%s: a call that is like the last but for the type is another call", (dtype) => {
    const values = rounded(dtype, 1);
    const layer = new library.BatchNorm(16);
    const wide = [library.tensor(shape, values), library.tensor(shape)] as const;
    const narrow = [
      library.tensor(shape, values, { dtype }),
      library.tensor(shape, undefined, { dtype }),
    ] as const;
    const want = layer.forward(values, shape);
    const half = want.map((value) => nearest(dtype, value));
    for (const [x, out] of [
      wide,
      wide,
      narrow,
      narrow,
      wide,
      [wide[0], narrow[1]],
      [narrow[0], wide[1]],
    ] as const) {
      expect(layer.forwardInto(x, out as typeof x).toArray()).toEqual(out.dtype === "float32" ? want : half);
    }
  });

  test.each(HALVES)("%s: backward widens x again, as it must stay unchanged until then", (dtype) => {
    const x = library.tensor(shape, rounded(dtype, 1), { dtype });
    const dy = rounded(dtype, 2);
    const layer = new library.RMSNorm(16);
    layer.forward(rounded(dtype, 1), shape);
    const want = layer.backward(dy);
    const other = new library.RMSNorm(16);
    other.forward(x);
    expect(other.backward(dy)).toEqual(want);
    other.forward(x);
    x.dispose();
    expect(() => other.backward(dy)).toThrow(TypeError);
  });

  test.each(HALVES)("%s: in place", (dtype) => {
    const values = rounded(dtype, 1);
    const layer = new library.GroupNorm(2, 16).eval();
    const want = layer.forward(values, shape).map((value) => nearest(dtype, value));
    const x = library.tensor(shape, values, { dtype });
    expect(layer.forwardInto(x, x)).toBe(x);
    expect(x.toArray()).toEqual(want);
    expect(() => layer.backward(values)).toThrow(/has overwritten it/);
    layer.train().forward(values, shape);
    const dx = layer.backward(rounded(dtype, 2), { retain: true }).map((value) => nearest(dtype, value));
    const dy = library.tensor(shape, rounded(dtype, 2), { dtype });
    layer.backwardInto(dy, dy);
    expect(dy.toArray()).toEqual(dx);
  });

  test("masks", () => {
    const mask = Uint8Array.of(1, 0, 1, 1, 0, 1);
    for (const dtype of HALVES) {
      const values = rounded(dtype, 1);
      const layer = new library.BatchNorm(16, { activation: "silu" });
      const want = layer.forward(values, { shape, mask }).map((value) => nearest(dtype, value));
      const wantDx = layer.backward(rounded(dtype, 2)).map((value) => nearest(dtype, value));
      const y = layer.forward(library.tensor(shape, values, { dtype }), { mask });
      expect(y.toArray()).toEqual(want);
      expect(layer.backward(library.tensor(shape, rounded(dtype, 2), { dtype })).toArray()).toEqual(wantDx);
    }
  });

  test("a Float16Array, where the platform has it", () => {
    const layer = new library.GroupNorm(2, 4, { layout: "channels-first", activation: "gelu" });
    const images = [2, 4, 3, 4];
    // Node 20 and 22 have none: a likeness of one is refused.
    if (!Float16) {
      expect(() =>
        layer.forward({ [Symbol.toStringTag]: "Float16Array", length: 96 } as Any, images),
      ).toThrow(TypeError);
      return;
    }
    const Half = Float16 as Any;
    const values = rounded("float16", 1);
    const want = layer.forward(values, images).map((value) => nearest("float16", value));
    const wantDx = layer
      .backward(rounded("float16", 2), { retain: true })
      .map((value) => nearest("float16", value));
    const y = layer.forward(Half.from(values), images) as Any;
    expect(y).toBeInstanceOf(Half);
    expect(Float32Array.from(y)).toEqual(want);
    const dx = layer.backward(Half.from(rounded("float16", 2)), { retain: true }) as Any;
    expect(dx).toBeInstanceOf(Half);
    expect(Float32Array.from(dx)).toEqual(wantDx);
    const dy = Half.from(rounded("float16", 2));
    expect(layer.backwardInto(dy, dy)).toBe(dy);
    expect(Float32Array.from(dy)).toEqual(wantDx);
    const view = library.tensor(images, values, { dtype: "float16" }).data as Any;
    expect(Float32Array.from(layer.forward(view, images) as Any)).toEqual(want);
  });
});
