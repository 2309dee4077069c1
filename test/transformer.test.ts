import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { softmaxCrossEntropy } from "../examples/digits/network.ts";
import { seededRandom } from "../examples/digits/random.ts";
import { attend, attendBackward } from "../examples/transformer/attention.ts";
import { Decoder, type Sizes } from "../examples/transformer/decoder.ts";
import { lossPlot, table, timesOf } from "../examples/transformer/report.ts";
import { WAYS, type Way } from "../examples/transformer/stream.ts";
import { swiglu, swigluBackward } from "../examples/transformer/swiglu.ts";
import { minibatch, readText } from "../examples/transformer/text.ts";
import { heldOut, type Settings, type Step, train } from "../examples/transformer/train.ts";
import { lossOver, single, write } from "../examples/transformer/write.ts";
import { decoderLoss } from "./transformer-reference.ts";

const text = readText(
  readFileSync(new URL("../examples/transformer/tom-sawyer.txt", import.meta.url), "utf8"),
);
const SIZES: Sizes = { batch: 2, context: 5, heads: 2, width: 6, characters: 7, blocks: 2, hidden: 5 };
const TINY: Settings = {
  ...{ seed: 3, batch: 4, context: 16, width: 24, heads: 2, blocks: 2, hidden: 40 },
  ...{ learningRate: 1e-2, warmUp: 5, maxNorm: 1 },
};

const values = (size: number, seed: number) => {
  const random = seededRandom(seed);
  return Float64Array.from({ length: size }, () => 2 * random() - 1);
};

/** The gradient of `f` at x by central differences: in float64, step^2 and 2^-53 / step are below 1e-9. */
function differences(x: Float64Array, f: () => number): Float64Array {
  const step = 1e-5;
  return x.map((value, i) => {
    x[i] = value + step;
    const up = f();
    x[i] = value - step;
    const down = f();
    x[i] = value;
    return (up - down) / (2 * step);
  });
}

function expectNear(got: ArrayLike<number>, want: ArrayLike<number>, bound: number): void {
  expect(got.length).toBe(want.length);
  for (let i = 0; i < want.length; i++) expect(Math.abs(got[i]! - want[i]!)).toBeLessThan(bound);
}

const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, value, i) => sum + value * b[i]!, 0);
const take = (way: readonly Way[], count: number, settings = TINY): Step[] => {
  const training = train(text, settings, way);
  return Array.from({ length: count }, () => training.next().value);
};

describe("transformer: text", () => {
  it("is read into numbers that spell it again, and into what follows each character", () => {
    const { alphabet, codes } = readText("abcabd");
    expect([...codes].map((code) => alphabet[code]).join("")).toBe("abcabd");
    const { inputs, targets } = minibatch(codes, [0, 2], 3);
    expect([...inputs].map((code) => alphabet[code]).join("")).toBe("abccab");
    expect([...targets].map((code) => alphabet[code]).join("")).toBe("bcaabd");
  });

  it("keeps a tenth from training", () => {
    expect(heldOut(text).length / text.codes.length).toBeCloseTo(0.1, 3);
  });

  it("refuses more characters than a byte tells apart", () => {
    const many = String.fromCharCode(...Array.from({ length: 257 }, (_, i) => 0x4e00 + i));
    expect(() => readText(many)).toThrow(/at most 256 different characters, got 257/);
  });
});

describe("transformer: attention", () => {
  const shape = { batch: 2, context: 5, heads: 3, width: 6 };
  const qkv = values(2 * 5 * 18, 1);
  const dy = values(2 * 5 * 6, 2);
  const p = new Float64Array(2 * 3 * 25);
  const y = new Float64Array(dy.length);

  it("backward agrees with central differences", () => {
    const want = differences(qkv, () => {
      attend(qkv, p, y, shape);
      return dot(y, dy);
    });
    attend(qkv, p, y, shape);
    const dqkv = new Float64Array(qkv.length).fill(9);
    attendBackward(qkv, p, dy, dqkv, shape);
    expectNear(dqkv, want, 1e-8);
  });

  it("does not look ahead, nor into another example", () => {
    attend(qkv, p, y, shape);
    const before = y.slice();
    const changed = qkv.slice();
    for (let c = 3 * 18; c < 4 * 18; c++) changed[c]! += 1;
    attend(changed, p, y, shape);
    const rows = Array.from({ length: 10 }, (_, row) => row);
    const moved = rows.filter((row) =>
      y.subarray(row * 6, row * 6 + 6).some((v, c) => v !== before[row * 6 + c]),
    );
    expect(moved).toEqual([3, 4]);
  });
});

describe("transformer: SwiGLU", () => {
  it("backward agrees with central differences", () => {
    const x = values(4 * 10, 3);
    const dy = values(4 * 5, 4);
    const y = new Float64Array(dy.length);
    const want = differences(x, () => {
      swiglu(x, y, 5);
      return dot(y, dy);
    });
    const dx = new Float64Array(x.length);
    swigluBackward(x, dy, dx, 5);
    expectNear(dx, want, 1e-8);
  });
});

describe("transformer: decoder", () => {
  it.each(WAYS)("loss and every gradient agree with a float64 reference and its differences, %s", (way) => {
    const decoder = new Decoder(SIZES, seededRandom(5));
    decoder.stream.way = way;
    // gammas of 1 would hide one that is left out
    const random = seededRandom(6);
    for (const { gamma } of decoder.stream.norms) gamma!.data.set(gamma!.data.map(() => 0.5 + random()));
    const codes = Uint8Array.from(values(2 * 5 + 1, 7), (value) => 3.5 + 3.5 * value);
    const inputs = codes.subarray(0, 10);
    const targets = codes.subarray(1, 11);
    const { loss, dlogits } = softmaxCrossEntropy(decoder.forward(inputs), targets);
    decoder.backward(dlogits);

    const parameters = decoder.parameters().map(({ data }) => Float64Array.from(data));
    const want = () => decoderLoss(parameters, SIZES, inputs, targets);
    // Float32 activations of size 1 in ten layers: some 1e-7 each.
    expect(Math.abs(loss - want())).toBeLessThan(2e-6);
    decoder.parameters().forEach(({ grad }, i) => {
      expectNear(grad, differences(parameters[i]!, want), 2e-6);
    });
    decoder.dispose();
  });
});

describe("transformer: training", () => {
  it("takes the same way down, by separate passes, fused and in turns", () => {
    const [separate, fused, turns] = [["separate"], ["fused"], WAYS].map((ways) => take(ways as Way[], 25));
    expect(separate!.map(({ way }) => way)).toEqual(Array(25).fill("separate"));
    expect(turns!.slice(0, 3).map(({ way }) => way)).toEqual(["fused", "separate", "fused"]);
    for (const [i, { loss }] of separate!.entries()) {
      // Rounding's difference in a step's gradients grows with the steps; a gradient left out gives 1e-2 at once.
      expect(Math.abs(fused![i]!.loss - loss)).toBeLessThan(1e-4);
      expect(Math.abs(turns![i]!.loss - loss)).toBeLessThan(1e-4);
    }
  });

  it("learns, and a seed fixes every loss", () => {
    const losses = take(WAYS, 60).map(({ loss }) => loss);
    expect(Math.abs(losses[0]! - Math.log(text.alphabet.length))).toBeLessThan(1);
    expect(losses.at(-1)).toBeLessThan(losses[0]! - 1);
    expect(take(WAYS, 5).map(({ loss }) => loss)).toEqual(losses.slice(0, 5));
    expect(take(WAYS, 5, { ...TINY, seed: 4 }).map(({ loss }) => loss)).not.toEqual(losses.slice(0, 5));
  });
});

describe("transformer: what it writes", () => {
  const sizes = { ...TINY, characters: text.alphabet.length };
  const learned = new Decoder(sizes, seededRandom(8));
  const reader = single(learned, sizes);

  it("has the weights that were learned", () => {
    const codes = text.codes.subarray(0, TINY.batch * TINY.context + 1);
    const starts = Array.from({ length: TINY.batch }, (_, i) => i * TINY.context);
    const { inputs, targets } = minibatch(codes, starts, TINY.context);
    const { loss } = softmaxCrossEntropy(learned.forward(inputs), targets);
    expect(Math.abs(lossOver(reader, codes, TINY.context) - loss)).toBeLessThan(1e-6);
  });

  it("continues the opening, the same with the same numbers drawn", () => {
    const writing = { context: TINY.context, length: 30, temperature: 1 };
    const once = write(reader, text, "Tom ", { ...writing, random: seededRandom(1) });
    expect(once).toHaveLength(34);
    expect(once.startsWith("Tom ")).toBe(true);
    expect(write(reader, text, "Tom ", { ...writing, random: seededRandom(1) })).toBe(once);
    expect(write(reader, text, "Tom ", { ...writing, random: seededRandom(2) })).not.toBe(once);
  });
});

describe("transformer: report", () => {
  const step = (at: number, way: Way, forward: number): Step => ({
    ...{ step: at, way, loss: 4 - at / 20, forward, backward: 2, optimizer: 1, total: 100 },
  });
  // The first ten are still being compiled.
  const steps = Array.from({ length: 40 }, (_, i) => step(i + 1, WAYS[i % 2]!, i < 10 ? 50 : i % 2 ? 1 : 4));

  it("has the medians of each way, without the first steps", () => {
    expect(timesOf(steps, "separate")).toEqual({
      ...{ steps: 15, forward: 4, backward: 2, norms: 6, share: 0.06, optimizer: 1, total: 100 },
    });
    const lines = table(steps, false).split("\n");
    expect(lines.find((line) => line.startsWith("both"))).toMatch(/6\.000 ms +3\.000 ms +2\.00/);
    expect(lines.find((line) => line.startsWith("their share"))).toMatch(/6\.00 % +3\.00 %/);
  });

  it("fits the terminal", () => {
    const lines = lossPlot([...steps, ...steps, ...steps], 60).split("\n");
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60);
    expect(lines.at(-1)).toMatch(/^ +step 1 +step 120$/);
  });
});
