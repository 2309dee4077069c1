/** RMS norm's casting "llama": what Hugging Face's LlamaRMSNorm computes, `weight * hidden.to(dtype)`, from its formula in float64. */
import { beforeAll, describe, expect, test } from "vitest";
import { ACTIVATIONS, type ActivationName } from "./activations.js";
import { type Library, load, normals, variants } from "./cases.js";
import { HALVES, type Half, halfUnit, nearest } from "./halves.js";

const u = 2 ** -23;

describe.each(variants)("casting, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  /** What xhat can be rounded to, as float32's own error may take it over a middle. */
  const candidates = (half: Half, xhat: number) => [
    nearest(half, xhat),
    nearest(half, xhat * (1 + 4 * u)),
    nearest(half, xhat * (1 - 4 * u)),
  ];

  function reference(x: Float32Array, rows: number, n: number) {
    const xhat = new Float64Array(rows * n);
    const rstd = new Float64Array(rows);
    for (let i = 0; i < rows; i++) {
      let sum = 0;
      for (let j = 0; j < n; j++) sum += x[i * n + j]! ** 2;
      rstd[i] = 1 / Math.sqrt(sum / n + 1e-6);
      for (let j = 0; j < n; j++) xhat[i * n + j] = x[i * n + j]! * rstd[i]!;
    }
    return { xhat, rstd };
  }

  function inputs(half: Half, rows: number, n: number) {
    return {
      x: normals(rows * n, 1, 2).map((value) => nearest(half, value)),
      gamma: normals(n, 2, 0.3, 1),
      dy: normals(rows * n, 3).map((value) => nearest(half, value)),
      residual: normals(rows * n, 4).map((value) => nearest(half, value)),
    };
  }

  const cases = HALVES.flatMap((half) =>
    [
      [1, 1],
      [3, 7],
      [5, 64],
      [19, 1031],
      [33, 4096],
    ].map(([rows, n]) => [half, rows!, n!] as const),
  );

  test.each(cases)("%s of %i x %i: forward and backward", (half, rows, n) => {
    const { x, gamma, dy } = inputs(half, rows, n);
    const { xhat, rstd } = reference(x, rows, n);
    const layer = new library.RMSNorm(n, { casting: "llama" });
    layer.gamma!.data.set(gamma);
    const tensor = (values: Float32Array) => library.tensor([rows, n], values, { dtype: half });
    const y = layer.forward(tensor(x)).toArray();
    let twice = 0;
    y.forEach((got, i) => {
      const g = gamma[i % n]!;
      const fits = candidates(half, xhat[i]!).some(
        (rounded) => Math.abs(got - g * rounded) <= halfUnit(half, g * rounded) * (1 + 2 ** -10),
      );
      if (!fits) expect.fail(`y[${i}]: ${got}, not ${g} * ${nearest(half, xhat[i]!)}`);
      if (got !== nearest(half, g * xhat[i]!)) twice++;
    });
    // Rounding twice is seen, or the test would not see it.
    if (n > 1000) expect(twice).toBeGreaterThan(n / 10);

    const dx = layer.backward(dy);
    const dgamma = new Float64Array(n);
    const slack = new Float64Array(n);
    for (let i = 0; i < rows; i++) {
      let dot = 0;
      let largest = 0;
      for (let j = 0; j < n; j++) {
        const at = i * n + j;
        dot += gamma[j]! * dy[at]! * xhat[at]!;
        largest = Math.max(largest, Math.abs(gamma[j]! * dy[at]!));
        const rounded = candidates(half, xhat[at]!);
        dgamma[j]! += dy[at]! * rounded[0]!;
        slack[j]! +=
          Math.abs(dy[at]!) * (Math.max(...rounded) - Math.min(...rounded) + 4 * u * Math.abs(rounded[0]!));
      }
      for (let j = 0; j < n; j++) {
        const at = i * n + j;
        const want = rstd[i]! * (gamma[j]! * dy[at]! - (xhat[at]! * dot) / n);
        const bound =
          4 * u * rstd[i]! * largest * Math.max(1, Math.abs(xhat[at]!)) + 0.5 * u * Math.abs(want);
        if (!(Math.abs(dx[at]! - want) <= bound)) expect.fail(`dx[${at}]: ${dx[at]}, not ${want}`);
      }
    }
    dgamma.forEach((want, j) => {
      if (!(Math.abs(layer.gamma!.grad[j]! - want) <= slack[j]! + u * Math.abs(want)))
        expect.fail(`dgamma[${j}]: ${layer.gamma!.grad[j]}, not ${want}`);
    });
  });

  test.each(HALVES)("%s: what follows sees the rounded values", (half) => {
    const [rows, n] = [6, 50];
    const { x, gamma, dy, residual } = inputs(half, rows, n);
    const { xhat } = reference(x, rows, n);
    const tensor = (values: Float32Array) => library.tensor([rows, n], values, { dtype: half });
    for (const activation of ["none", "relu", "silu"] as ActivationName[]) {
      for (const added of [undefined, residual]) {
        const layer = new library.RMSNorm(n, { casting: "llama", activation: activation as "relu" });
        layer.gamma!.data.set(gamma);
        const y = layer.forward(tensor(x), added && { residual: tensor(added) }).toArray();
        const act = ACTIVATIONS[activation];
        const dgamma = new Float64Array(n);
        const size = new Float64Array(n);
        y.forEach((got, i) => {
          const z = gamma[i % n]! * nearest(half, xhat[i]!) + (added?.[i] ?? 0);
          const unit = halfUnit(half, Math.abs(z) + 1);
          // A middle that float32's error may have crossed moves z by a unit.
          const moved = new Set(candidates(half, xhat[i]!)).size > 1 ? 4 * unit : 0;
          if (!(Math.abs(got - act.value(z)) <= halfUnit(half, act.value(z)) * 1.01 + 16 * u + moved))
            expect.fail(`${activation} y[${i}]: ${got}, not ${act.value(z)}`);
          dgamma[i % n]! += dy[i]! * act.slope(z) * nearest(half, xhat[i]!);
          size[i % n]! += Math.abs(dy[i]! * xhat[i]!) * (32 * u + moved);
        });
        const dx = layer.backward(tensor(dy));
        expect(dx.dtype).toBe(half);
        dgamma.forEach((want, j) => {
          if (!(Math.abs(layer.gamma!.grad[j]! - want) <= size[j]! + 32 * u))
            expect.fail(`${activation} dgamma[${j}]: ${layer.gamma!.grad[j]}, not ${want}`);
        });
        layer.dispose();
      }
    }
  });

  test("float32 is not rounded, and the default rounds once", () => {
    const x = normals(600, 1);
    const once = new library.RMSNorm(100);
    const llama = new library.RMSNorm(100, { casting: "llama" });
    expect([once.casting, llama.casting]).toEqual(["once", "llama"]);
    expect(llama.forward(x)).toEqual(once.forward(x));
    expect(() => new library.RMSNorm(3, { casting: "twice" as "once" })).toThrow(
      'casting to be "once" or "llama"',
    );
  });

  test("without gamma, under a mask, and with nothing kept", () => {
    const x = library.tensor([4, 40], normals(160, 1), { dtype: "bfloat16" });
    const mask = Uint8Array.of(1, 0, 1, 1);
    const layer = new library.RMSNorm(40, { casting: "llama", affine: false });
    const y = layer.forward(x, { save: false }).toArray();
    // Rounded to the type, and to it again.
    expect(y).toEqual(new library.RMSNorm(40).forward(x).toArray());
    const masked = new library.RMSNorm(40, { casting: "llama" });
    const rows = new library.RMSNorm(40, { casting: "llama" });
    const dy = normals(160, 2);
    masked.forward(x, { mask });
    masked.backward(dy);
    rows.forward(x);
    rows.backward(dy.map((value, i) => (i >= 40 && i < 80 ? 0 : value)));
    masked.gamma!.grad.forEach((value, j) => {
      expect(Math.abs(value - rows.gamma!.grad[j]!)).toBeLessThan(1e-5);
    });
  });
});
