/** RevIN against the paper's formulas in float64, and its gradients against differences of a float64 network. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SGD, tensor } from "../src/index.js";
import { RevIN } from "../src/scaler.js";
import { U, uniforms } from "./scaler-reference.js";

const [B, T, C, H] = [3, 7, 2, 4];
const EPS = 1e-5;

/** Normalization, a model `z[h] = sum over t of w[h][t] * y[t]` for each series, and the way back; as the paper has it. */
function network(
  x: number[],
  gamma: number[],
  beta: number[],
  w: number[][],
): { y: number[]; out: number[] } {
  const y: number[] = Array(B * T * C);
  const out: number[] = Array(B * H * C);
  for (let b = 0; b < B; b++) {
    for (let c = 0; c < C; c++) {
      const series = Array.from({ length: T }, (_, t) => x[(b * T + t) * C + c]!);
      const mu = series.reduce((sum, v) => sum + v, 0) / T;
      const s = Math.sqrt(series.reduce((sum, v) => sum + (v - mu) ** 2, 0) / T + EPS);
      const normalized = series.map((v) => ((v - mu) / s) * gamma[c]! + beta[c]!);
      normalized.forEach((v, t) => {
        y[(b * T + t) * C + c] = v;
      });
      w.forEach((row, h) => {
        const z = row.reduce((sum, weight, t) => sum + weight * normalized[t]!, 0);
        out[(b * H + h) * C + c] = ((z - beta[c]!) / (gamma[c]! + EPS * EPS)) * s + mu;
      });
    }
  }
  return { y, out };
}

const u = uniforms(21);
const x = Float32Array.from({ length: B * T * C }, (_, i) => (i % C) * 5 + 2 * u());
const gamma = [1.3, -0.7];
const beta = [0.2, 0.5];
const w = Array.from({ length: H }, () => Array.from({ length: T }, () => u() - 0.5));
const dout = Float32Array.from({ length: B * H * C }, () => u() - 0.5);

function ready(options = {}): RevIN {
  const revin = new RevIN(C, options);
  revin.gamma!.data.set(gamma);
  revin.beta!.data.set(beta);
  return revin;
}

/** The model's way there (`transposed`: the gradient's way back), for each series. */
function model(values: Float32Array, transposed = false): Float32Array {
  const [from, to] = transposed ? [H, T] : [T, H];
  const result = new Float32Array(B * to * C);
  for (let b = 0; b < B; b++)
    for (let c = 0; c < C; c++)
      for (let i = 0; i < to; i++) {
        let sum = 0;
        for (let k = 0; k < from; k++) {
          const weight = transposed ? w[k]![i]! : w[i]![k]!;
          sum += weight * values[(b * from + k) * C + c]!;
        }
        result[(b * to + i) * C + c] = sum;
      }
  return result;
}

/** d(loss)/d(value k) by a central difference in float64; `loss` weighs the network's outputs. */
function difference(values: number[], k: number, loss: (changed: number[]) => number): number {
  const step = 1e-5;
  const at = (by: number) => loss(values.map((value, i) => (i === k ? value + by : value)));
  return (at(step) - at(-step)) / (2 * step);
}

const weighted = (out: number[]) => out.reduce((sum, value, i) => sum + value * dout[i]!, 0);

describe("RevIN", () => {
  test("normalizes each series of a window and puts back what the model makes of it", () => {
    const revin = ready();
    // float32 holds gamma and beta rounded.
    const [g, b] = [[...revin.gamma!.data], [...revin.beta!.data]];
    const want = network([...x], g, b, w);
    const y = revin.normalize(x, [B, T, C]);
    y.forEach((value, i) => {
      expect(Math.abs(value - want.y[i]!)).toBeLessThan(4 * U * 3);
    });
    const out = revin.denormalize(model(y), [B, H, C]);
    out.forEach((value, i) => {
      expect(Math.abs(value - want.out[i]!)).toBeLessThan(16 * U * 10);
    });
  });

  test("what was normalized comes back, at any mean and deviation", () => {
    fc.assert(
      fc.property(
        fc.double({ min: -6, max: 6, noNaN: true }),
        fc.double({ min: -1e6, max: 1e6, noNaN: true }),
        (power, mean) => {
          const uniform = uniforms(9);
          const series = Float32Array.from({ length: 40 * C }, () => mean + 10 ** power * uniform());
          const revin = ready();
          const y = revin.normalize(series, [1, 40, C]);
          const back = revin.denormalize(y, [1, 40, C]);
          for (let i = 0; i < series.length; i++) {
            // y was rounded once, and so is what comes back; both by half a unit at most.
            const c = i % C;
            const rounded = Math.abs((y[i]! * revin.deviation[c]!) / gamma[c]!) + Math.abs(series[i]!);
            expect(Math.abs(back[i]! - series[i]!)).toBeLessThanOrEqual(U * rounded);
          }
        },
      ),
    );
  });

  test("a constant series gives exactly beta, and comes back", () => {
    const revin = ready();
    const y = revin.normalize(new Float32Array(10 * C).fill(14.62), [10, C]);
    expect([...new Set(y)]).toEqual([...revin.beta!.data]);
    expect([...new Set(revin.denormalize(y, [10, C]))]).toEqual([Math.fround(14.62)]);
  });

  test("gradients through the statistics (detach: false) are those of the whole network", () => {
    const revin = ready({ detach: false });
    const [g, b] = [[...revin.gamma!.data], [...revin.beta!.data]];
    revin.denormalize(model(revin.normalize(x, [B, T, C])), [B, H, C]);
    const dx = revin.normalizeBackward(model(revin.denormalizeBackward(dout), true));
    for (let k = 0; k < x.length; k++) {
      expect(dx[k]).toBeCloseTo(
        difference([...x], k, (changed) => weighted(network(changed, g, b, w).out)),
        5,
      );
    }
    for (let c = 0; c < C; c++) {
      expect(revin.gamma!.grad[c]).toBeCloseTo(
        difference(g, c, (changed) => weighted(network([...x], changed, b, w).out)),
        5,
      );
      expect(revin.beta!.grad[c]).toBeCloseTo(
        difference(b, c, (changed) => weighted(network([...x], g, changed, w).out)),
        5,
      );
    }
  });

  test("by default statistics are constants, as in the authors' code: dx is gamma / deviation * dy", () => {
    const revin = ready();
    revin.normalize(x, [B, T, C]);
    const dy = Float32Array.from({ length: x.length }, () => u() - 0.5);
    const deviation = revin.deviation;
    const dx = revin.normalizeBackward(dy);
    dx.forEach((value, i) => {
      const series = Math.floor(i / (T * C)) * C + (i % C);
      expect(value).toBeCloseTo((revin.gamma!.data[i % C]! / deviation[series]!) * dy[i]!, 6);
    });
    // Gamma and beta have the same gradients either way, and add them up.
    revin.normalize(x, [B, T, C]);
    revin.normalizeBackward(dy);
    const through = ready({ detach: false });
    through.normalize(x, [B, T, C]);
    through.normalizeBackward(dy);
    for (let c = 0; c < C; c++) {
      expect(revin.gamma!.grad[c]).toBeCloseTo(2 * through.gamma!.grad[c]!, 5);
      expect(revin.beta!.grad[c]).toBeCloseTo(2 * through.beta!.grad[c]!, 5);
    }
    revin.zeroGrad();
    expect([...revin.gamma!.grad, ...revin.beta!.grad]).toEqual([0, 0, 0, 0]);
  });

  test("an optimizer takes its parameters; without affine there are none", () => {
    const revin = ready();
    revin.normalize(x, [B, T, C]);
    revin.normalizeBackward(new Float32Array(x.length).fill(1));
    new SGD(revin.parameters(), { lr: 0.1 }).step();
    expect(revin.beta!.data[0]).toBeCloseTo(0.2 - 0.1 * B * T, 5);
    const plain = new RevIN(C, { affine: false });
    expect([plain.gamma, plain.beta, plain.parameters()]).toEqual([null, null, []]);
    const y = plain.normalize(x, [B, T, C]);
    const back = plain.denormalize(y, { shape: [B, T, C] });
    back.forEach((value, i) => {
      expect(Math.abs(value - x[i]!)).toBeLessThan(8 * U * 8);
    });
  });

  test("Tensors give Tensors of their shape", () => {
    const window = tensor([B, T, C], x);
    const revin = ready();
    const y = revin.normalize(window);
    expect(y.shape).toEqual([B, T, C]);
    expect(y.data).toEqual(ready().normalize(x, [B, T, C]));
    const back = revin.denormalize(y);
    expect(back.shape).toEqual([B, T, C]);
    for (const each of [window, y, back]) each.dispose();
  });

  test("NaN stays in its own series", () => {
    const holes = x.slice();
    holes[0] = Number.NaN;
    const y = ready().normalize(holes, [B, T, C]);
    const want = ready().normalize(x, [B, T, C]);
    y.forEach((value, i) => {
      if (i < T * C && i % C === 0) expect(value).toBeNaN();
      else expect(value).toBe(want[i]);
    });
  });

  test.each<[string, (revin: RevIN) => unknown, string]>([
    ["no shape", (r) => r.normalize(x), "RevIN.normalize: expected shape"],
    ["another number of features", (r) => r.normalize(x, [B, C, T]), "expected shape to be [..., time, 2]"],
    ["one axis", (r) => r.normalize(x.subarray(0, 2), [2]), "expected shape to be [..., time, 2]"],
    ["another length", (r) => r.normalize(x, [B, T + 1, C]), "expected x to have 48 values"],
    [
      "float64",
      (r) => r.normalize(new Float64Array(4) as unknown as Float32Array, [2, 2]),
      "to be a Float32Array",
    ],
    ["no steps", (r) => r.normalize(new Float32Array(0), [B, 0, C]), "expected one time step at least"],
    ["other windows", (r) => r.denormalize(x.subarray(0, 4), [1, 2, C]), "expected 3 windows, got 1"],
    [
      "a gradient of another length",
      (r) => r.normalizeBackward(dout),
      "expected the gradient to have 42 values",
    ],
    ["backward of nothing", (r) => r.denormalizeBackward(dout), "expected denormalize before it"],
  ])("refuses %s, and nothing has changed", (_, act, message) => {
    const revin = ready();
    revin.normalize(x, [B, T, C]);
    const { mean } = revin;
    expect(() => act(revin)).toThrow(message);
    expect(revin.mean).toEqual(mean);
    expect(revin.normalizeBackward(x).length).toBe(x.length);
    expect(() => revin.normalizeBackward(x)).toThrow("expected normalize before it");
  });

  test("refuses a way back without a way there, and wrong options", () => {
    expect(() => new RevIN(C).denormalize(x, [B, T, C])).toThrow("expected normalize before it");
    expect(() => ready().normalizeBackward(x)).toThrow("expected normalize before it");
    expect(() => new RevIN(0)).toThrow(RangeError);
    expect(() => new RevIN(C, { eps: -1 })).toThrow(RangeError);
    expect(() => new RevIN(C, { detach: 1 as unknown as boolean })).toThrow(TypeError);
    const unsaved = ready();
    unsaved.normalize(x, { shape: [B, T, C], save: false });
    expect(() => unsaved.normalizeBackward(x)).toThrow("expected normalize before it");
  });
});
