/** TensorFlow.js on one of its backends in Node, float64 references, and seeded values. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";

export { tf };
export const backends = ["wasm", "cpu"] as const;
export type Backend = (typeof backends)[number];

/** Sets a backend, with tfjs's own check for what kernels leave behind. */
export async function use(backend: Backend): Promise<void> {
  const require = createRequire(import.meta.url);
  setWasmPaths(`${dirname(require.resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  tf.env().set("IS_TEST", true);
  if (!(await tf.setBackend(backend))) throw new Error(`no backend ${backend}`);
}

/** The backends that are served, and one that is not: tfjs's cpu under another name. */
export const anyBackends = [...backends, "other"] as const;
export type AnyBackend = (typeof anyBackends)[number];

export async function useAny(backend: AnyBackend): Promise<void> {
  if (backend === "other" && !tf.findBackendFactory("other")) {
    await use("cpu");
    tf.registerBackend("other", () => tf.findBackend("cpu"));
    tf.copyRegisteredKernels("cpu", "other");
  }
  await use(backend as Backend);
}

/** What is not served computes the same by tfjs's operations, in float32. */
export const toleranceOf = (backend: AnyBackend): number => (backend === "other" ? 2e-6 : 3e-7);

export const read = (x: unknown) => (x as tf.Tensor).dataSync() as Float32Array;

/** Numbers from -1 to 1 (mulberry32). */
export function random(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
  };
}

export function values(size: number, seed = 1, scale = 2, mean = 0.5): Float32Array {
  const next = random(seed);
  return Float32Array.from({ length: size }, () => mean + scale * next());
}

export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The largest difference, in parts of the largest expected value (at least 1). */
export function gap(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let most = 0;
  let size = 1;
  if (got.length !== expected.length) return Infinity;
  for (let i = 0; i < got.length; i++) {
    const difference = Math.abs(got[i]! - expected[i]!);
    if (!(difference <= most)) most = difference;
    size = Math.max(size, Math.abs(expected[i]!));
  }
  return most / size;
}
