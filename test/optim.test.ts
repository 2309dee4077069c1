import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AdamW, type AdamWOptions, SGD, type SGDOptions } from "../src/optim.js";

type Parameter = { data: Float32Array; grad: Float32Array };

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
