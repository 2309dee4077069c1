// What every runtime is asked to do with the installed package. It throws where a figure is wrong.
import { checksum } from "./checksum.js";
import { seeded } from "./random.js";

const U = 2 ** -23;

function near(what, got, want, tolerance) {
  if (got.length !== want.length)
    throw new Error(`${what}: ${want.length} values expected, got ${got.length}`);
  for (const [i, value] of want.entries()) {
    if (!(Math.abs(got[i] - value) <= tolerance(i)))
      throw new Error(`${what}[${i}]: expected ${value}, got ${got[i]}`);
  }
}

/** Batch normalization of [rows, columns] as in the paper, in double. */
function reference(x, dy, gamma, beta, rows, columns, eps) {
  const of = (f) => Array.from({ length: columns }, (_, c) => f(c));
  const sum = (f) =>
    of((c) => Array.from({ length: rows }, (_, r) => f(r * columns + c, c)).reduce((a, b) => a + b, 0));
  const mean = sum((i) => x[i] / rows);
  const variance = sum((i, c) => (x[i] - mean[c]) ** 2 / rows);
  const rstd = variance.map((v) => 1 / Math.sqrt(v + eps));
  const xhat = Array.from(x, (v, i) => (v - mean[i % columns]) * rstd[i % columns]);
  const dbeta = sum((i) => dy[i]);
  const dgamma = sum((i) => dy[i] * xhat[i]);
  return {
    y: xhat.map((v, i) => gamma[i % columns] * v + beta[i % columns]),
    dx: xhat.map((v, i) => {
      const c = i % columns;
      return gamma[c] * rstd[c] * (dy[i] - dbeta[c] / rows - (v * dgamma[c]) / rows);
    }),
    dgamma,
    dbeta,
    xhat,
    rstd,
  };
}

/** One forward and backward of BatchNorm against the reference, within the contract's 4u. */
function figures({ BatchNorm }) {
  const [rows, columns, eps] = [37, 5, 1e-5];
  const random = seeded(1);
  const values = (n, scale, offset) =>
    Float32Array.from({ length: n }, () => (random() - 0.5) * scale + offset);
  const x = values(rows * columns, 3, 1000);
  const dy = values(rows * columns, 1, 0);
  const layer = new BatchNorm(columns, { eps });
  layer.gamma.data.set(values(columns, 1, 1));
  layer.beta.data.set(values(columns, 1, 0));
  const { y, dx, dgamma, dbeta, xhat, rstd } = reference(
    x,
    dy,
    layer.gamma.data,
    layer.beta.data,
    rows,
    columns,
    eps,
  );
  const spread = Math.max(1, ...xhat.map(Math.abs));
  near("y", layer.forward(x, [rows, columns]), y, (i) => 4 * U * 1.5 * spread + (U / 2) * Math.abs(y[i]));
  near("dx", layer.backward(dy), dx, () => 4 * U * Math.max(...rstd) * 0.75 * spread);
  near("dgamma", layer.gamma.grad, dgamma, () => 4 * U * rows * spread);
  near("dbeta", layer.beta.grad, dbeta, () => 4 * U * rows);
  layer.dispose();
}

function steps({ moments, mergeMoments }) {
  const a = moments(Float32Array.of(1, 2, 3), [3, 1], { axes: [0] });
  const b = moments(Float32Array.of(5), [1, 1], { axes: [0] });
  const { count, mean, m2 } = mergeMoments(a, b);
  near("merged", [count, mean[0], m2[0]], [4, 2.75, 8.75], () => 1e-12);
}

/** A call of several tiles on three threads, or on as many as there can be, gives the bits of one. */
async function onThreads({ BatchNorm, init, runtimeInfo, shutdown, tensor }, wasm) {
  await init({ threads: 3, wasm });
  const { variant, threads, threadsReason } = runtimeInfo();
  const random = seeded(2);
  const values = Float32Array.from({ length: 600 * 512 }, random);
  const x = tensor([600, 512], values);
  const layer = new BatchNorm(512);
  const call = () => {
    const dx = tensor([600, 512], values.toReversed?.() ?? values.slice().reverse());
    const y = layer.forward(x).toArray();
    layer.backwardInto(dx, dx);
    return [y, dx.toArray()];
  };
  const several = [0, 1, 2, 3, 4].map(call);
  await shutdown();
  const [y, dx] = call();
  for (const [otherY, otherDx] of several) {
    near("y of several threads", otherY, y, () => 0);
    near("dx of several threads", otherDx, dx, () => 0);
  }
  return { variant, threads, threadsReason };
}

/**
 * `mode` is "threads", "plain", right after the import, or "simd", through init and with the checksum of a training run.
 * `wasm` goes to init.
 */
export async function prove(library, functional, mode, wasm) {
  if (mode === "threads") return onThreads(library, wasm);
  if (mode === "simd") await library.init({ variant: "simd", wasm });
  else if (wasm) await library.init({ wasm });
  figures(library);
  steps(functional);
  const { variant } = library.runtimeInfo();
  if (mode === "simd" && variant !== "simd") throw new Error(`init gave ${variant}`);
  return { variant, checksum: mode === "simd" ? checksum(library) : undefined };
}
