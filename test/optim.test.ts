import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AdamW, type AdamWOptions, clipGradNorm, SGD, type SGDOptions } from "../src/optim.js";

type Parameter = { data: Float32Array; grad: Float32Array; frozen?: boolean };

const parameter = (data: number[], grad: number[] = data.map(() => 0)): Parameter => ({
  data: Float32Array.from(data),
  grad: Float32Array.from(grad),
});

const bits = (array: Float32Array) => [...new Uint32Array(array.slice().buffer)];

/** The rule of torch.optim.SGD's documentation, dampening 0, for one value and all in float64. */
function sgd(
  p: number,
  grads: number[],
  { lr, momentum = 0, weightDecay = 0, nesterov = false }: SGDOptions,
) {
  let b = 0;
  grads.forEach((grad, t) => {
    let g = grad + weightDecay * p;
    if (momentum !== 0) {
      b = t === 0 ? g : momentum * b + g;
      g = nesterov ? g + momentum * b : b;
    }
    p -= lr * g;
  });
  return p;
}

/** The rule of torch.optim.AdamW's documentation, for one value and all in float64. */
function adamw(
  p: number,
  grads: number[],
  { lr = 1e-3, betas = [0.9, 0.999], eps = 1e-8, weightDecay = 1e-2 }: AdamWOptions,
) {
  let m = 0;
  let v = 0;
  grads.forEach((g, i) => {
    p -= lr * weightDecay * p;
    m = betas[0] * m + (1 - betas[0]) * g;
    v = betas[1] * v + (1 - betas[1]) * g ** 2;
    const mHat = m / (1 - betas[0] ** (i + 1));
    const vHat = v / (1 - betas[1] ** (i + 1));
    p -= (lr * mHat) / (Math.sqrt(vHat) + eps);
  });
  return p;
}

const value = fc.float({ min: -10, max: 10, noNaN: true }).filter((v) => v === 0 || Math.abs(v) > 1e-6);
const run = fc.record({ p: value, grads: fc.array(value, { minLength: 1, maxLength: 50 }) });
const decay = fc.constantFrom(0, 0.01, 0.5);
const sgdOptions: fc.Arbitrary<SGDOptions> = fc
  .record({
    lr: fc.constantFrom(0, 0.001, 0.1, 0.7),
    momentum: fc.constantFrom(0, 0.5, 0.9),
    weightDecay: decay,
    nesterov: fc.boolean(),
  })
  .map((options) => ({ ...options, nesterov: options.nesterov && options.momentum > 0 }));
const adamwOptions: fc.Arbitrary<AdamWOptions> = fc.record({
  lr: fc.constantFrom(0, 1e-3, 0.1),
  betas: fc.constantFrom<[number, number]>([0.9, 0.999], [0, 0], [0.5, 0.9]),
  eps: fc.constantFrom(1e-8, 1e-3),
  weightDecay: decay,
});

/** Takes a step with each gradient. */
function follow(optimizer: SGD | AdamW, target: Parameter, grads: number[]): void {
  for (const grad of grads) {
    target.grad.fill(grad);
    optimizer.step();
  }
}

/** Half an ulp of the largest value on the way, for each step. */
const tolerance = (p: number, grads: number[]) =>
  grads.length * 2 ** -24 * Math.max(1, Math.abs(p), ...grads.map(Math.abs));

describe("SGD", () => {
  it("follows the float64 rule", () => {
    fc.assert(
      fc.property(run, sgdOptions, ({ p, grads }, options) => {
        const target = parameter([p]);
        follow(new SGD([target], options), target, grads);
        const within = tolerance(p, grads) * 8; // momentum and lr take a value further than its gradients
        expect(Math.abs(target.data[0]! - sgd(p, grads, options))).toBeLessThanOrEqual(within);
      }),
      { numRuns: 1000, seed: 3 },
    );
  });

  it("rounds once without momentum", () => {
    fc.assert(
      fc.property(value, value, decay, (p, g, weightDecay) => {
        const target = parameter([p], [g]);
        new SGD([target], { lr: 0.1, weightDecay }).step();
        expect(target.data[0]).toBe(Math.fround(p - 0.1 * (weightDecay ? g + weightDecay * p : g)));
      }),
    );
  });

  it("builds the buffer up to g / (1 - momentum), and keeps dampening at 0", () => {
    const target = parameter([0]);
    const optimizer = new SGD([target], { lr: 1, momentum: 0.5 });
    follow(optimizer, target, [1]);
    expect(target.data[0]).toBe(-1);
    follow(optimizer, target, [1]);
    expect(target.data[0]).toBe(-2.5);
    follow(optimizer, target, Array(60).fill(1));
    expect(optimizer.stateDict()["0.momentum_buffer"]![0]).toBe(2);
  });

  it("looks ahead with nesterov: 1 + 0.5, then 1 + 0.5 * 1.5", () => {
    const target = parameter([0]);
    const optimizer = new SGD([target], { lr: 1, momentum: 0.5, nesterov: true });
    follow(optimizer, target, [1]);
    expect(target.data[0]).toBe(-1.5);
    follow(optimizer, target, [1]);
    expect(target.data[0]).toBe(-3.25);
  });

  it("leaves an infinite parameter infinite where nothing decays it", () => {
    const target = parameter([1 / 0], [1]);
    new SGD([target], { lr: 0.1 }).step();
    expect(target.data[0]).toBe(1 / 0);
  });
});

describe("AdamW", () => {
  it("follows the float64 rule", () => {
    fc.assert(
      fc.property(run, adamwOptions, ({ p, grads }, options) => {
        const target = parameter([p]);
        follow(new AdamW([target], options), target, grads);
        const expected = adamw(p, grads, options);
        expect(Math.abs(target.data[0]! - expected)).toBeLessThanOrEqual(tolerance(p, [...grads, 1]) * 2);
      }),
      { numRuns: 1000, seed: 3 },
    );
  });

  it("first moves by lr against the sign of the gradient, whatever its size", () => {
    for (const g of [1e-3, -1, 1e6, -1e18]) {
      const target = parameter([0], [g]);
      new AdamW([target], { lr: 0.25, weightDecay: 0 }).step();
      expect(target.data[0]).toBeCloseTo(-0.25 * Math.sign(g), 4);
    }
  });

  it("decays the parameter and not the gradient", () => {
    const target = parameter([8], [0]);
    new AdamW([target], { lr: 0.5, weightDecay: 0.5 }).step();
    expect(target.data[0]).toBe(6);
  });

  it("has PyTorch's defaults", () => {
    const [a, b] = [parameter([3]), parameter([3])];
    const grads = [0.1, -0.2, 0.3];
    follow(new AdamW([a]), a, grads);
    follow(new AdamW([b], { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8, weightDecay: 0.01 }), b, grads);
    expect(bits(a.data)).toEqual(bits(b.data));
    expect(a.data[0]).toBeCloseTo(adamw(3, grads, {}), 6);
  });

  it("counts steps exactly beyond 2^24, where float32 would stand still", () => {
    const target = parameter([1], [1]);
    const optimizer = new AdamW([target], { lr: 0.5, weightDecay: 0 });
    optimizer.loadStateDict({ step: [2 ** 24], "0.exp_avg": [1], "0.exp_avg_sq": [1] });
    optimizer.step();
    expect(optimizer.stateDict().step).toEqual(Float64Array.of(2 ** 24 + 1));
    expect(target.data[0]).toBeCloseTo(0.5, 6);
  });
});

const KINDS: [string, (parameters: Parameter[]) => SGD | AdamW][] = [
  ["SGD", (parameters) => new SGD(parameters, { lr: 0.1 })],
  ["SGD with momentum", (parameters) => new SGD(parameters, { lr: 0.1, momentum: 0.9, weightDecay: 0.1 })],
  ["AdamW", (parameters) => new AdamW(parameters, { lr: 0.1 })],
];

const thrown = (run: () => unknown): Error => {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("nothing was thrown");
};

describe.each(KINDS)("every optimizer: %s", (kind, make) => {
  const who = kind.split(" ")[0]!;

  it("moves several parameters as it moves each alone, empty ones included", () => {
    const lengths = [3, 0, 5];
    const together = lengths.map((length) => parameter(Array(length).fill(1)));
    const alone = lengths.map((length) => parameter(Array(length).fill(1)));
    const all = make(together);
    const each = alone.map((one) => make([one]));
    for (let t = 0; t < 5; t++) {
      for (const { grad } of [...together, ...alone]) for (let i = 0; i < grad.length; i++) grad[i] = i - t;
      all.step();
      for (const one of each) one.step();
    }
    for (const [k, { data }] of together.entries()) expect(bits(data)).toEqual(bits(alone[k]!.data));
    expect(together[0]!.data[0]).not.toBe(1);
  });

  it("lowers a bowl", () => {
    const target = parameter([3, -2, 1]);
    const optimizer = make([target]);
    for (let t = 0; t < 500; t++) {
      target.grad.set(target.data);
      optimizer.step();
    }
    for (const v of target.data) expect(Math.abs(v)).toBeLessThan(0.1);
  });

  it("zeroGrad clears the gradients and nothing else", () => {
    const target = parameter([1, 2], [3, 4]);
    make([target]).zeroGrad();
    expect(target).toEqual(parameter([1, 2], [0, 0]));
  });

  it("goes on bit for bit from a state saved after any step, by copy, clone and JSON", () => {
    const gradient = (t: number, i: number) => Math.sin(7 * t + i) * (i + 1);
    const advance = (optimizer: SGD | AdamW, target: Parameter, from: number, to: number) => {
      for (let t = from; t < to; t++) {
        for (let i = 0; i < target.grad.length; i++) target.grad[i] = gradient(t, i);
        optimizer.step();
      }
    };
    const whole = parameter([1, -2, 3]);
    advance(make([whole]), whole, 0, 20);
    for (let stop = 0; stop <= 20; stop++) {
      const first = parameter([1, -2, 3]);
      const before = make([first]);
      advance(before, first, 0, stop);
      const dict = before.stateDict();
      const json = JSON.stringify(Object.fromEntries(Object.entries(dict).map(([k, v]) => [k, [...v]])));
      for (const saved of [dict, structuredClone(dict), JSON.parse(json)]) {
        const second = { data: first.data.slice(), grad: new Float32Array(3) };
        const after = make([second]);
        after.loadStateDict(saved);
        advance(after, second, stop, 20);
        expect(bits(second.data)).toEqual(bits(whole.data));
      }
    }
  });

  it("gives and takes copies of its state", () => {
    const target = parameter([1], [1]);
    const optimizer = make([target]);
    optimizer.step();
    const dict = optimizer.stateDict();
    const expected = structuredClone(dict);
    optimizer.loadStateDict(dict);
    for (const array of Object.values(dict)) array.fill(7);
    expect(optimizer.stateDict()).toEqual(expected);
  });

  it("reads data and grad anew at each step", () => {
    const target = parameter([1], [1]);
    const optimizer = make([target]);
    const old = target.data;
    target.data = Float32Array.of(1);
    target.grad = Float32Array.of(-1);
    optimizer.step();
    expect(old[0]).toBe(1);
    expect(target.data[0]).toBeGreaterThan(0.99);
    expect(target.data[0]).not.toBe(1);
  });

  it.each<[string, (target: Parameter) => unknown, unknown]>([
    ["short data", (p) => (p.data = new Float32Array(1)), RangeError],
    ["short grad", (p) => (p.grad = new Float32Array(1)), RangeError],
    ["both longer", (p) => Object.assign(p, parameter([1, 2, 3])), RangeError],
    ["float64 grad", (p) => Object.assign(p, { grad: new Float64Array(2) }), TypeError],
    ["no grad", (p) => Object.assign(p, { grad: null }), TypeError],
    ["plain data", (p) => Object.assign(p, { data: [1, 2] }), TypeError],
    ["a proxy as data", (p) => (p.data = new Proxy(p.data, {})), TypeError],
    ["detached data", (p) => structuredClone(p.data, { transfer: [p.data.buffer] }), RangeError],
    [
      "a getter that throws",
      (p) =>
        Object.defineProperty(p, "grad", {
          get() {
            throw new SyntaxError("mine");
          },
        }),
      TypeError,
    ],
  ])("changes nothing where the second parameter has %s", (_, spoil, kindOfError) => {
    const good = parameter([1, 2], [3, 4]);
    const bad = parameter([1, 2], [3, 4]);
    const optimizer = make([good, bad]);
    optimizer.step();
    const before = structuredClone({ good, state: optimizer.stateDict() });
    spoil(bad);
    for (const call of ["step", "zeroGrad"] as const) {
      const error = thrown(() => optimizer[call]());
      expect(error).toBeInstanceOf(kindOfError);
      expect(error.message).toMatch(new RegExp(`^${who}\\.${call}: .*parameters\\[1\\]\\.(data|grad)`));
    }
    expect({ good, state: optimizer.stateDict() }).toEqual(before);
  });

  it.each<[string, unknown, unknown]>([
    ["nothing", undefined, TypeError],
    ["an empty list", [], RangeError],
    ["one parameter by itself", parameter([1]), TypeError],
    ["null", [parameter([1]), null], TypeError],
    ["a hole", new Array(1), TypeError],
    ["a Float32Array", [new Float32Array(2)], TypeError],
    ["lengths that differ", [{ data: new Float32Array(2), grad: new Float32Array(3) }], RangeError],
    [
      "a list that says it is endless",
      new Proxy([], { get: (_, k) => (k === "length" ? 2 ** 53 : 1) }),
      TypeError,
    ],
  ])("refuses as parameters %s", (_, parameters, kindOfError) => {
    const error = thrown(() => make(parameters as Parameter[]));
    expect(error).toBeInstanceOf(kindOfError);
    expect(error.message).toMatch(new RegExp(`^${who}: expected .*parameters`));
  });

  it("refuses one parameter twice, which would move twice as far", () => {
    const target = parameter([1]);
    expect(() => make([target, parameter([1]), target])).toThrow(
      new RangeError(`${who}: expected every parameter once, got "parameters[2]"`),
    );
  });

  it("takes a new learning rate, and refuses a wrong one", () => {
    const target = parameter([1], [1]);
    const optimizer = make([target]);
    for (const lr of [-1, Number.NaN, 1 / 0]) expect(() => (optimizer.lr = lr)).toThrow(RangeError);
    expect(() => (optimizer.lr = "1" as never)).toThrow(TypeError);
    expect(optimizer.lr).toBe(0.1);
    optimizer.lr = 0;
    optimizer.step();
    expect(target.data[0]).toBe(1);
  });
});

describe("state", () => {
  const make = () => new AdamW([parameter([1, 2], [1, -1]), parameter([3], [1])]);

  it("has PyTorch's names", () => {
    expect(Object.keys(make().stateDict()).sort()).toEqual(
      ["0.exp_avg", "0.exp_avg_sq", "1.exp_avg", "1.exp_avg_sq", "step"].sort(),
    );
    expect(new SGD([parameter([1])], { lr: 1 }).stateDict()).toEqual({});
  });

  it.each<[string, (dict: Record<string, unknown>) => unknown]>([
    ["a missing entry", (d) => delete d["1.exp_avg_sq"]],
    ["an extra entry", (d) => (d["2.exp_avg"] = [0])],
    ["a short entry", (d) => (d["0.exp_avg"] = [1])],
    ["a fractional step", (d) => (d.step = [1.5])],
    ["a negative step", (d) => (d.step = [-1])],
    ["negative squares", (d) => (d["1.exp_avg_sq"] = [-1])],
    ["NaN", (d) => (d["1.exp_avg"] = [Number.NaN])],
    ["infinity", (d) => (d["1.exp_avg"] = Float32Array.of(1 / 0))],
    ["text", (d) => (d["1.exp_avg"] = "1")],
    ["a getter", (d) => Object.defineProperty(d, "1.exp_avg", { get: () => [1] })],
  ])("is all or nothing: %s", (_, spoil) => {
    const optimizer = make();
    optimizer.step();
    const before = optimizer.stateDict();
    const dict: Record<string, unknown> = Object.fromEntries(
      Object.entries(before).map(([name, { length }]) => [name, Array(length).fill(5)]),
    );
    spoil(dict);
    const error = thrown(() => optimizer.loadStateDict(dict as Record<string, number[]>));
    expect(error instanceof TypeError || error instanceof RangeError).toBe(true);
    expect(error.message).toMatch(/^AdamW\.loadStateDict: /);
    expect(optimizer.stateDict()).toEqual(before);
  });
});

describe("options", () => {
  const target = () => [parameter([1])];
  const make: Record<string, (options: unknown) => unknown> = {
    SGD: (options) => new SGD(target(), options as SGDOptions),
    AdamW: (options) => new AdamW(target(), options as AdamWOptions),
  };

  it.each<[string, unknown, unknown, string]>([
    ["SGD", undefined, TypeError, "lr"],
    ["SGD", {}, TypeError, "lr"],
    ["SGD", 0.1, TypeError, "options"],
    ["SGD", null, TypeError, "options"],
    ["SGD", { lr: -0.1 }, RangeError, "lr"],
    ["SGD", { lr: Number.NaN }, RangeError, "lr"],
    ["SGD", { lr: 1 / 0 }, RangeError, "lr"],
    ["SGD", { lr: "0.1" }, TypeError, "lr"],
    ["SGD", { lr: 1n }, TypeError, "lr"],
    ["SGD", { lr: 1, momentum: -1 }, RangeError, "momentum"],
    ["SGD", { lr: 1, momentum: null }, TypeError, "momentum"],
    ["SGD", { lr: 1, weightDecay: -1 }, RangeError, "weightDecay"],
    ["SGD", { lr: 1, nesterov: true }, RangeError, "momentum above 0"],
    ["SGD", { lr: 1, momentum: 0.9, nesterov: 1 }, TypeError, "nesterov"],
    ["AdamW", { lr: -1 }, RangeError, "lr"],
    ["AdamW", { eps: -1 }, RangeError, "eps"],
    ["AdamW", { eps: Number.NaN }, RangeError, "eps"],
    ["AdamW", { weightDecay: -1 }, RangeError, "weightDecay"],
    ["AdamW", { betas: 0.9 }, TypeError, "betas"],
    ["AdamW", { betas: [0.9] }, TypeError, "betas"],
    ["AdamW", { betas: [0.9, "1"] }, TypeError, "betas[1]"],
    ["AdamW", { betas: [1, 0.9] }, RangeError, "betas[0] below 1"],
    ["AdamW", { betas: [0.9, 1] }, RangeError, "betas[1] below 1"],
    ["AdamW", { betas: [-0.1, 0.9] }, RangeError, "betas[0]"],
    ["AdamW", { betas: [0.9, Number.NaN] }, RangeError, "betas[1]"],
  ])("%s refuses %o", (who, options, kindOfError, name) => {
    const error = thrown(() => make[who]!(options));
    expect(error).toBeInstanceOf(kindOfError);
    expect(error.message).toContain(`${who}: expected `);
    expect(error.message).toContain(name);
  });
});

describe("lists", () => {
  const make: [string, (list: unknown) => unknown][] = [
    ["SGD", (list) => new SGD(list as Parameter[], { lr: 0.1 })],
    ["AdamW", (list) => new AdamW(list as Parameter[])],
    ["clipGradNorm", (list) => clipGradNorm(list as Parameter[], 1)],
  ];
  // every read gives another sound parameter, for ever
  const endless = () =>
    new Proxy([], { get: (_, key) => (key === "length" ? 2 ** 53 - 1 : parameter([1], [1])) });

  it.each(make)("%s sees through a list that lies about its length", (who, call) => {
    const error = thrown(() => call(endless()));
    expect(error).toBeInstanceOf(RangeError);
    expect(error.message).toMatch(new RegExp(`^${who}: expected parameters of at most 65536, got 9007`));
  });

  /** Says that it is longer or shorter than it is, and gives what it has not. */
  const lying = (values: number[], length: number) => {
    class Lying extends Float32Array {
      override get length() {
        return length;
      }
      override [Symbol.iterator]() {
        return Array<number>(9).fill(7).values();
      }
    }
    return new Lying(values);
  };

  it.each([2, Infinity])("an array that says its length is %d is gone through to its end, once", (length) => {
    const data = lying([1, 2, 3], length);
    const grad = lying([1, 1, 2], length);
    const values = (array: Float32Array) => [...new Float32Array(array.buffer)];
    new SGD([{ data, grad }], { lr: 1, momentum: 0.5 }).step();
    expect(values(data)).toEqual([0, 1, 1]);
    new AdamW([{ data, grad }], { lr: 0.5, weightDecay: 0, eps: 0 }).step();
    expect(values(data)).toEqual([-0.5, 0.5, 0.5]);
    expect(clipGradNorm([{ data, grad }], Infinity)).toBeCloseTo(Math.sqrt(6), 12);
    clipGradNorm([{ data, grad }], 0);
    expect(values(grad)).toEqual([0, 0, 0]);
  });

  it("so are the parameters of a group bounded", () => {
    expect(() => new SGD([{ params: endless() as Parameter[] }], { lr: 1 })).toThrow(
      /parameters\[0\]\.params of at most/,
    );
  });

  const memory = new Float32Array(8);
  const other = () => new Float32Array(4);
  it.each<[string, Parameter[], RegExp]>([
    [
      "one array as two parameters' data",
      [
        { data: memory, grad: new Float32Array(8) },
        { data: memory, grad: new Float32Array(8) },
      ],
      /parameters\[0\]\.data and parameters\[1\]\.data over the same/,
    ],
    [
      "one array as two parameters' grad",
      [
        { data: new Float32Array(8), grad: memory },
        { data: new Float32Array(8), grad: memory },
      ],
      /parameters\[0\]\.grad and parameters\[1\]\.grad over the same/,
    ],
    [
      "views that overlap by one value",
      [
        { data: memory.subarray(3, 7), grad: other() },
        { data: memory.subarray(0, 4), grad: other() },
      ],
      /parameters\[1\]\.data and parameters\[0\]\.data over the same/,
    ],
    [
      "a parameter's own data as its grad",
      [{ data: memory, grad: memory }],
      /parameters\[0\]\.(data|grad) and/,
    ],
  ])("refuse %s", (_, parameters, words) => {
    for (const [who, call] of make) {
      const error = thrown(() => call(parameters));
      expect(error).toBeInstanceOf(RangeError);
      expect(error.message).toMatch(new RegExp(`^${who}: expected every array in memory of its own, got`));
      expect(error.message).toMatch(words);
    }
  });

  it("take views that only touch, and empty ones anywhere", () => {
    const buffer = new Float32Array(8);
    const list = [
      { data: buffer.subarray(0, 4), grad: buffer.subarray(4, 8) },
      { data: buffer.subarray(2, 2), grad: buffer.subarray(2, 2) },
    ];
    for (const [, call] of make) expect(() => call(list)).not.toThrow();
  });

  it("see memory that is shared later, before anything moves", () => {
    const [a, b] = [parameter([1], [1]), parameter([1], [1])];
    const optimizer = new SGD([a, b], { lr: 1 });
    b.data = a.data;
    expect(() => optimizer.step()).toThrow(/memory of its own/);
    expect(a.data[0]).toBe(1);
    b.data = Float32Array.of(1);
    optimizer.step();
    expect([a.data[0], b.data[0]]).toEqual([0, 0]);
  });
});

describe("frozen parameters", () => {
  it.each(KINDS)("stay as they are, with all that is remembered of them: %s", (_, make) => {
    const [moving, still, twin] = [parameter([1], [1]), parameter([1], [1]), parameter([1], [1])];
    const optimizer = make([moving, still]);
    const alone = make([twin]);
    still.frozen = true;
    const before = optimizer.stateDict();
    for (let t = 0; t < 3; t++) optimizer.step();
    expect(still.data[0]).toBe(1);
    expect(moving.data[0]).not.toBe(1);
    const own = Object.keys(before).filter((name) => name.startsWith("1."));
    for (const name of own) expect(optimizer.stateDict()[name]).toEqual(before[name]);
    // and once thawed, one moves as if it came new, through a saved state too
    still.frozen = false;
    const again = make([parameter([1]), still]);
    again.loadStateDict(JSON.parse(JSON.stringify(optimizer.stateDict())));
    for (let t = 0; t < 3; t++) {
      again.step();
      alone.step();
    }
    expect(bits(still.data)).toEqual(bits(twin.data));
  });

  it("must be so by a boolean", () => {
    const target = parameter([1], [1]);
    const optimizer = new SGD([target], { lr: 1 });
    target.frozen = "no" as never;
    expect(() => optimizer.step()).toThrow(/parameters\[0\]\.frozen to be a boolean/);
    expect(target.data[0]).toBe(1);
  });

  it("of a layer get no gradient", async () => {
    const { BatchNorm, LayerNorm } = await import("../src/index.js");
    const x = Float32Array.from({ length: 24 }, (_, i) => Math.sin(i));
    for (const layer of [new BatchNorm(4), new LayerNorm(4), new BatchNorm(600)]) {
      const values =
        layer.gamma!.data.length === 600 ? Float32Array.from({ length: 1800 }, (_, i) => i % 7) : x;
      for (const [frozen, free] of [
        [layer.gamma!, layer.beta!],
        [layer.beta!, layer.gamma!],
      ] as const) {
        frozen.frozen = true;
        free.frozen = false;
        layer.zeroGrad();
        layer.forward(values);
        layer.backward(values);
        expect(frozen.grad.every((value) => value === 0)).toBe(true);
        expect(free.grad.some((value) => value !== 0)).toBe(true);
        const [was, moved] = [frozen.data.slice(), free.data.slice()];
        new SGD(layer.parameters(), { lr: 0.1, weightDecay: 0.1 }).step();
        expect(frozen.data).toEqual(was);
        expect(free.data).not.toEqual(moved);
      }
    }
  });
});

describe("groups", () => {
  it("move by their own options, and by the optimizer's where they have none", () => {
    const [a, b, c] = [parameter([1], [1]), parameter([1], [1]), parameter([1], [1])];
    const optimizer = new SGD(
      [
        { params: [a], lr: 0.5 },
        { params: [b], weightDecay: 1 },
        { params: [c], lr: 0.5, momentum: undefined },
      ],
      { lr: 0.25, momentum: 0 },
    );
    optimizer.step();
    expect([a, b, c].map(({ data }) => data[0])).toEqual([0.5, 0.5, 0.5]);
    expect(optimizer.groups.map(({ lr, weightDecay }) => [lr, weightDecay])).toEqual([
      [0.5, 0],
      [0.25, 1],
      [0.5, 0],
    ]);
    expect(optimizer.groups[0]!.params).toEqual([a]);
  });

  it("are as optimizers of their own", () => {
    const options = { betas: [0.8, 0.9] as const, eps: 1e-3, lr: 0.1, weightDecay: 0.5 };
    const [a, b] = [parameter([1, 2]), parameter([3])];
    const [alone, plain] = [parameter([1, 2]), parameter([3])];
    const together = new AdamW([{ params: [a], ...options }, { params: [b] }]);
    const apart = [new AdamW([alone], options), new AdamW([plain])];
    for (let t = 0; t < 5; t++) {
      for (const { grad } of [a, b, alone, plain]) grad.fill(t - 1.5);
      together.step();
      for (const one of apart) one.step();
    }
    expect(bits(a.data)).toEqual(bits(alone.data));
    expect(bits(b.data)).toEqual(bits(plain.data));
    expect(Object.keys(together.stateDict()).sort()).toEqual(
      ["0.exp_avg", "0.exp_avg_sq", "1.exp_avg", "1.exp_avg_sq", "step"].sort(),
    );
  });

  it("follow the optimizer's rates until they have their own, which may be set", () => {
    const [a, b] = [parameter([0], [1]), parameter([0], [1])];
    const optimizer = new SGD([{ params: [a] }, { params: [b] }], { lr: 1 });
    optimizer.groups[0]!.lr = 3;
    optimizer.lr = 2;
    optimizer.step();
    expect([a.data[0], b.data[0]]).toEqual([-3, -2]);
    optimizer.weightDecay = 1;
    optimizer.groups[1]!.weightDecay = 0;
    optimizer.step();
    expect([a.data[0], b.data[0]]).toEqual([-3 - 3 * (1 - 3), -4]);
    for (const wrong of [-1, Number.NaN, "1" as never]) {
      expect(() => (optimizer.groups[0]!.lr = wrong)).toThrow(/^SGD: parameters\[0\]: expected lr/);
      expect(() => (optimizer.groups[0]!.weightDecay = wrong)).toThrow(/weightDecay/);
      expect(() => (optimizer.weightDecay = wrong)).toThrow(/^SGD: expected weightDecay/);
    }
    expect(optimizer.weightDecay).toBe(1);
  });

  it.each<[string, unknown, RegExp]>([
    ["beside a parameter", [{ params: [parameter([1])] }, parameter([1])], /parameters\[1\] to be a group/],
    ["with an unknown option", [{ params: [], learningRate: 1 }], /"learningRate": it is lr here/],
    [
      "with a wrong option",
      [{ params: [parameter([1])], momentum: -1 }],
      /parameters\[0\]: expected momentum/,
    ],
    ["with one parameter by itself", [{ params: parameter([1]) }], /parameters\[0\]\.params to be an array/],
    ["with something else in it", [{ params: [1] }], /parameters\[0\]\.params\[0\] to have data and grad/],
  ])("are refused %s", (_, list, words) => {
    expect(thrown(() => new SGD(list as never, { lr: 1 })).message).toMatch(words);
  });

  it("share no parameter", () => {
    const target = parameter([1]);
    expect(() => new SGD([{ params: [target] }, { params: [target] }], { lr: 1 })).toThrow(
      /every parameter once, got "parameters\[1\]\.params\[0\]"/,
    );
  });
});

describe("a state out of JSON", () => {
  it("goes on bit for bit as JSON.stringify makes it of typed arrays, and as any kind of array", () => {
    const run = (optimizer: AdamW, target: Parameter, from: number, to: number) => {
      for (let t = from; t < to; t++) {
        target.grad.forEach((_, i) => {
          target.grad[i] = Math.sin(5 * t + i);
        });
        optimizer.step();
      }
    };
    const whole = parameter([1, -2]);
    run(new AdamW([whole]), whole, 0, 9);
    const kinds: ((dict: ReturnType<AdamW["stateDict"]>) => unknown)[] = [
      (dict) => JSON.parse(JSON.stringify(dict)),
      (dict) => ({ ...dict, step: BigInt64Array.of(4n) }),
      (dict) => ({ ...dict, step: [4], "0.exp_avg": Float64Array.from(dict["0.exp_avg"]!) }),
    ];
    for (const carry of kinds) {
      const first = parameter([1, -2]);
      const before = new AdamW([first]);
      run(before, first, 0, 4);
      const second = { data: first.data.slice(), grad: new Float32Array(2) };
      const after = new AdamW([second]);
      after.loadStateDict(carry(before.stateDict()) as never);
      run(after, second, 4, 9);
      expect(bits(second.data)).toEqual(bits(whole.data));
    }
  });

  it("counts steps exactly up to 2^53", () => {
    const optimizer = new AdamW([parameter([1], [1])]);
    const rest = { "0.exp_avg": [1], "0.exp_avg_sq": [1] };
    optimizer.loadStateDict({ ...rest, step: [2 ** 40] });
    for (let t = 0; t < 3; t++) optimizer.step();
    expect(JSON.parse(JSON.stringify(optimizer.stateDict())).step).toEqual({ 0: 2 ** 40 + 3 });
    expect(() => optimizer.loadStateDict({ ...rest, step: [2 ** 53] })).toThrow(/step to hold whole numbers/);
  });

  it.each<[string, unknown, RegExp]>([
    ["text", { step: "1" }, /step to be an array of numbers/],
    ["a word for a number", { step: true }, /step to be an array of numbers/],
    ["null in it", { "0.exp_avg": [null] }, /0\.exp_avg\[0\] to be a number, got null/],
    ["other names in it", { "0.exp_avg": { a: 1 } }, /0\.exp_avg\[0\] to be a number, got undefined/],
    ["a value beyond float32", { "0.exp_avg": [1e39] }, /finite numbers, got 1e\+39/],
    ["an empty Map", new Map(), /entries step, 0\.exp_avg, 0\.exp_avg_sq, which are missing/],
    ["a list", [], /plain object or a Map/],
  ])("is refused with %s", (_, spoilt, words) => {
    const optimizer = new AdamW([parameter([1], [1])]);
    optimizer.step();
    const before = optimizer.stateDict();
    const dict =
      spoilt instanceof Map || Array.isArray(spoilt) ? spoilt : { ...before, ...(spoilt as object) };
    expect(thrown(() => optimizer.loadStateDict(dict as never)).message).toMatch(words);
    expect(optimizer.stateDict()).toEqual(before);
  });
});

describe("clipGradNorm", () => {
  it("scales all gradients by maxNorm / (norm + 1e-6), and returns the norm", () => {
    const list = [parameter([0, 0], [3, 0]), parameter([0], [4])];
    expect(clipGradNorm(list, 1)).toBe(5);
    const factor = 1 / (5 + 1e-6);
    expect(list.map(({ grad }) => [...grad])).toEqual([
      [Math.fround(3 * factor), 0],
      [Math.fround(4 * factor)],
    ]);
    expect(Math.hypot(...list.flatMap(({ grad }) => [...grad]))).toBeCloseTo(1, 6);
  });

  it("leaves small ones as they are, bit for bit", () => {
    const list = [parameter([0, 0], [0.1, -0.2])];
    const before = bits(list[0]!.grad);
    expect(clipGradNorm(list, 0.3)).toBeCloseTo(Math.sqrt(0.05), 8);
    expect(clipGradNorm(list, Infinity)).toBeCloseTo(Math.sqrt(0.05), 8);
    expect(bits(list[0]!.grad)).toEqual(before);
    expect(clipGradNorm([], 1)).toBe(0);
  });

  it("neither overflows nor loses what is small", () => {
    const far = [parameter([0, 0], [3e30, 4e30])];
    expect(clipGradNorm(far, 1)).toBeCloseTo(Math.hypot(Math.fround(3e30), Math.fround(4e30)), -24);
    expect(far[0]!.grad[0]).toBeCloseTo(0.6, 6);
    expect(clipGradNorm([parameter([0, 0], [3e-40, 4e-40])], 1)).toBeGreaterThan(4.9e-40);
    const many = [parameter(Array(1000).fill(0), [1e4, ...Array(999).fill(1)])];
    expect(clipGradNorm(many, Infinity)).toBe(Math.sqrt(1e8 + 999));
  });

  it("follows PyTorch where a gradient is not finite, and says so by what it returns", () => {
    const nan = [parameter([0, 0], [1, Number.NaN])];
    expect(clipGradNorm(nan, 1)).toBeNaN();
    expect([...nan[0]!.grad]).toEqual([Number.NaN, Number.NaN]);
    const inf = [parameter([0, 0], [1, Infinity])];
    expect(clipGradNorm(inf, 1)).toBe(Infinity);
    expect([...inf[0]!.grad]).toEqual([0, Number.NaN]);
  });

  it("passes over what is frozen", () => {
    const list: Parameter[] = [parameter([0], [3]), { ...parameter([0], [100]), frozen: true }];
    expect(clipGradNorm(list, 1)).toBe(3);
    expect(list[1]!.grad[0]).toBe(100);
  });

  it.each<[unknown, unknown]>([
    [-1, RangeError],
    [Number.NaN, RangeError],
    ["1", TypeError],
    [undefined, TypeError],
  ])("refuses maxNorm %s", (maxNorm, kind) => {
    const list = [parameter([0], [3])];
    const error = thrown(() => clipGradNorm(list, maxNorm as number));
    expect(error).toBeInstanceOf(kind);
    expect(error.message).toMatch(/^clipGradNorm: expected maxNorm to be a number/);
    expect(list[0]!.grad[0]).toBe(3);
  });
});
