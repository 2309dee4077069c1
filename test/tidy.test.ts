/** `tidy` gives back what is made in it and not returned. */
import { beforeEach, describe, expect, test, vi } from "vitest";
import { type Library, load, normals } from "./cases.js";
import { refusal } from "./refusal.js";

// biome-ignore lint/suspicious/noExplicitAny: wrong values are the point
type Any = any;
type T = InstanceType<Library["Tensor"]>;

let library: Library;
let tidy: Library["tidy"];
let make: (value?: number) => T;
const living = () => library.runtimeInfo().tensors;
const isDisposed = (tensor: T): boolean => {
  try {
    return !tensor.data;
  } catch {
    return true;
  }
};

beforeEach(async () => {
  library = await load();
  ({ tidy } = library);
  make = (value = 0) => library.tensor([2], [value, value]);
});

describe("what is returned stays", () => {
  test("a Tensor", () => {
    const kept = tidy(() => {
      make(1);
      make(2);
      return make(3);
    });
    expect(kept.toArray()).toEqual(Float32Array.of(3, 3));
    expect(living()).toBe(1);
  });

  test.each<[string, (t: T) => unknown]>([
    ["an array", (t) => [1, t]],
    ["an object", (t) => ({ t })],
    ["nested ones", (t) => ({ a: [{ b: { c: [t] } }] })],
    ["a Map", (t) => new Map([["t", t]])],
    ["a Set", (t) => new Set([t])],
    [
      "an object that holds itself",
      (t) => {
        const own: Record<string, unknown> = { t };
        own.own = own;
        return own;
      },
    ],
    [
      "an object of a class",
      (t) =>
        new (class {
          t = t;
        })(),
    ],
  ])("in %s", (_, wrap) => {
    let kept!: T;
    const result = tidy(() => {
      make();
      kept = make(5);
      return wrap(kept);
    });
    expect(result).toBeDefined();
    expect(isDisposed(kept)).toBe(false);
    expect(living()).toBe(1);
  });

  test("typed arrays are handed on without a look at their values", () => {
    const array = new Float32Array(4);
    const values = vi.spyOn(Object, "values");
    const result = { array };
    try {
      expect(tidy(() => result)).toBe(result);
      expect(values.mock.calls).toEqual([[result]]);
    } finally {
      values.mockRestore();
    }
  });

  test("nothing but Tensors of this scope is touched", () => {
    const before = make(1);
    tidy(() => [before, make()]);
    expect(isDisposed(before)).toBe(false);
  });

  test("anything that holds no Tensor is returned as it is", () => {
    for (const value of [undefined, null, 0, "x", Symbol.iterator, 1n]) expect(tidy(() => value)).toBe(value);
    expect(living()).toBe(0);
  });
});

describe("scopes", () => {
  test("a nested one hands what it returns to the one around it", () => {
    let inner!: T;
    let lost!: T;
    const outer = tidy(() => {
      inner = tidy(() => {
        lost = make();
        return make(1);
      });
      expect([isDisposed(inner), isDisposed(lost)]).toEqual([false, true]);
      return make(2);
    });
    expect([isDisposed(inner), isDisposed(outer)]).toEqual([true, false]);
    expect(living()).toBe(1);
  });

  test("dispose inside is no harm", () => {
    tidy(() => {
      const early = make();
      early.dispose();
      make();
    });
    expect(living()).toBe(0);
  });

  test("layers' results are Tensors like any other", () => {
    const layer = new library.LayerNorm(4);
    const x = library.tensor([6, 4], normals(24, 1));
    const y = tidy(() => {
      const first = layer.forward(x);
      return layer.forward(first);
    });
    expect(living()).toBe(2);
    expect(y.shape).toEqual([6, 4]);
  });

  test("a loop of steps holds as much at the end as at the start", () => {
    const layer = new library.BatchNorm(4);
    const { tensors } = library.runtimeInfo();
    const step = () =>
      tidy(() => {
        const y = layer.forward(library.tensor([6, 4], normals(24, 1)));
        layer.backward(y);
        return y.toArray();
      });
    step();
    const { bytesInUse } = library.runtimeInfo();
    for (let i = 0; i < 50; i++) step();
    expect(library.runtimeInfo()).toMatchObject({ tensors, bytesInUse });
  });
});

describe("what goes wrong", () => {
  test("an exception comes through, with all disposed of, in nested scopes too", () => {
    const mine = new SyntaxError("mine");
    const all: T[] = [];
    const call = () =>
      tidy(() => {
        all.push(make());
        return tidy(() => {
          all.push(make());
          throw mine;
        });
      });
    expect(refusal(call)).toBe(mine);
    expect(all.map(isDisposed)).toEqual([true, true]);
    expect(living()).toBe(0);
    // and the scopes are closed: what is made now stays
    expect(isDisposed(make())).toBe(false);
  });

  test("a promise is an error, with all disposed of", async () => {
    let made!: T;
    const call = () =>
      tidy(async () => {
        made = make();
        await null;
        made.toArray();
      });
    const error = refusal(call);
    expect(error).toBeInstanceOf(TypeError);
    expect(error.message).toMatch(/^tidy: expected a function that is done when it returns, got .*promise/);
    expect(isDisposed(made)).toBe(true);
    // its rejection must not end the process
    await new Promise((resolve) => setTimeout(resolve, 5));
    // biome-ignore lint/suspicious/noThenProperty: a thing like a promise is the point
    expect(refusal(() => tidy(() => ({ then() {} }))).message).toMatch(/promise/);
  });

  test("a result that cannot be read leaves nothing behind", () => {
    const call = () =>
      tidy(() => ({
        made: make(),
        get other() {
          throw new SyntaxError("mine");
        },
      }));
    expect(refusal(call).message).toBe("mine");
    expect(living()).toBe(0);
  });

  test.each([undefined, null, 1, {}, "f"])("%j is no function", (value) => {
    expect(refusal(() => tidy(value as Any)).message).toMatch(/^tidy: expected a function/);
  });
});
