import fc from "fast-check";
import { expect, it, describe as suite } from "vitest";
import {
  checkFinite,
  checkInteger,
  describe,
  rangeError,
  read,
  readOptions,
  readShape,
  typeError,
} from "../src/errors.js";

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
