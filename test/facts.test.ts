/**
 * Do gamma and beta undo batch normalization? The eight facts, each measured on the layer itself.
 * Ioffe and Szegedy 2015 (section 3); Goodfellow, Bengio and Courville 2016 (8.7.1); Santurkar et al. 2018.
 */
import { beforeEach, describe, expect, test } from "vitest";
import { type Library, load, normals } from "./cases.js";

let library: Library;
beforeEach(async () => {
  library = await load();
});

const [rows, units] = [32, 6];
/** Units of very different means and scales. */
const batch = (seed: number, m = rows) =>
  normals(m * units, seed).map((z, i) => {
    const unit = i % units;
    return 10 ** (unit - 3) * (z + unit - 2);
  });
const sum = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
const dot = (a: ArrayLike<number>, b: ArrayLike<number>) => sum(Array.from(a, (value, i) => value * b[i]!));
const norm = (values: ArrayLike<number>) => Math.sqrt(dot(values, values));
const minus = (a: ArrayLike<number>, b: ArrayLike<number>) =>
  Float64Array.from(a, (value, i) => value - b[i]!);
const column = (values: ArrayLike<number>, unit: number) =>
  Array.from(values).filter((_, i) => i % units === unit);

describe("fact 1: gamma = sqrt(var + eps) and beta = mu return the input, for that batch", () => {
  test("recoverIdentity makes forward the identity on the batch it was taken from", () => {
    const layer = new library.BatchNorm(units);
    const x = batch(1);
    layer.forward(x);
    layer.recoverIdentity("batch");
    const y = layer.forward(x);
    for (let unit = 0; unit < units; unit++) {
      const [given, back] = [column(x, unit), column(y, unit)];
      expect(norm(minus(given, back)) / norm(given)).toBeLessThan(1e-6);
    }
    expect(layer.gamma!.data[2]).toBeCloseTo(Math.sqrt(layer.batchVar![2]! + 1e-5), 6);
    expect(layer.beta!.data[2]).toBeCloseTo(layer.batchMean![2]!, 6);
    expect(layer.identityGap("batch").rms).toBeLessThan(1e-6);
  });

  test("the same gamma and beta on a fresh batch of 32 leave a good part of it changed", () => {
    const left = Array.from({ length: 20 }, (_, trial) => {
      const layer = new library.BatchNorm(1);
      layer.forward(normals(rows, 2 * trial), [rows, 1]);
      layer.recoverIdentity("batch");
      const fresh = normals(rows, 2 * trial + 1);
      return norm(minus(layer.forward(fresh, [rows, 1]), fresh)) / norm(fresh);
    }).sort((a, b) => a - b);
    // a batch of 32 knows the mean to 1 / sqrt(32) and the deviation to 1 / sqrt(64): 0.18 and 0.13
    expect(left[0]).toBeGreaterThan(0.01);
    expect(left[10]).toBeGreaterThan(0.1);
    expect(left[10]).toBeLessThan(0.5);
    expect(left[19]).toBeLessThan(0.9);
  });

  test("the identity gap says how far gamma and beta stand from there", () => {
    const layer = new library.BatchNorm(units);
    const x = batch(1);
    layer.forward(x);
    const gap = layer.identityGap("batch");
    let squares = 0;
    for (let unit = 0; unit < units; unit++) {
      const deviation = Math.sqrt(layer.batchVar![unit]! + 1e-5);
      expect(gap.scale[unit]).toBeCloseTo(1 / deviation, 3);
      expect(gap.shift[unit]! / (-layer.batchMean![unit]! / deviation)).toBeCloseTo(1, 5);
      squares += (gap.scale[unit]! - 1) ** 2 + gap.shift[unit]! ** 2;
    }
    expect(gap.rms / Math.sqrt(squares / units)).toBeCloseTo(1, 6);
  });
});

describe("fact 2: backward is not undone", () => {
  test("sum(dx) is 0, and the part along xhat is eps / (var + eps) of what it was", () => {
    for (const eps of [1e-5, 0.1, 3]) {
      const layer = new library.BatchNorm(units, { eps });
      const x = normals(rows * units, 1);
      layer.forward(x);
      layer.recoverIdentity("batch");
      const y = layer.forward(x);
      const dy = normals(rows * units, 2, 1, 0.5);
      const dx = layer.backward(dy);
      for (let unit = 0; unit < units; unit++) {
        const variance = layer.batchVar![unit]!;
        const mean = layer.batchMean![unit]!;
        const [dxs, dys] = [column(dx, unit), column(dy, unit)];
        expect(Math.abs(sum(dxs))).toBeLessThan(1e-5 * norm(dys) * Math.sqrt(rows));

        const xhat = column(y, unit).map((value) => (value - mean) / Math.sqrt(variance + eps));
        // the gain gamma * rstd is 1 here
        expect(dot(xhat, dxs) / dot(xhat, dys)).toBeCloseTo(eps / (variance + eps), 4);
      }
    }
  });

  test("what is projected out is what beta and gamma receive", () => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    const x = normals(rows * units, 1);
    const xhat = layer.forward(x);
    const dy = normals(rows * units, 2, 1, 0.5);
    const dx = layer.backward(dy);
    for (let unit = 0; unit < units; unit++) {
      const rstd = 1 / Math.sqrt(layer.batchVar![unit]!);
      const [beta, gamma] = [layer.beta!.grad[unit]!, layer.gamma!.grad[unit]!];
      const [dys, xhats, dxs] = [column(dy, unit), column(xhat, unit), column(dx, unit)];
      dys.forEach((value, i) => {
        const left = value - beta / rows - (xhats[i]! * gamma) / rows;
        expect(dxs[i]! / rstd).toBeCloseTo(left, 5);
      });
    }
  });
});

describe("fact 3: |dx|^2 = (gamma * rstd)^2 * (|dy|^2 - <1, dy>^2 / m - <xhat, dy>^2 / m)", () => {
  test("at eps = 0, for every unit", () => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    const xhat = layer.forward(batch(3));
    layer.gamma!.data.set([1, 2, -3, 0.5, 4, -0.25]);
    const dy = normals(rows * units, 4, 1, 0.3);
    layer.forward(batch(3));
    const dx = layer.backward(dy);
    for (let unit = 0; unit < units; unit++) {
      const [dxs, dys, xhats] = [column(dx, unit), column(dy, unit), column(xhat, unit)];
      const gain = layer.gamma!.data[unit]! ** 2 / layer.batchVar![unit]!;
      const want = gain * (dot(dys, dys) - sum(dys) ** 2 / rows - dot(xhats, dys) ** 2 / rows);
      expect(dot(dxs, dxs) / want).toBeCloseTo(1, 5);
    }
  });

  test("decomposeGradient gives the three shares, which make up the whole", () => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    const xhat = layer.forward(batch(3));
    const dy = normals(rows * units, 4, 1, 0.3);
    const shares = layer.decomposeGradient(dy);
    const grads = layer.gamma!.grad.slice();
    for (let unit = 0; unit < units; unit++) {
      const [dys, xhats] = [column(dy, unit), column(xhat, unit)];
      const whole = dot(dys, dys);
      expect(shares.mean[unit]).toBeCloseTo(sum(dys) ** 2 / rows / whole, 5);
      expect(shares.xhat[unit]).toBeCloseTo(dot(xhats, dys) ** 2 / rows / whole, 5);
      expect(shares.mean[unit]! + shares.xhat[unit]! + shares.rest[unit]!).toBeCloseTo(1, 6);
    }
    // it looks, and takes no step
    expect(layer.gamma!.grad).toEqual(grads);
  });
});

describe("fact 4: small batches", () => {
  test("m = 1: y = beta and dx = 0 (the layer refuses to train on it, a mask of one row too)", () => {
    // group norm with a value a group is the same arithmetic, and does it
    const layer = new library.GroupNorm(3, 3);
    layer.beta!.data.set([1, 2, 3]);
    layer.gamma!.data.set([4, 5, 6]);
    expect(layer.forward(Float32Array.of(7, -8, 1e30), [1, 3])).toEqual(Float32Array.of(1, 2, 3));
    const rstd = 1 / Math.sqrt(1e-5);
    layer.backward(Float32Array.of(1, 2, 3)).forEach((value, i) => {
      expect(Math.abs(value)).toBeLessThanOrEqual(4 * 2 ** -23 * rstd * [4, 10, 18][i]!);
    });
    const batchNorm = new library.BatchNorm(3);
    expect(() => batchNorm.forward(Float32Array.of(7, -8, 1e30), [1, 3])).toThrow(RangeError);
  });

  test("m = 2: dx = 0 for any dy at eps = 0", () => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    layer.forward(normals(2 * units, 1), [2, units]);
    const dy = normals(2 * units, 2, 10, 3);
    for (const value of layer.backward(dy)) expect(Math.abs(value)).toBeLessThan(1e-4);
  });

  test("a random dy keeps about (m - 2) / m of its energy when gamma is sigma", () => {
    for (const m of [3, 4, 8, 32]) {
      const channels = 2000;
      const layer = new library.BatchNorm(channels, { eps: 0 });
      const x = normals(m * channels, m);
      layer.forward(x, [m, channels]);
      layer.recoverIdentity("batch");
      layer.forward(x, [m, channels]);
      const dy = normals(m * channels, 100 + m);
      const dx = layer.backward(dy);
      expect(dot(dx, dx) / dot(dy, dy)).toBeCloseTo((m - 2) / m, 1);
    }
  });
});

describe("fact 5: in evaluation mode the layer is one affine map, and gamma and beta undo it both ways", () => {
  test("forward is the identity and dx is dy, for any input", () => {
    const layer = new library.BatchNorm(units);
    for (let step = 0; step < 5; step++) layer.forward(batch(step));
    layer.eval();
    layer.recoverIdentity("running");
    expect(layer.identityGap("running").rms).toBeLessThan(1e-6);
    const fresh = batch(99);
    const y = layer.forward(fresh);
    const dy = normals(rows * units, 5);
    const dx = layer.backward(dy);
    for (let unit = 0; unit < units; unit++) {
      const [given, back] = [column(fresh, unit), column(y, unit)];
      expect(norm(minus(given, back)) / norm(given)).toBeLessThan(1e-5);
      expect(norm(minus(column(dx, unit), column(dy, unit)))).toBeLessThan(1e-6 * norm(column(dy, unit)));
    }
  });
});

describe("fact 6: examples are coupled in training, and not in evaluation", () => {
  test("dy_i / dx_j = -gamma * rstd * (1 + xhat_i * xhat_j) / m", () => {
    const m = 6;
    const layer = new library.BatchNorm(1, { eps: 0 });
    const x = normals(m, 1, 3, 2);
    const xhat = layer.forward(x, [m, 1]);
    layer.gamma!.data[0] = 1.7;
    const rstd = 1 / Math.sqrt(layer.batchVar![0]!);
    for (let i = 0; i < m; i++) {
      layer.forward(x, [m, 1]);
      const unit = new Float32Array(m);
      unit[i] = 1;
      const row = layer.backward(unit);
      for (let j = 0; j < m; j++) {
        const own = i === j ? 1 : 0;
        expect(row[j]).toBeCloseTo(1.7 * rstd * (own - (1 + xhat[i]! * xhat[j]!) / m), 5);
      }
    }
    layer.eval();
    layer.forward(x, [m, 1]);
    const row = layer.backward(Float32Array.of(1, 0, 0, 0, 0, 0));
    expect(Array.from(row.subarray(1), Math.abs)).toEqual([0, 0, 0, 0, 0]);
    expect(row[0]).not.toBe(0);
  });

  test("changing one example changes the others' outputs", () => {
    const layer = new library.BatchNorm(1);
    const x = normals(8, 1);
    const y = layer.forward(x, [8, 1]);
    x[0] = 5;
    const other = layer.forward(x, [8, 1]);
    for (let i = 1; i < 8; i++) expect(other[i]).not.toBe(y[i]);
  });
});

describe("fact 7: what stands before the layer", () => {
  const inputs = 4;
  const features = normals(rows * inputs, 1);
  const dense = (weight: ArrayLike<number>, bias: ArrayLike<number>) =>
    Float32Array.from({ length: rows * units }, (_, i) => {
      const [row, unit] = [Math.floor(i / units), i % units];
      let value = bias[unit]!;
      for (let k = 0; k < inputs; k++) value += features[row * inputs + k]! * weight[k * units + unit]!;
      return value;
    });
  /** The gradients of weight and bias, through the layer. */
  const gradients = (weight: Float32Array, dy: Float32Array) => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    layer.forward(dense(weight, new Float32Array(units)));
    const dx = layer.backward(dy);
    return {
      bias: Array.from({ length: units }, (_, unit) => sum(column(dx, unit))),
      weight: Float64Array.from({ length: inputs * units }, (_, i) => {
        const [k, unit] = [Math.floor(i / units), i % units];
        return sum(
          Array.from({ length: rows }, (_, row) => features[row * inputs + k]! * dx[row * units + unit]!),
        );
      }),
    };
  };
  const weight = normals(inputs * units, 2);
  const dy = normals(rows * units, 3);

  test("a bias is redundant: the output does not change with it, and its gradient is 0", () => {
    const layer = new library.BatchNorm(units);
    const without = layer.forward(dense(weight, new Float32Array(units)));
    const shifted = layer.forward(dense(weight, [1, -2, 3, 10, -0.5, 7]));
    expect(norm(minus(without, shifted)) / norm(without)).toBeLessThan(1e-5);
    for (const gradient of gradients(weight, dy).bias) expect(Math.abs(gradient)).toBeLessThan(1e-5);
  });

  test("it is blind to the scale of the weights, whose gradient shrinks by that scale", () => {
    const layer = new library.BatchNorm(units, { eps: 0 });
    const zero = new Float32Array(units);
    const tenfold = weight.map((value) => 10 * value);
    const y = layer.forward(dense(weight, zero));
    expect(norm(minus(layer.forward(dense(tenfold, zero)), y)) / norm(y)).toBeLessThan(1e-5);
    const ratio = norm(gradients(weight, dy).weight) / norm(gradients(tenfold, dy).weight);
    expect(ratio).toBeCloseTo(10, 3);
  });

  test("the gradient of the weights stands at a right angle to them", () => {
    const gradient = gradients(weight, dy).weight;
    for (let unit = 0; unit < units; unit++) {
      const [w, g] = [column(weight, unit), column(gradient, unit)];
      expect(Math.abs(dot(w, g)) / (norm(w) * norm(g))).toBeLessThan(1e-5);
    }
  });
});

describe("fact 8: a sigmoid behind the layer stays in its linear part", () => {
  test.each([
    [1, 0.984],
    [2, 0.93],
    [5, 0.808],
  ])("R^2 of the best line through sigmoid(%d z) is %d", (gain, r2) => {
    const m = 100_000;
    const layer = new library.BatchNorm(1);
    layer.gamma!.data[0] = gain;
    // skewed and far away before the layer, z ~ N(0, 1) scaled by gain after it
    const z = layer.forward(normals(m, 8, 300, -5000), [m, 1]);
    const s = Float64Array.from(z, (value) => 1 / (1 + Math.exp(-value)));
    const [meanZ, meanS] = [sum(z) / m, sum(s) / m];
    const zc = Float64Array.from(z, (value) => value - meanZ);
    const sc = Float64Array.from(s, (value) => value - meanS);
    expect(dot(zc, sc) ** 2 / (dot(zc, zc) * dot(sc, sc))).toBeCloseTo(r2, 2);
  });
});

describe("same functions, different training", () => {
  test("the mean of the output is set by beta alone", () => {
    const layer = new library.BatchNorm(units);
    layer.beta!.data.set([0, 1, -2, 3, 100, 0.5]);
    for (const seed of [1, 2]) {
      const y = layer.forward(batch(seed).map((value) => value * (seed === 2 ? -50 : 1)));
      for (let unit = 0; unit < units; unit++) {
        expect(sum(column(y, unit)) / rows).toBeCloseTo(layer.beta!.data[unit]!, 4);
      }
    }
  });
});
