/** F16 and BF16 between files and Tensors, without being widened. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load } from "./cases.js";
import { bitsOf, HALVES, meaning, nearest } from "./halves.js";

const NAMES = { float16: "F16", bfloat16: "BF16" } as const;

describe("safetensors of 16 bits", () => {
  let library: Library;
  let safetensors: typeof import("../src/safetensors.js");
  beforeAll(async () => {
    library = await load();
    safetensors = await import("../src/safetensors.js");
  });

  /** Every value of the type, NaN and subnormals included. */
  const all = () => Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const viewOf = (array: ArrayBufferView) =>
    new Uint16Array(array.buffer, array.byteOffset, array.byteLength / 2);

  test.each(HALVES)("%s: from a Tensor to a file and back, every bit", (dtype) => {
    const tensor = library.tensor([256, 256], all(), { dtype });
    const file = safetensors.saveSafetensors({ "h.weight": tensor, wide: library.tensor([2], [1, 2]) });
    const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + file[0]! + 256 * file[1]!)));
    expect(header["h.weight"]).toMatchObject({ dtype: NAMES[dtype], shape: [256, 256] });
    expect(header.wide).toMatchObject({ dtype: "F32", shape: [2] });

    const { "h.weight": kept } = safetensors.loadSafetensors(file, { dtype: "keep" });
    expect((kept as { dtype: string }).dtype).toBe(NAMES[dtype]);
    expect(viewOf(kept!)).toEqual(all());
    const again = library.tensor([256, 256], kept as Uint16Array, { dtype });
    expect(viewOf(again.data as Uint16Array)).toEqual(all());
    tensor.set(new Float32Array(65_536));
    tensor.set(kept as Uint16Array);
    expect(viewOf(tensor.data as Uint16Array)).toEqual(all());
    again.dispose();
    tensor.dispose();
  });

  test.each(HALVES)("%s: an opened file's entry into a Tensor and through a layer", async (dtype) => {
    const values = Array.from({ length: 64 }, (_, i) => nearest(dtype, Math.sin(i)));
    const bits = Object.assign(
      Uint16Array.from(values, (value) => bitsOf(dtype, value)),
      { dtype: NAMES[dtype] },
    );
    const file = await safetensors.openSafetensors(safetensors.saveSafetensors({ x: bits }));
    const x = library.tensor([4, 16], (await file.load("x", { dtype: "keep" })) as Uint16Array, { dtype });
    expect([...x.toArray()]).toEqual([...bits].map((value) => meaning(dtype, value)));
    expect(new library.LayerNorm(16).forward(x).dtype).toBe(dtype);
  });

  test("values of one type do not pass for those of the other", () => {
    const file = safetensors.saveSafetensors({ x: library.tensor([2], [1, 2], { dtype: "bfloat16" }) });
    const { x } = safetensors.loadSafetensors(file, { dtype: "keep" });
    expect(() => library.tensor([2], x as Uint16Array, { dtype: "float16" })).toThrow(RangeError);
  });

  test("a Tensor that was disposed of is refused", () => {
    const tensor = library.tensor([2], [1, 2], { dtype: "bfloat16" });
    tensor.dispose();
    expect(() => safetensors.saveSafetensors({ tensor })).toThrow(TypeError);
  });
});
