/** Long minibatches that go tile by tile: the bits of Tensors of float32, where arrays share memory too, and room for a tile alone. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { nearest } from "./halves.js";

describe("tile by tile", () => {
  let library: Library;
  beforeAll(async () => {
    library = await load();
  });

  type Make = { name: string; shape: number[]; make: () => InstanceType<Library["LayerNorm"]> };
  const makes: Make[] = [
    { name: "layer norm", shape: [70, 1030], make: () => new library.LayerNorm(1030) },
    {
      name: "rms norm of rows longer than a tile",
      shape: [3, 40_000],
      make: () => new library.RMSNorm(40_000) as never,
    },
    {
      name: "group norm of runs",
      shape: [5, 8, 70, 60],
      make: () => new library.GroupNorm(2, 8, { layout: "channels-first" }) as never,
    },
    {
      name: "group norm down columns",
      shape: [9, 40, 64],
      make: () => new library.GroupNorm(4, 64, { layout: "channels-last" }) as never,
    },
    {
      name: "instance norm of long runs",
      shape: [2, 4, 300, 300],
      make: () => new library.InstanceNorm(4, { affine: true, layout: "channels-first" }) as never,
    },
    { name: "batch norm", shape: [2000, 48], make: () => new library.BatchNorm(48) as never },
    {
      name: "batch norm, channels-first",
      shape: [6, 12, 40, 40],
      make: () => new library.BatchNorm(12, { layout: "channels-first" }) as never,
    },
  ];
  const names = () => makes.map((one) => [one.name, one] as const);

  function wanted({ shape, make }: Make, x: Float32Array, dy: Float32Array) {
    return library.tidy(() => {
      const layer = make();
      const y = layer.forward(library.tensor(shape, x)).toArray();
      const dx = layer.backward(library.tensor(shape, dy)).toArray();
      const [dgamma, dbeta] = [layer.gamma!.grad.slice(), layer.beta?.grad.slice()];
      layer.dispose();
      return { y, dx, dgamma, dbeta };
    });
  }
  const sizeOf = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

  test.each(names())("%s: arrays", (_, one) => {
    const { shape, make } = one;
    const n = sizeOf(shape);
    const x = normals(n, 1);
    const dy = normals(n, 2);
    const want = wanted(one, x, dy);
    const layer = make();
    expectSame(layer.forward(x, shape), want.y);
    expectSame(layer.backward(dy, { retain: true }), want.dx);
    expectSame(layer.gamma!.grad, want.dgamma);
    if (want.dbeta) expectSame(layer.beta!.grad, want.dbeta);
    expectSame(layer.forward(x, { shape, save: false }), want.y);
    // In place, and where one array is a part of another's memory, shifted.
    const same = dy.slice();
    layer.zeroGrad();
    expectSame(layer.backwardInto(same, same, { retain: true }), want.dx);
    for (const [from, to] of [
      [0, 100],
      [100, 0],
    ] as const) {
      const buffer = new ArrayBuffer(4 * (n + 100));
      const input = new Float32Array(buffer, 4 * from, n);
      const output = new Float32Array(buffer, 4 * to, n);
      input.set(x);
      expectSame(layer.forwardInto(input, output, shape), want.y);
      input.set(dy);
      expectSame(layer.backwardInto(input, output), want.dx);
    }
    // A view of the memory that kernels run in.
    const tensor = library.tensor(shape, x);
    expectSame(layer.forwardInto(tensor.data, new Float32Array(n), shape), want.y);
    tensor.dispose();
    layer.dispose();
  });

  test.each(names())("%s: 16-bit Tensors beside others", (_, one) => {
    const { shape, make } = one;
    const n = sizeOf(shape);
    const x = normals(n, 1).map((value) => nearest("bfloat16", value));
    const dy = normals(n, 2).map((value) => nearest("float16", value));
    const want = wanted(one, x, dy);
    const layer = make();
    const input = library.tensor(shape, x, { dtype: "bfloat16" });
    expectSame(layer.forwardInto(input, new Float32Array(n)), want.y);
    expectSame(
      layer.backwardInto(library.tensor(shape, dy, { dtype: "float16" }), new Float32Array(n)),
      want.dx,
    );
    const y = layer.forwardInto(input, library.tensor(shape, undefined, { dtype: "float16" }));
    expectSame(
      y.toArray(),
      want.y.map((value) => nearest("float16", value)),
    );
    layer.zeroGrad();
    const gradient = library.tensor(shape, dy);
    layer.backwardInto(gradient, gradient);
    expectSame(gradient.toArray(), want.dx);
    expectSame(layer.gamma!.grad, want.dgamma);
    if (want.dbeta) expectSame(layer.beta!.grad, want.dbeta);
  });
});

describe("room", () => {
  test.each([
    ["rows", [4096, 1024], (l: Library) => new l.LayerNorm(1024)],
    ["runs", [64, 64, 32, 32], (l: Library) => new l.GroupNorm(8, 64, { layout: "channels-first" })],
    ["columns of small examples", [256, 128, 128], (l: Library) => new l.InstanceNorm(128)],
  ] as const)("16-bit Tensors of %s take that of a tile beside themselves", async (_, shape, make) => {
    const library = await load();
    // Four of 8.4 MB; widened, each would take 16.8 MB.
    await library.init({ maxMemory: 640 * 65536 });
    const layer = make(library);
    const [x, y, dy, dx] = [0, 0, 0, 0].map(() => library.tensor(shape, undefined, { dtype: "bfloat16" }));
    layer.forwardInto(x!, y!);
    layer.backwardInto(dy!, dx!);
    expect(() => library.tensor(shape)).toThrow(RangeError);
  });
});

/** The same numbers; `toEqual` takes seconds for so many. */
function expectSame(got: unknown, want: ArrayLike<number>): void {
  const values = got as Float32Array;
  expect(values.length).toBe(want.length);
  const wrong = values.findIndex((value, i) => !Object.is(value, want[i]));
  if (wrong >= 0) expect.fail(`[${wrong}]: ${values[wrong]}, not ${want[wrong]}`);
}
