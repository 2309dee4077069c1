/** What networks call their normalizations, written out from their definitions in float64, and the layer that is each. */
import { expect, test } from "vitest";
import { ACTIVATIONS } from "./activations.js";
import { load, normals } from "./cases.js";

const u = 2 ** -23;
const rows = 5;
const width = 24;
const x = normals(rows * width, 1, 2, 0.5);
const gamma = normals(width, 2, 0.3, 1);
const beta = normals(width, 3);
const library = await load();

const meanOf = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
const row = (values: ArrayLike<number>, r: number) =>
  Array.from({ length: width }, (_, i) => values[r * width + i]!);
/** A function of rows, on all of them. */
const byRow = (f: (values: number[], r: number) => number[]) =>
  Array.from({ length: rows }, (_, r) => f(row(x, r), r)).flat();

/** `x / sqrt(mean(x^2) + eps)`. */
const rms = (values: number[], eps: number) => {
  const scale = 1 / Math.sqrt(meanOf(values.map((value) => value * value)) + eps);
  return values.map((value) => value * scale);
};
/** `(x - mean) / sqrt(variance + eps)`. */
const standard = (values: number[], eps: number) => {
  const mu = meanOf(values);
  const scale = 1 / Math.sqrt(meanOf(values.map((value) => (value - mu) ** 2)) + eps);
  return values.map((value) => (value - mu) * scale);
};

function expectNear(got: ArrayLike<number>, want: number[]): void {
  expect(got.length).toBe(want.length);
  want.forEach((value, i) => {
    expect(Math.abs(got[i]! - value)).toBeLessThanOrEqual(12 * u * Math.max(1, Math.abs(value)));
  });
}

test("LlamaRMSNorm: weight * x / sqrt(mean(x^2) + eps)", () => {
  const layer = new library.RMSNorm(width);
  layer.gamma!.data.set(gamma);
  expectNear(
    layer.forward(x),
    byRow((values) => rms(values, 1e-6).map((value, i) => gamma[i]! * value)),
  );
});

test("GemmaRMSNorm: (1 + weight) * x / sqrt(mean(x^2) + eps), weight 0 at first", () => {
  const layer = new library.RMSNorm(width, { zeroCenteredGamma: true });
  expect(layer.gamma!.data).toEqual(new Float32Array(width));
  layer.gamma!.data.set(beta);
  expectNear(
    layer.forward(x),
    byRow((values) => rms(values, 1e-6).map((value, i) => (1 + beta[i]!) * value)),
  );
  // d/dweight is that of a plain weight of 1 + weight.
  const plain = new library.RMSNorm(width);
  plain.gamma!.data.set(beta.map((value) => 1 + value));
  plain.forward(x);
  expect(layer.backward(x)).toEqual(plain.backward(x));
  expect(layer.gamma!.grad).toEqual(plain.gamma!.grad);
  expect(layer.stateDict().weight).toEqual(beta);
});

test("T5LayerNorm: no mean, no bias", () => {
  const layer = new library.RMSNorm(width, { eps: 1e-6 });
  expect(layer.beta).toBeNull();
  expectNear(
    layer.forward(x),
    byRow((values) => rms(values, 1e-6)),
  );
});

test("ConvNeXt's LayerNorm, channels first: over C at each position of [N, C, H, W]", () => {
  const layer = new library.LayerNorm(width, { eps: 1e-6, layout: "channels-first" });
  layer.gamma!.data.set(gamma);
  layer.beta!.data.set(beta);
  // [1, C, 1, positions] of the rows above, turned.
  const first = Float32Array.from(
    { length: rows * width },
    (_, i) => x[(i % rows) * width + Math.floor(i / rows)]!,
  );
  const y = layer.forward(first, { shape: [1, width, 1, rows] });
  const want = byRow((values) => standard(values, 1e-6).map((value, i) => gamma[i]! * value + beta[i]!));
  expectNear(
    Float32Array.from({ length: rows * width }, (_, i) => y[(i % width) * rows + Math.floor(i / width)]!),
    want,
  );
});

test("DiT's modulate: norm(x) * (1 + scale) + shift, the norm without gamma and beta", () => {
  const layer = new library.LayerNorm(width, { eps: 1e-6, affine: false });
  const scale = normals(rows * width, 4, 0.5);
  const shift = normals(rows * width, 5);
  const want = byRow((values, r) =>
    standard(values, 1e-6).map((value, i) => value * (1 + scale[r * width + i]!) + shift[r * width + i]!),
  );
  expectNear(layer.forward(x, { modulation: { scale, shift } }), want);
});

test("Mamba-2's gated norm, the norm before the gate: norm(x) * silu(z)", () => {
  const layer = new library.RMSNorm(width, { eps: 1e-5 });
  layer.gamma!.data.set(gamma);
  const gate = normals(rows * width, 6, 2);
  const want = byRow((values, r) =>
    rms(values, 1e-5).map((value, i) => gamma[i]! * value * ACTIVATIONS.silu.value(gate[r * width + i]!)),
  );
  expectNear(layer.forward(x, { gate }), want);
});

test("a transformer's stream, twice over: the new stream goes on, its gradient comes back through both", () => {
  const layer = new library.RMSNorm(width);
  const stream = normals(rows * width, 7);
  const contexts = [layer.context(), layer.context()];
  const start = stream.slice();
  const first = layer.forward(x, { stream, context: contexts[0] });
  expect(stream).toEqual(start.map((value, i) => value + x[i]!));
  const second = layer.forward(first, { stream, context: contexts[1] });
  const dstream = normals(rows * width, 8);
  const dy = normals(rows * width, 9);
  const dfirst = layer.backward(dy, { stream: dstream, context: contexts[1] });
  expect(dstream).toEqual(dfirst);
  const dx = layer.backward(dfirst, { stream: dstream, context: contexts[0] });
  expect(dstream).toEqual(dx);
  // d of sum(second * dy + stream * dstream0) by x[0], by central differences in float64.
  const loss = (values: number[]) => {
    const s1 = values.map((value, i) => value + start[i]!);
    const y1 = Array.from({ length: rows }, (_, r) => rms(row(s1, r), 1e-6)).flat();
    const s2 = s1.map((value, i) => value + y1[i]!);
    const y2 = Array.from({ length: rows }, (_, r) => rms(row(s2, r), 1e-6)).flat();
    const end = normals(rows * width, 8);
    return y2.reduce((sum, value, i) => sum + value * dy[i]! + s2[i]! * end[i]!, 0);
  };
  for (const i of [0, 7, 100]) {
    const moved = (by: number) => loss(Array.from(x, (value, k) => (k === i ? value + by : value)));
    expect(dx[i]).toBeCloseTo((moved(1e-5) - moved(-1e-5)) / 2e-5, 4);
  }
  expect(second.length).toBe(x.length);
});
