/** The laboratory's normalizations and measures against the package's own and against formulas. */
import { describe, expect, test } from "vitest";
import { BatchNorm } from "wasm-norm";
import { seededRandom } from "../../digits/random.ts";
import { nearest, sharesOf, squaredGap } from "../src/lab-measures.ts";
import { GHOST, NORMALIZATIONS, type NormalizationId, normalization, RENORM } from "../src/lab-norms.ts";
import { queryOf, settingsFrom } from "../src/lab-settings.ts";
import { experiment } from "../src/lab-train.ts";
import { test as testDigits, training } from "./digits.ts";

const ROWS = 19;
const UNITS = 32;
const random = seededRandom(5);
const values = (scale = 1, shift = 0) =>
  Float32Array.from({ length: ROWS * UNITS }, () => scale * (2 * random() - 1) + shift);
const [h, dy] = [values(2, 0.7), values(1, 0.1)];
const ALL = Object.keys(NORMALIZATIONS).filter((id) => id !== "none") as NormalizationId[];

const close = (got: ArrayLike<number>, expected: ArrayLike<number>, digits = 4) => {
  expect(got.length).toBe(expected.length);
  for (let i = 0; i < got.length; i++) expect(got[i], `at ${i}`).toBeCloseTo(expected[i]!, digits);
};

describe.each(ALL)("%s", (id) => {
  /** gamma and beta away from 1 and 0, and renormalization past its warm-up. */
  function made() {
    const norm = normalization(id, UNITS)!;
    norm.gamma.data.forEach((_, c) => {
      norm.gamma.data[c] = 0.5 + c / UNITS;
      if (norm.beta) norm.beta.data[c] = 0.3 - c / UNITS;
    });
    if (id === "renorm") for (let i = 0; i <= RENORM.warmUp; i++) norm.forward(h);
    return norm;
  }

  test("the gradients of gamma, beta and, where statistics are not bounded, h are the slopes of the loss", () => {
    const norm = made();
    const loss = () => norm.forward(h, false).reduce((sum, y, i) => sum + y * dy[i]!, 0);
    const slope = (into: Float32Array, at: number) => {
      const [kept, step] = [into[at]!, 1e-2];
      into[at] = kept + step;
      const above = loss();
      into[at] = kept - step;
      const below = loss();
      into[at] = kept;
      return (above - below) / (2 * step);
    };
    norm.gamma.grad.fill(0);
    norm.beta?.grad.fill(0);
    // The statistics that renormalization leans on are those before this minibatch.
    const slopes = {
      gamma: [0, 7].map((c) => slope(norm.gamma.data, c)),
      beta: norm.beta ? [0, 7].map((c) => slope(norm.beta!.data, c)) : [],
      h: [3, 40, ROWS * UNITS - 1].map((at) => slope(h, at)),
    };
    norm.forward(h);
    const dx = norm.backward(dy);
    close(
      [0, 7].map((c) => norm.gamma.grad[c]!),
      slopes.gamma,
      2,
    );
    if (norm.beta)
      close(
        [0, 7].map((c) => norm.beta!.grad[c]!),
        slopes.beta,
        2,
      );
    // r and d count as constants though they move with h: that slope is not what renormalization follows.
    if (id !== "renorm")
      close(
        [3, 40, ROWS * UNITS - 1].map((at) => dx[at]!),
        slopes.h,
        2,
      );
    norm.dispose();
  });

  test("what is said to stop at the layer does not reach h", () => {
    const norm = made();
    norm.forward(h);
    const { centred, members } = norm.groups(ROWS);
    const atXhat = (places: Uint32Array, pattern: (at: number) => number) => {
      const g = new Float32Array(ROWS * UNITS);
      for (const at of places) g[at] = pattern(at) / norm.gamma.data[at % UNITS]!;
      return g;
    };
    const places = members[members.length - 1]!;
    const energy = (g: Float32Array) => {
      norm.forward(h);
      return norm.backward(g).reduce((sum, value) => sum + value * value, 0);
    };
    const sum = places.reduce((total, at) => total + h[at]!, 0);
    const center = centred ? sum / places.length : 0;
    const alongMean = energy(atXhat(places, () => 1));
    const alongXhat = energy(atXhat(places, (at) => h[at]! - center));
    const other = energy(atXhat(places, (at) => (at === places[0] ? 1 : 0)));
    expect(other).toBeGreaterThan(0.01);
    if (centred) expect(alongMean).toBeLessThan(1e-6 * other);
    expect(alongXhat).toBeLessThan(1e-6 * other);
    norm.dispose();
  });

  test("measuring leaves no trace", () => {
    const norm = made();
    const before = norm.evaluate(h);
    norm.forward(values(9, -4), false);
    expect(norm.evaluate(h)).toEqual(before);
    norm.dispose();
  });
});

test("ghosts are minibatches of their own, and the rows left over join the last", () => {
  const ghost = normalization("ghost", UNITS)!;
  const alone = new BatchNorm(UNITS);
  const y = ghost.forward(h);
  const cut = GHOST * UNITS;
  expect(y.subarray(0, cut)).toEqual(alone.forward(h.subarray(0, cut)));
  expect(y.subarray(cut)).toEqual(alone.forward(h.subarray(cut)));
  alone.eval();
  expect(ghost.evaluate(h)).toEqual(alone.forward(h));
});

test("renormalization is the paper's formula, with its bounds", () => {
  const norm = normalization("renorm", UNITS)!;
  const batch = new BatchNorm(UNITS);
  close(norm.forward(h), batch.forward(h), 5);
  for (let i = 1; i < RENORM.warmUp; i++) norm.forward(h);
  // The running statistics after so many times the same minibatch, from 0 and 1.
  const left = 0.9 ** RENORM.warmUp;
  const statistics = (x: Float32Array, c: number) => {
    const column = Array.from({ length: ROWS }, (_, i) => x[i * UNITS + c]!);
    const mean = column.reduce((a, b) => a + b, 0) / ROWS;
    return { mean, sigma: Math.sqrt(column.reduce((a, b) => a + (b - mean) ** 2, 0) / ROWS + 1e-5) };
  };
  for (const x of [values(1.5, 0.2), values(200, 0), values(0.001, 90)]) {
    const y = norm.forward(x, false);
    for (let c = 0; c < UNITS; c++) {
      const [seen, now] = [statistics(h, c), statistics(x, c)];
      const mean = seen.mean * (1 - left);
      const sigma = seen.sigma * (1 - left) + left;
      const r = Math.max(1 / 3, Math.min(3, now.sigma / sigma));
      const d = Math.max(-5, Math.min(5, (now.mean - mean) / sigma));
      expect(y[c]).toBeCloseTo(((x[c]! - now.mean) / now.sigma) * r + d, 2);
    }
  }
});

describe("measures", () => {
  const norm = new BatchNorm(UNITS);
  norm.forward(h);
  const batch = normalization("batch", UNITS)!;

  test("gradient shares are decomposeGradient's, in [0, 1], and 1 together", () => {
    const { total } = norm.decomposeGradient(dy);
    const shares = sharesOf(h, dy, batch.groups(ROWS));
    close([shares.mean, shares.xhat, shares.rest], [total.mean, total.xhat, total.rest]);
    for (const id of ALL) {
      const { mean, xhat, rest } = sharesOf(h, dy, normalization(id, UNITS)!.groups(ROWS));
      expect(mean + xhat + rest).toBeCloseTo(1, 6);
      expect(xhat, id).toBeGreaterThan(0);
      expect(mean > 0, id).toBe(id !== "rms");
    }
  });

  test("the distance is identityGap's, and least squares find the undoing", () => {
    const y = norm.forward(h);
    expect(Math.sqrt(squaredGap(h, y, UNITS))).toBeCloseTo(norm.identityGap().rms, 4);
    const { gamma, beta } = nearest(h, y, UNITS, true);
    norm.recoverIdentity();
    close(gamma, norm.gamma!.data);
    close(beta, norm.beta!.data);
  });

  test("where examples have statistics of their own, nothing comes nearer than what is called undone", () => {
    const layer = normalization("layer", UNITS)!;
    const { gamma, beta } = nearest(h, layer.forward(h, false), UNITS, true);
    layer.gamma.data.set(gamma);
    layer.beta!.data.set(beta);
    const least = squaredGap(h, layer.forward(h, false), UNITS);
    expect(least).toBeGreaterThan(0.001);
    for (const parameter of [layer.gamma, layer.beta!]) {
      for (const step of [0.01, -0.01]) {
        parameter.data[3]! += step;
        expect(squaredGap(h, layer.forward(h, false), UNITS)).toBeGreaterThan(least);
        parameter.data[3]! -= step;
      }
    }
  });
});

test.each(Object.keys(NORMALIZATIONS) as NormalizationId[])("%s learns the digits", (id) => {
  const setting = { normalization: id, batchSize: 32, rate: 0.3, start: "standard" } as const;
  const run = experiment(setting, training, testDigits);
  const first = run.next().value!;
  let now = first;
  while (now.epoch < 8) now = run.next().value!;
  run.return();
  expect(first.accuracy).toBeLessThan(0.3);
  // Sigmoids without normalization are slow: Part "Training decides" shows it.
  expect(now.accuracy).toBeGreaterThan(id === "none" ? 0.3 : 0.85);
  expect(now.loss).toBeLessThan(first.loss);
  expect(now.gap === null).toBe(id === "none");
});

test("batch normalization started undone gives back its input, other starts do not", () => {
  const gapOf = (id: NormalizationId, start: "standard" | "undone") => {
    const run = experiment({ normalization: id, batchSize: 64, rate: 0.1, start }, training, testDigits);
    const { gap } = run.next().value!;
    run.return();
    return gap!;
  };
  expect(gapOf("batch", "undone")).toBeLessThan(1e-4);
  expect(gapOf("renorm", "undone")).toBeLessThan(1e-4);
  expect(gapOf("batch", "standard")).toBeGreaterThan(0.3);
  for (const id of ["ghost", "layer", "group", "rms"] as const)
    expect(gapOf(id, "undone"), id).toBeLessThan(gapOf(id, "standard"));
});

test("an address gives back the settings it was made of, and anything else the first ones", () => {
  const settings = settingsFrom("?a=renorm,8,0.03,undone&b=rms,4,1,standard");
  expect(settings).toEqual({
    a: { normalization: "renorm", batchSize: 8, rate: 0.03, start: "undone" },
    b: { normalization: "rms", batchSize: 4, rate: 1, start: "standard" },
  });
  expect(settingsFrom(queryOf(settings, "?kept=1"))).toEqual(settings);
  expect(queryOf(settings, "?kept=1")).toBe("?kept=1&a=renorm,8,0.03,undone&b=rms,4,1,standard");
  expect(settingsFrom("?a=toString,7,x,constructor&b")).toEqual(settingsFrom(""));
});
