/** Every wrong call: a TypeError or RangeError that names the layer, the expected and the given. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { expectRefused, expectRefusedUnchanged, naming, oneOfEach, refusal, snapshot } from "./refusal.js";

// wrong values are the point of this file, so the compiler is told to look away
// biome-ignore lint/suspicious/noExplicitAny: see above
type Any = any;

let library: Library;
beforeAll(async () => {
  library = await load();
});

const wrongNumbers = [Number.NaN, "3", 3n, null, {}, [], true, Number.POSITIVE_INFINITY, -1];
const notFloat32Arrays: Array<[string, unknown]> = [
  ["a Float64Array", new Float64Array(24)],
  ["an Array", new Array(24).fill(0)],
  ["a Uint8Array", new Uint8Array(24)],
  ["an Int32Array", new Int32Array(24)],
  ["a DataView", new DataView(new ArrayBuffer(96))],
  ["an ArrayBuffer", new ArrayBuffer(96)],
  ["null", null],
  ["undefined", undefined],
  ["a string", "0,0,0"],
  ["a number", 24],
  ["an object with a length", { length: 24 }],
  ["an object of Float32Array's prototype", Object.create(Float32Array.prototype)],
];

describe("constructors", () => {
  const families: Array<[string, (value: Any) => unknown]> = [
    ["BatchNorm", (value) => new library.BatchNorm(value)],
    ["LayerNorm", (value) => new library.LayerNorm(value)],
    ["RMSNorm", (value) => new library.RMSNorm(value)],
    ["GroupNorm", (value) => new library.GroupNorm(1, value)],
    ["GroupNorm", (value) => new library.GroupNorm(value, 6)],
    ["InstanceNorm", (value) => new library.InstanceNorm(value)],
  ];
  test.each(families)("%s refuses a wrong size", (who, make) => {
    for (const value of [...wrongNumbers, undefined, 1.5, 2 ** 53, 2 ** 40]) {
      expectRefused(who, () => make(value));
    }
  });

  test.each(["LayerNorm", "RMSNorm"] as const)("%s refuses a wrong normalized shape", (who) => {
    for (const value of [
      [-1],
      [2, 1.5],
      [Number.NaN],
      ["3"],
      [3n],
      [2 ** 31, 2 ** 31],
      new Int32Array([3]),
    ]) {
      expectRefused(who, () => new library[who](value as Any));
    }
  });

  const withOptions: Array<[string, (options: Any) => unknown]> = [
    ["BatchNorm", (options) => new library.BatchNorm(4, options)],
    ["LayerNorm", (options) => new library.LayerNorm(4, options)],
    ["RMSNorm", (options) => new library.RMSNorm(4, options)],
    ["GroupNorm", (options) => new library.GroupNorm(2, 4, options)],
    ["InstanceNorm", (options) => new library.InstanceNorm(4, options)],
  ];
  describe.each(withOptions)("%s", (who, make) => {
    test.each([-1e-9, -1, Number.NaN, Number.POSITIVE_INFINITY, "1e-5", null, 1n])(
      "refuses eps %s",
      (eps) => {
        expectRefused(who, () => make({ eps }), /eps/, String(eps));
      },
    );
    test("takes eps 0", () => {
      expect(() => make({ eps: 0 })).not.toThrow();
    });
    test.each(["yes", 1, null, { gamma: 1 }, { gamma: "true" }])("refuses affine %j", (affine) => {
      expectRefused(who, () => make({ affine }), /affine|gamma/);
    });
    test.each(["swish", "RELU", 1, {}, null])("refuses activation %j", (activation) => {
      expectRefused(who, () => make({ activation }), /activation/);
    });
    test.each([5, "options", null, [1e-5], new Float32Array(2)])("refuses %j as options", (options) => {
      expectRefused(who, () => make(options));
    });
    test("refuses an option that it does not know", () => {
      for (const [options, words] of [
        [{ epsilon: 1e-3 }, /eps here/],
        [{ elementwise_affine: false }, /affine here/],
        [{ training: true }, /train\(\) and eval\(\)/],
        [{ afine: false }, /nearest is affine/],
      ] as const) {
        expectRefused(who, () => make(options), words);
      }
      expect(() => make({ eps: undefined, affine: undefined, epsilon: undefined })).not.toThrow();
    });
  });

  test.each(withOptions.filter(([who]) => !["LayerNorm", "RMSNorm"].includes(who)))(
    "%s refuses a wrong layout",
    (who, make) => {
      for (const layout of ["NCHW", "channels_last", 1, null]) {
        expectRefused(who, () => make({ layout }), /layout/, /channels-last/, /channels-first/);
      }
    },
  );

  test.each([-0.1, 1.1, -1.2, 2.7, Number.NaN, Number.POSITIVE_INFINITY, "0.1", false])(
    "BatchNorm refuses momentum %s",
    (momentum) => {
      expectRefused(
        "BatchNorm",
        () => new library.BatchNorm(4, { momentum } as Any),
        /momentum/,
        String(momentum),
      );
    },
  );
  test("BatchNorm refuses a part of affine that it does not know", () => {
    expectRefused(
      "BatchNorm",
      () => new library.BatchNorm(4, { affine: { gama: false } } as Any),
      /nearest is gamma/,
    );
  });
  test.each([0, 1, null])("BatchNorm takes momentum %s", (momentum) => {
    expect(() => new library.BatchNorm(4, { momentum })).not.toThrow();
  });
  test.each(["no", 1, null])("BatchNorm refuses trackRunningStats %j", (trackRunningStats) => {
    expectRefused(
      "BatchNorm",
      () => new library.BatchNorm(4, { trackRunningStats } as Any),
      /trackRunningStats/,
    );
  });

  test.each([
    [0, 6],
    [-1, 6],
    [5, 6],
    [7, 6],
    [12, 6],
  ])("GroupNorm refuses %d groups for %d channels", (groups, channels) => {
    expectRefused("GroupNorm", () => new library.GroupNorm(groups, channels), String(groups));
  });
});

describe("forward", () => {
  test.each(notFloat32Arrays)("refuses %s", (_, x) => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      expectRefusedUnchanged(who, layer, () => layer.forward(x as Any, shape), /Float32Array/);
    }
  });

  test("refuses a detached array", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = new Float32Array(24);
      structuredClone(x.buffer, { transfer: [x.buffer] });
      expectRefusedUnchanged(who, layer, () => layer.forward(x, shape));
    }
  });

  test("refuses an array whose buffer has shrunk", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      // ES2024's resizable buffers, which the compiler's library does not know yet
      const buffer: Any = new (ArrayBuffer as Any)(96, { maxByteLength: 96 });
      const x = new Float32Array(buffer, 0, 24);
      layer.forward(x, shape);
      buffer.resize(40);
      expectRefusedUnchanged(who, layer, () => layer.forward(x, shape));
    }
  });

  test("refuses a length that the shape does not have", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      for (const length of [23, 25, 12, 0]) {
        const call = () => layer.forward(new Float32Array(length), shape);
        expectRefusedUnchanged(who, layer, call, /24/, String(length));
      }
    }
  });

  test("refuses a shape that is none", () => {
    const shapes = [
      [-1, -24],
      [1.5, 16],
      [Number.NaN, 4],
      ["6", 4],
      [6n, 4n],
      [65_536, 65_536, 1, 1],
      [2 ** 31, 2, 1],
      [2 ** 32, 4],
      [2 ** 53, 2 ** 53],
      [],
      new Int32Array([6, 4]),
      "6,4",
      6,
    ];
    for (const { who, layer } of oneOfEach(library)) {
      for (const shape of shapes) {
        expectRefusedUnchanged(who, layer, () => layer.forward(new Float32Array(24), { shape } as Any));
      }
    }
  });

  test("refuses a shape that does not suit the layer", () => {
    for (const { who, layer } of oneOfEach(library)) {
      for (const shape of [
        [4, 6],
        [24, 1],
        [2, 6, 2],
      ]) {
        expectRefusedUnchanged(who, layer, () => layer.forward(new Float32Array(24), shape));
      }
    }
  });

  test("refuses a shape of rank 1 where there is a batch", () => {
    for (const { who, layer } of oneOfEach(library).filter(
      ({ who }) => !["LayerNorm", "RMSNorm"].includes(who),
    )) {
      expectRefusedUnchanged(who, layer, () => layer.forward(new Float32Array(4), [4]));
    }
  });

  test("refuses to guess the positions of channels-first from a length", () => {
    const layer = new library.BatchNorm(4, { layout: "channels-first" });
    const call = () => layer.forward(new Float32Array(23));
    expectRefusedUnchanged("BatchNorm", layer, call, /23/);
  });

  test("refuses options that are none", () => {
    for (const { who, layer } of oneOfEach(library)) {
      for (const options of [5, "train", null, true]) {
        expectRefusedUnchanged(who, layer, () => layer.forward(new Float32Array(24), options as Any));
      }
    }
  });

  test("BatchNorm refuses a single row in training, and takes it in evaluation", () => {
    for (const [layout, shape] of [
      ["channels-last", [1, 4]],
      ["channels-last", [1, 1, 1, 4]],
      ["channels-first", [1, 4]],
      ["channels-first", [1, 4, 1, 1]],
    ] as const) {
      const layer = new library.BatchNorm(4, { layout });
      const x = Float32Array.of(1, 2, 3, 4);
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x, [...shape]), /1/);
      layer.eval();
      expect(layer.forward(x, [...shape]).length).toBe(4);
    }
  });

  test("InstanceNorm refuses a single position", () => {
    const layer = new library.InstanceNorm(4);
    expectRefusedUnchanged("InstanceNorm", layer, () => layer.forward(new Float32Array(12), [3, 4, 1]));
  });

  test("takes no array or Tensor for its options", () => {
    for (const { who, layer } of oneOfEach(library)) {
      const x = normals(24, 1);
      for (const residual of [new Float32Array(24), library.tensor([6, 4])] as Any[]) {
        expectRefusedUnchanged(who, layer, () => layer.forward(x, residual), /\{ residual \}/);
        expectRefusedUnchanged(who, layer, () => layer.forwardInto(x, x, residual), /\{ residual \}/);
      }
    }
  });

  test("refuses an option that it does not know", () => {
    for (const { who, layer } of oneOfEach(library)) {
      const x = normals(24, 1);
      for (const [options, words] of [
        [{ training: false }, /train\(\) and eval\(\)/],
        [{ residuals: x }, /nearest is residual/],
        [{ shapes: [6, 4] }, /nearest is shape/],
      ] as Any[]) {
        expectRefusedUnchanged(who, layer, () => layer.forward(x, options), words);
      }
    }
  });

  test("BatchNorm takes a mask of any kind", () => {
    const x = normals(24, 1);
    const masked = (mask: Any) => new library.BatchNorm(4).forward(x, { mask });
    const want = masked([true, true, false, true, false, true]);
    expect(want).not.toEqual(new library.BatchNorm(4).forward(x));
    for (const mask of [
      Uint8Array.of(1, 1, 0, 1, 0, 1),
      Uint8Array.of(255, 1, 0, 2, 0, 1),
      Float32Array.of(1, 1, 0, 1, -0, 1),
      [1, 1, 0, 1, 0, 1],
      [true, 1, false, 1, 0, true],
    ]) {
      expect(masked(mask)).toEqual(want);
    }
  });

  test.each<[string, unknown, RegExp]>([
    [
      "a Float32Array of weights",
      Float32Array.of(1, 1, 0.5, 1, 1, 1),
      /mask\[2\] to be a boolean, 0 or 1, got 0.5/,
    ],
    ["NaN", Float32Array.of(1, Number.NaN, 1, 1, 1, 1), /mask\[1\].*got NaN/],
    ["another number", [1, 1, 1, 2, 1, 1], /mask\[3\].*got 2/],
    ["text", [1, 1, 1, 1, 1, "1"], /mask\[5\].*got "1"/],
    [
      "an Int32Array",
      new Int32Array(6),
      /mask to be a Uint8Array, a Float32Array or an array, got Int32Array\(6\)/,
    ],
    ["a string", "111111", /got "111111"/],
  ])("BatchNorm refuses a mask with %s", (_, mask, words) => {
    const layer = new library.BatchNorm(4);
    expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(normals(24, 1), { mask } as Any), words);
  });

  test("BatchNorm refuses a wrong mask", () => {
    const layer = new library.BatchNorm(4);
    const x = normals(24, 1);
    const wrong: unknown[] = [
      new Uint8Array(5),
      new Uint8Array(24),
      [true],
      "111111",
      6,
      {},
      [1, 1, 1, 1, 1, "1"],
    ];
    for (const mask of wrong) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x, { mask } as Any), /mask/);
    }
    // fewer than two rows that count
    for (const mask of [Uint8Array.of(0, 0, 1, 0, 0, 0), [false, false, true, false, false, false]]) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x, { mask }), /2/);
    }
  });

  test("BatchNorm refuses a wrong residual", () => {
    const layer = new library.BatchNorm(4);
    const x = normals(24, 1);
    for (const residual of [new Float32Array(20), new Float64Array(24), [1], "x", 3]) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.forward(x, { residual } as Any), /residual/);
    }
  });

  test("families refuse what comes around others rather than pass over it", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      const per = who === "LayerNorm" || who === "RMSNorm";
      const refused = [
        ...(per || who === "GroupNorm" ? [] : [["stream", x] as const]),
        ...(per ? [] : [["gate", x] as const]),
      ];
      for (const [name, value] of refused) {
        const call = () => layer.forward(x, { shape, [name]: value } as Any);
        expectRefusedUnchanged(who, layer, call, new RegExp(`no ${name}: only LayerNorm`));
      }
    }
  });

  test("every family refuses a modulation, mask or residual that does not fit", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      const one = new Float32Array(7);
      for (const [options, words] of [
        [{ modulation: { scale: one, shift: one } }, /modulation\.scale to have/],
        [{ modulation: { scale: one } }, /modulation with a shift/],
        [{ modulation: { scale: one, shift: one, gain: one } }, /gain/],
        [{ mask: new Uint8Array(23) }, /mask/],
        [{ residual: new Float32Array(23) }, /residual/],
      ] as const) {
        expectRefusedUnchanged(who, layer, () => layer.forward(x, { shape, ...options } as Any), words);
      }
      layer.forward(x, { shape });
      for (const name of ["stream", "residualGrad", "gateGrad"] as const) {
        expectRefusedUnchanged(
          who,
          layer,
          () => layer.backward(x, { [name]: x }),
          new RegExp(`no ${name} without`),
        );
      }
    }
  });
});

describe("forwardInto and backwardInto", () => {
  test("refuse an output of another kind or length", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = normals(24, 1);
      const outs = [...notFloat32Arrays.map(([, out]) => out), new Float32Array(23), new Float32Array(25)];
      for (const out of outs) {
        expectRefusedUnchanged(who, layer, () => layer.forwardInto(x, out as Any, shape));
      }
      layer.forward(x, shape);
      for (const out of outs) {
        expectRefusedUnchanged(who, layer, () => layer.backwardInto(x, out as Any));
      }
    }
  });

  test("refuse in place in training, where backward needs x", () => {
    for (const { who, layer, shape } of oneOfEach(library).filter(({ who }) => who === "BatchNorm")) {
      const x = library.tensor(shape, normals(24, 1));
      const before = x.toArray();
      expectRefusedUnchanged(who, layer, () => layer.forwardInto(x, x, shape));
      expect(x.toArray()).toEqual(before);
    }
  });
});

describe("backward", () => {
  test("before a forward is an error", () => {
    for (const { who, layer } of oneOfEach(library)) {
      const before = snapshot(layer);
      const error = refusal(() => layer.backward(new Float32Array(24)));
      expect(error.message).toMatch(naming(who, "forward"));
      expect(snapshot(layer)).toEqual(before);
    }
  });

  test("after a forward that was refused is an error too, where none came before", () => {
    for (const { layer } of oneOfEach(library)) {
      refusal(() => layer.forward(new Float32Array(23)));
      expect(refusal(() => layer.backward(new Float32Array(24))).message).toMatch(/forward/);
    }
  });

  test("refuses a dy of another kind or length", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      layer.forward(normals(24, 1), shape);
      for (const [, dy] of notFloat32Arrays) {
        expectRefusedUnchanged(who, layer, () => layer.backward(dy as Any), /dy|Float32Array/);
      }
      for (const length of [0, 4, 23, 25]) {
        expectRefusedUnchanged(
          who,
          layer,
          () => layer.backward(new Float32Array(length)),
          /24/,
          String(length),
        );
      }
      // and the pass that was waiting is still there
      expect(layer.backward(normals(24, 2)).length).toBe(24);
    }
  });

  test("refuses a Tensor dy of another shape", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      layer.forward(normals(24, 1), shape);
      const dy = library.tensor([24], normals(24, 2));
      expectRefusedUnchanged(who, layer, () => layer.backward(dy as Any));
    }
  });
});

describe("Tensors", () => {
  test("a disposed one is refused", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const x = library.tensor(shape, normals(24, 1));
      x.dispose();
      expectRefusedOrError(who, () => layer.forward(x), /dispose/);
    }
  });

  test("one of another instance of the package is refused", async () => {
    const here = library;
    const there = await load();
    for (const { who, layer, shape } of oneOfEach(here)) {
      const foreign = there.tensor(shape, normals(24, 1));
      expectRefusedUnchanged(who, layer, () => layer.forward(foreign as Any));
      const lookalike = { shape, size: 24, data: new Float32Array(24) };
      expectRefusedUnchanged(who, layer, () => layer.forward(lookalike as Any));
    }
  });

  test("a disposed one can be neither read nor written, and disposing again does nothing", () => {
    const x = library.tensor([2, 2]);
    x.dispose();
    expect(refusal(() => x.data).message).toMatch(naming("Tensor"));
    expect(refusal(() => x.toArray()).message).toMatch(naming("Tensor"));
    expect(refusal(() => x.set(new Float32Array(4))).message).toMatch(naming("Tensor"));
    expect(() => x.dispose()).not.toThrow();
  });

  test("wrong shapes and data are refused", () => {
    for (const shape of [
      [-1],
      [1.5],
      ["2"],
      [Number.NaN],
      [2 ** 31, 2 ** 31],
      "2",
      4,
      null,
      undefined,
      [2n],
    ]) {
      expectRefused("Tensor", () => library.tensor(shape as Any));
    }
    for (const data of [new Float32Array(3), new Float32Array(5), "data", 4]) {
      expectRefused("Tensor", () => library.tensor([2, 2], data as Any));
    }
    const x = library.tensor([2, 2], Float32Array.of(1, 2, 3, 4));
    for (const data of [new Float32Array(3), new Float32Array(5), null, "data"]) {
      expectRefused("Tensor", () => x.set(data as Any));
    }
    expect(x.toArray()).toEqual(Float32Array.of(1, 2, 3, 4));
    x.dispose();
  });
});

describe("gamma and beta", () => {
  test("replaced by a wrong length or kind are refused before anything changes", () => {
    for (const { who, layer, shape } of oneOfEach(library)) {
      const length = layer.gamma!.data.length;
      for (const data of [
        new Float32Array(length + 1),
        new Float32Array(0),
        new Float64Array(length),
        null,
        [1],
      ]) {
        const running = "runningMean" in layer ? layer.runningMean?.slice() : null;
        const before = layer.gamma!.data;
        const error = refusal(() => {
          (layer.gamma as Any).data = data;
          layer.forward(normals(24, 1), shape);
        });
        expect(error.message, `${data}`).toMatch(naming(who, "gamma"));
        expect("runningMean" in layer ? layer.runningMean?.slice() : null).toEqual(running);
        (layer.gamma as Any).data = before;
      }
    }
  });
});

describe("state dict", () => {
  const trained = () => {
    const layer = new library.BatchNorm(4);
    layer.forward(normals(24, 1), [6, 4]);
    return layer;
  };
  const bad: Array<[string, (dict: Any) => void, RegExp]> = [
    ["a missing running_var", (dict) => delete dict.running_var, /running_var/],
    ["a missing weight", (dict) => delete dict.weight, /weight/],
    ["an extra key", (dict) => (dict.momentum = 0.1), /momentum/],
    ["a short bias", (dict) => (dict.bias = new Float32Array(3)), /bias/],
    ["a long running_mean", (dict) => (dict.running_mean = new Float32Array(5)), /running_mean/],
    ["an empty running_var", (dict) => (dict.running_var = new Float32Array(0)), /running_var/],
    ["NaN in weight", (dict) => (dict.weight = Float32Array.of(1, Number.NaN, 1, 1)), /weight/],
    [
      "Infinity in running_mean",
      (dict) => (dict.running_mean = Float32Array.of(1, Infinity, 1, 1)),
      /running_mean/,
    ],
    ["a negative variance", (dict) => (dict.running_var = Float32Array.of(1, 1, -1, 1)), /running_var/],
    ["a DataView", (dict) => (dict.weight = new DataView(new ArrayBuffer(4))), /weight/],
    ["an Array of other things", (dict) => (dict.weight = [1, 1, "1", 1]), /weight/],
    ["a string", (dict) => (dict.bias = "0000"), /bias/],
    ["a wrong counter", (dict) => (dict.num_batches_tracked = Float32Array.of(-1)), /num_batches_tracked/],
    [
      "a fractional counter",
      (dict) => (dict.num_batches_tracked = Float32Array.of(1.5)),
      /num_batches_tracked/,
    ],
  ];
  test.each(bad)("with %s is refused whole, by the key's name", (_, spoil, key) => {
    const layer = trained();
    const dict: Any = new library.BatchNorm(4).stateDict();
    dict.weight.fill(5);
    spoil(dict);
    expectRefusedUnchanged("BatchNorm", layer, () => layer.loadStateDict(dict), key);
  });

  test.each([null, undefined, 5, "state", []])("that is %j is refused", (dict) => {
    const layer = trained();
    expectRefusedUnchanged("BatchNorm", layer, () => layer.loadStateDict(dict as Any));
  });

  test("of another layer is refused, by each layer", () => {
    for (const { who, layer } of oneOfEach(library)) {
      expectRefusedUnchanged(who, layer, () => layer.loadStateDict({ weight: new Float32Array(7) } as Any));
    }
  });
});

describe("BatchNorm's answers", () => {
  test("about the last batch are refused before there was one", () => {
    const layer = new library.BatchNorm(4);
    const before = snapshot(layer);
    for (const call of [
      () => layer.recoverIdentity("batch"),
      () => layer.identityGap("batch"),
      () => layer.decomposeGradient(new Float32Array(24)),
    ]) {
      expect(refusal(call).message).toMatch(naming("BatchNorm", "forward"));
    }
    expect(snapshot(layer)).toEqual(before);
  });

  test("from anything but the batch or the running statistics are refused", () => {
    const layer = new library.BatchNorm(4);
    layer.forward(normals(24, 1));
    for (const from of ["last", 1, null, {}]) {
      expectRefusedUnchanged(
        "BatchNorm",
        layer,
        () => layer.recoverIdentity(from as Any),
        /batch/,
        /running/,
      );
      expectRefusedUnchanged("BatchNorm", layer, () => layer.identityGap(from as Any), /batch/, /running/);
    }
  });

  test("refuse a dy of another length or kind", () => {
    const layer = new library.BatchNorm(4);
    layer.forward(normals(24, 1));
    for (const dy of [new Float32Array(20), new Float64Array(24), null]) {
      expectRefusedUnchanged("BatchNorm", layer, () => layer.decomposeGradient(dy as Any));
    }
  });

  test("recoverIdentity needs both gamma and beta", () => {
    for (const affine of [false, { gamma: true, beta: false }, { gamma: false, beta: true }]) {
      const layer = new library.BatchNorm(4, { affine });
      layer.forward(normals(24, 1));
      const error = refusal(() => layer.recoverIdentity());
      expect(error.message).toMatch(naming("BatchNorm", "(gamma|beta|affine)"));
    }
  });

  test("running statistics that are not tracked are not there to use", () => {
    const layer = new library.BatchNorm(4, { trackRunningStats: false });
    layer.forward(normals(24, 1));
    expect(refusal(() => layer.identityGap("running")).message).toMatch(naming("BatchNorm", "running"));
    expect(refusal(() => layer.recoverIdentity("running")).message).toMatch(naming("BatchNorm", "running"));
  });
});

describe("init", () => {
  test.each([
    { variant: "avx2" },
    { variant: 1 },
    { maxMemory: -1 },
    { maxMemory: "1" },
    { threads: -1 },
    { threads: 1.5 },
    null,
    "simd",
  ])("refuses %j, and spoils nothing", async (options) => {
    const fresh = await load();
    await expect(fresh.init(options as Any)).rejects.toThrow(naming("init"));
    const layer = new fresh.BatchNorm(1, { eps: 0 });
    expect(layer.forward(Float32Array.of(-1, 1), [2, 1])).toEqual(Float32Array.of(-1, 1));
  });
});

/** A disposed thing is a matter of state, so that a plain Error serves as well. */
function expectRefusedOrError(who: string, call: () => unknown, mention: RegExp): void {
  const error = refusal(call);
  expect(error.message).toMatch(naming(who));
  expect(error.message).toMatch(mention);
}
