import fc from "fast-check";
import { expect, it, describe as suite } from "vitest";
import { checkArray } from "../src/arrays.js";
import {
  checkFinite,
  checkInteger,
  describe,
  proxied,
  rangeError,
  read,
  readFields,
  readOptions,
  readShape,
  typeError,
} from "../src/errors.js";
import { distance } from "../src/spelling.js";

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable([], {});
  revoke();
  return proxy;
};

const thrown = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
};

suite("describe", () => {
  it.each([
    ["abc", '"abc"'],
    ["x".repeat(1000), `"${"x".repeat(60)}…"`],
    [5n, "5n"],
    [-0, "-0"],
    [Number.NaN, "NaN"],
    [undefined, "undefined"],
    [null, "null"],
    [Symbol("s"), "Symbol(s)"],
    [() => 1, "a function"],
    [[1, "2", [3]], '[1, "2", Array(1)]'],
    [Array.from({ length: 100 }, (_, i) => i), "[0, 1, 2, 3, 4, 5, 6, 7, … 100 in all]"],
    [new Float64Array(3), "Float64Array(3)"],
    [new ArrayBuffer(8), "ArrayBuffer(8)"],
    [new DataView(new ArrayBuffer(4)), "DataView(4)"],
    [{ a: 1 }, "Object"],
    [Object.create(null), "Object"],
    [new Map(), "Map"],
  ])("case %#", (value, text) => {
    expect(describe(value)).toBe(text);
  });

  it("survives values whose own code throws or lies", () => {
    const hostile = {
      get constructor() {
        throw new Error("mine");
      },
    };
    expect(describe(hostile)).toBe("an object that cannot be read");
    expect(describe(revoked())).toBe("an object that cannot be read");
    expect(describe({ constructor: { name: Symbol("s") } })).toBe("an object that cannot be read");
    expect(describe({ constructor: { name: "n".repeat(1e6) } }).length).toBeLessThan(100);
    const endless = new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 53 : key) });
    expect(describe(endless).length).toBeLessThan(200);
    const circular: unknown[] = [];
    circular.push(circular);
    expect(describe(circular)).toBe("[Array(1)]");
  });

  it("prints anything in a few words", () => {
    fc.assert(
      fc.property(
        fc.anything({ withBigInt: true, withTypedArray: true, withNullPrototype: true }),
        (value) => {
          expect(describe(value).length).toBeLessThan(8 * 70);
        },
      ),
    );
  });
});

suite("errors", () => {
  it("name who, what was expected and what came", () => {
    expect(typeError("BatchNorm", "x to be a Float32Array", new Float64Array(2))).toEqual(
      new TypeError("BatchNorm: expected x to be a Float32Array, got Float64Array(2)"),
    );
    expect(rangeError("SGD", "lr to be small", -1)).toBeInstanceOf(RangeError);
  });

  it("read wraps what a caller's getter throws", () => {
    for (const mine of [new Error("mine"), new RangeError("mine"), "mine", undefined]) {
      const error = thrown(() =>
        read("SGD", "lr", () => {
          throw mine;
        }),
      );
      expect(error).toBeInstanceOf(TypeError);
      expect(error.message).toBe("SGD: lr cannot be read");
      expect(error.cause).toBe(mine);
    }
  });
});

suite("readOptions", () => {
  it("takes each option once and falls back to the defaults", () => {
    let reads = 0;
    const given = {
      get lr() {
        reads++;
        return 0.5;
      },
      momentum: undefined,
      other: undefined,
    };
    expect(readOptions("SGD", given, { lr: 0.1, momentum: 0, nesterov: false })).toEqual({
      lr: 0.5,
      momentum: 0,
      nesterov: false,
    });
    expect(reads).toBe(1);
    expect(readOptions("SGD", undefined, { lr: 0.1 })).toEqual({ lr: 0.1 });
  });

  it("refuses what is no object and what cannot be read", () => {
    for (const value of [null, 1, "lr", true, () => 1]) {
      expect(() => readOptions("SGD", value, { lr: 1 })).toThrow(TypeError);
    }
    const error = thrown(() => readOptions("SGD", revoked(), { lr: 1 }));
    expect(error.message).toBe("SGD: lr cannot be read");
  });
});

suite("numbers", () => {
  it("checkInteger", () => {
    expect(checkInteger("A", "n", 3, 0, 3)).toBe(3);
    expect(() => checkInteger("A", "n", 4, 0, 3)).toThrow(
      new RangeError("A: expected n to be an integer from 0 to 3, got 4"),
    );
    expect(() => checkInteger("A", "n", -1)).toThrow(
      new RangeError("A: expected n to be an integer from 0, got -1"),
    );
    for (const value of [1.5, Number.NaN, 1 / 0, 2 ** 53]) {
      expect(() => checkInteger("A", "n", value)).toThrow(RangeError);
    }
    for (const value of ["3", 3n, null, undefined, [3], new Number(3)]) {
      expect(() => checkInteger("A", "n", value)).toThrow(TypeError);
    }
  });

  it("checkFinite", () => {
    expect(checkFinite("A", "eps", 1e-5, 0)).toBe(1e-5);
    expect(checkFinite("A", "eps", -1e300)).toBe(-1e300);
    expect(() => checkFinite("A", "momentum", 1.1, 0, 1)).toThrow(
      new RangeError("A: expected momentum to be a finite number from 0 to 1, got 1.1"),
    );
    for (const value of [Number.NaN, 1 / 0, -1 / 0]) {
      expect(() => checkFinite("A", "eps", value)).toThrow(RangeError);
    }
    expect(() => checkFinite("A", "eps", "1")).toThrow(TypeError);
  });
});

suite("readShape", () => {
  it("copies a shape", () => {
    const given = [2, 0, -0, 5];
    const shape = readShape("A", given);
    expect(shape).not.toBe(given);
    expect(shape).toEqual([2, 0, 0, 5]); // toEqual tells 0 from -0
  });

  it.each([
    ["[65536, 2^37] holds 2^53", [65536, 2 ** 37]],
    ["zeros do not excuse a product beyond 2^53", [0, 2 ** 40, 2 ** 40]],
    ["NaN", [Number.NaN]],
    ["negative", [-1]],
    ["fractional", [1.5]],
    ["infinite", [1 / 0]],
    ["empty", []],
    ["rank 9", [1, 1, 1, 1, 1, 1, 1, 1, 1]],
  ])("RangeError: %s", (_, shape) => {
    expect(() => readShape("A", shape)).toThrow(RangeError);
  });

  it.each([
    ["text", ["3"]],
    ["bigint", [3n]],
    ["hole", new Array(2)],
    ["typed array", new Int32Array([2, 3])],
    ["like an array", { length: 1, 0: 3 }],
    ["null", null],
    ["number", 3],
  ])("TypeError: %s", (_, shape) => {
    expect(() => readShape("A", shape)).toThrow(TypeError);
  });

  it("reads every entry once, and judges what it copied", () => {
    const reads: PropertyKey[] = [];
    const changing = new Proxy([2, 3], {
      get(target, key, self) {
        reads.push(key);
        return reads.filter((k) => k === key).length > 1 ? "changed" : Reflect.get(target, key, self);
      },
    });
    expect(readShape("A", changing)).toEqual([2, 3]);
    expect(reads).toEqual(["length", "0", "1"]);
  });

  it("refuses what cannot be read", () => {
    expect(() => readShape("A", revoked())).toThrow(new TypeError("A: shape cannot be read"));
  });

  it("is not held up by a lying length", () => {
    const long = new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 53 - 1 : 1) });
    expect(() => readShape("A", long)).toThrow(RangeError);
  });

  it("accepts exactly the arrays of 1 to 8 safe non-negative integers with a safe product", () => {
    const extent = fc.oneof(fc.nat(9), fc.double(), fc.maxSafeInteger(), fc.constantFrom("1", null, 1n));
    fc.assert(
      fc.property(fc.array(extent, { maxLength: 10 }), (shape) => {
        const fits =
          shape.length >= 1 &&
          shape.length <= 8 &&
          shape.every((n) => Number.isSafeInteger(n) && (n as number) >= 0) &&
          shape.reduce((product: bigint, n) => product * BigInt((n as number) || 1), 1n) < 2n ** 53n;
        if (fits) expect(readShape("A", shape)).toHaveLength(shape.length);
        else expect(() => readShape("A", shape)).toThrow(/^A: expected shape to /);
      }),
      { numRuns: 2000, seed: 1 },
    );
  });
});

suite("an unknown option", () => {
  const layer = { eps: 1, momentum: 1, affine: 1, trackRunningStats: 1, layout: 1, activation: 1 };
  const rms = { eps: 1, affine: 1, zeroCenteredGamma: 1, casting: 1 };
  const call = { shape: 1, mask: 1, residual: 1, updateRunning: 1 };
  const adamw = { lr: 1, betas: 1, eps: 1, weightDecay: 1 };
  it.each<[string, object, string]>([
    ["epsilon", layer, "it is eps here"],
    ["variance_epsilon", layer, "it is eps here"],
    ["bias", layer, "it is affine: { beta } here"],
    ["center", layer, "it is affine: { beta } here"],
    ["scale", layer, "it is affine: { gamma } here"],
    ["elementwise_affine", layer, "it is affine here"],
    ["track_running_stats", layer, "it is trackRunningStats here"],
    ["axis", layer, 'it is layout: "channels-last" or "channels-first" here'],
    ["data_format", layer, 'it is layout: "channels-last" or "channels-first" here'],
    ["dataFormat", layer, 'it is layout: "channels-last" or "channels-first" here'],
    ["training", layer, "it is set by train() and eval() here"],
    ["training", call, "it is set by train() and eval() here"],
    ["zero_centered_gamma", rms, "it is zeroCenteredGamma here"],
    ["add_unit_offset", rms, "it is zeroCenteredGamma here"],
    ["weight_decay", adamw, "it is weightDecay here"],
    ["decay", adamw, "it is weightDecay here"],
    ["learningRate", adamw, "it is lr here"],
    ["learning_rate", adamw, "it is lr here"],
    ["beta_1", adamw, "it is betas: [beta1, beta2] here"],
    ["clipnorm", adamw, "it is clipGradNorm(parameters, maxNorm) here"],
    // the nearest where nobody calls it so
    ["momentun", layer, "the nearest is momentum"],
    ["Eps", layer, "it is eps here"],
    ["atcivation", layer, "the nearest is activation"],
    ["trackRuningStats", layer, "the nearest is trackRunningStats"],
    ["residuals", call, "the nearest is residual"],
    ["weigthDecay", adamw, "the nearest is weightDecay"],
    // what is called otherwise elsewhere is no hint where there is no such option
    ["epsilon", { shape: 1, mask: 1 }, "the nearest is"],
  ])("%s among %o", (name, known, meant) => {
    const error = thrown(() => readOptions("A", { [name]: 1 }, known as Record<string, unknown>));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(
      `A: expected no options but ${Object.keys(known).join(", ")}, got "${name}": ${meant}`,
    );
  });

  it("is one that is the object's own and not undefined, whatever its name", () => {
    const inherited = Object.create({ inherited: 1 }, { lr: { value: 2, enumerable: true } });
    expect(readOptions("A", inherited, { lr: 1 })).toEqual({ lr: 2 });
    expect(readOptions("A", { lr: undefined, other: undefined }, { lr: 1 })).toEqual({ lr: 1 });
    for (const name of ["toString", "constructor", "hasOwnProperty", "x".repeat(1e5), ""]) {
      expect(thrown(() => readOptions("A", { [name]: 1 }, { lr: 1 })).message).toMatch(
        /^A: expected no options/,
      );
    }
    expect(thrown(() => readOptions("A", JSON.parse('{"__proto__": 1}'), { lr: 1 })).message).toContain(
      '"__proto__"',
    );
  });

  it("leaves fields of what is no object of options alone", () => {
    expect(readFields("A", { count: 2, more: 3 }, { count: undefined })).toEqual({ count: 2 });
    expect(() => readFields("A", undefined, { count: 1, mean: 1 })).toThrow(
      new TypeError("A: expected an object with count, mean, got undefined"),
    );
  });

  it("distance is Levenshtein's", () => {
    const by = (a: string, b: string): number =>
      a && b
        ? Math.min(
            by(a.slice(1), b) + 1,
            by(a, b.slice(1)) + 1,
            by(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1),
          )
        : a.length + b.length;
    const word = fc.string({ unit: fc.constantFrom("a", "b", "c"), maxLength: 5 });
    fc.assert(fc.property(word, word, (a, b) => distance(a, b) === by(a, b)));
  });
});

suite("an array in the options' place", () => {
  it.each<[object, object, string]>([
    [new Float32Array(24), { shape: 1, mask: 1, residual: 1 }, "such as { residual }, got Float32Array(24)"],
    [new Float32Array(24), { residualGrad: 1 }, "such as { residualGrad }, got Float32Array(24)"],
    [Int32Array.of(6, 4), { shape: 1 }, "such as { shape }, got Int32Array(2)"],
    [[1, 2], { lr: 1 }, "an object of options, got [1, 2]"],
    [new DataView(new ArrayBuffer(4)), { lr: 1 }, "an object of options, got DataView(4)"],
  ])("case %#", (value, known, words) => {
    const error = thrown(() => readOptions("A", value, known as Record<string, unknown>));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toContain(words);
  });
});

suite("what is close to a Float32Array", () => {
  const row = Float32Array.of(1, 2, 3, 4, 5, 6);
  const ndarray = (stride: number[], offset = 0) => ({ data: row, shape: [2, 3], stride, offset });
  it.each<[string, unknown, string]>([
    ["a plain array", [1, 2], ", got [1, 2]: Float32Array.from(x) converts it"],
    ["a Float64Array", new Float64Array(2), ", got Float64Array(2): Float32Array.from(x) converts it"],
    ["an Int32Array", new Int32Array(2), ": Float32Array.from(x) converts it"],
    ["a BigInt64Array", new BigInt64Array(2), ": Float32Array.from(x, Number) converts it"],
    ["bytes", new Uint8Array(8), "new Float32Array(x.buffer, x.byteOffset, x.byteLength / 4)"],
    ["an ArrayBuffer", new ArrayBuffer(8), ": new Float32Array(x) reads it"],
    ["a DataView", new DataView(new ArrayBuffer(8)), ": new Float32Array(x.buffer, x.byteOffset"],
    [
      "nested arrays",
      [
        [1, 2],
        [3, 4],
      ],
      "Float32Array.from(x.flat(Infinity)) converts it, or tensor(shape, x)",
    ],
    ["rows of typed arrays", [row, row], ": tensor(shape, x) takes it"],
    ["an ndarray", ndarray([3, 1]), ": pass x.data with { shape: x.shape }"],
    [
      "an ndarray with one row",
      { ...ndarray([99, 1]), shape: [1, 6] },
      ": pass x.data with { shape: x.shape }",
    ],
    ["a transposed ndarray", ndarray([1, 2]), "x.data does not lie in the order of its shape"],
    [
      "a sliced ndarray",
      { ...ndarray([3, 1], 3), shape: [1, 3] },
      "x.data does not lie in the order of its shape",
    ],
    [
      "a float64 ndarray",
      { data: new Float64Array(6), shape: [2, 3] },
      ": pass Float32Array.from(x.data) with",
    ],
    ["an ONNX tensor", { data: row, dims: [2, 3], type: "float32" }, ": pass x.data with { shape: x.dims }"],
    ["a tfjs tensor", { dataSync: () => row, shape: [2, 3] }, ": pass x.dataSync() with { shape: x.shape }"],
    ["a Proxy", new Proxy(row, {}), "pass the array itself (Vue: toRaw(x))"],
  ])("%s", (_, value, words) => {
    const error = thrown(() => checkArray("A", "x", value));
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^A: expected x to be a Float32Array, got /);
    expect(error.message).toContain(words);
  });

  it("nothing is said of anything else", () => {
    for (const value of [undefined, null, 1, "x", {}, { length: 3 }, new Map(), revoked()]) {
      expect(thrown(() => checkArray("A", "x", value)).message).toBe(
        `A: expected x to be a Float32Array, got ${describe(value)}`,
      );
    }
  });

  it("what is said of ndarrays and tensors is true", () => {
    const x = ndarray([3, 1]);
    expect(checkArray("A", "x", x.data)).toBe(row);
    expect(
      Float32Array.from(
        [
          [1, 2, 3],
          [4, 5, 6],
        ].flat(Infinity) as number[],
      ),
    ).toEqual(row);
    const bytes = new Uint8Array(row.buffer);
    expect(new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4)).toEqual(row);
  });
});

suite("proxied", () => {
  it("says what to do", () => {
    expect(proxied("BatchNorm", "a layer").message).toMatch(
      /^BatchNorm: expected a layer itself, got a Proxy of it: .*markRaw.*toRaw/,
    );
  });
});
