/** Runs a layer on an input and holds everything that it gives against the reference, to the contract. */
import {
  build,
  defaultEps,
  geometryOf,
  isCentered,
  type Library,
  label,
  normals,
  type Subject,
} from "./cases.js";
import { compare, expectBackward, expectForward, expectHolds, expectStatistics } from "./contract.js";
import type { Geometry, Statistics } from "./reference.js";
import * as reference from "./reference.js";

export interface Trial {
  readonly subject: Subject;
  readonly x: Float32Array;
  /** Without it, the trial ends after the forward pass. */
  readonly dy?: Float32Array;
  /** "eval" normalizes with running statistics near the input's own (BatchNorm). */
  readonly mode?: "train" | "eval";
  readonly residual?: Float32Array;
  readonly mask?: Uint8Array;
  readonly name?: string;
}

export interface Result {
  readonly y: Float32Array;
  readonly dx?: Float32Array;
}

export function judge(library: Library, trial: Trial): Result {
  const { subject, x, dy, mode = "train", residual, mask } = trial;
  const { family, shape, activation } = subject;
  const context = `${label(subject)}, ${mode}${trial.name ? `, ${trial.name}` : ""}`;
  const eps = subject.eps ?? defaultEps(family);
  const centered = isCentered(family);
  const geometry = geometryOf(subject);
  const include = mask && reference.included(shape, subject.layout ?? "channels-last", mask);
  const batch = reference.statistics(x, geometry, { eps, centered, include });

  const layer = build(library, subject);
  const running = mode === "eval" && layer instanceof library.BatchNorm;
  const statistics = running ? setRunning(layer, batch, eps) : batch;
  if (mode === "eval") layer.eval();
  const gamma = layer.gamma?.data.slice();
  const beta = layer.beta?.data.slice();

  const options = { shape: [...shape], ...(residual && { residual }), ...(mask && { mask }) };
  const y = layer.forward(x, options);
  const want = reference.forward(x, geometry, statistics, { gamma, beta, residual, activation });
  expectForward(y, want, geometry, gamma, context);
  if (layer instanceof library.BatchNorm && mode === "train") {
    expectStatistics({ mean: layer.batchMean!, variance: layer.batchVar! }, batch, eps, context);
  }
  if (!dy) {
    layer.dispose();
    return { y };
  }

  const dx = layer.backward(dy);
  const wantBack = reference.backward(x, dy, geometry, statistics, {
    gamma,
    statistics: running ? "fixed" : "batch",
    centered,
    include,
    activated: activation ? y : undefined,
  });
  const gradients = { dx, dgamma: layer.gamma?.grad, dbeta: layer.beta?.grad };
  expectBackward(gradients, x, wantBack, geometry, statistics, context);
  if (residual && layer instanceof library.BatchNorm) {
    const exact = { what: "residualGrad", limit: 0, scale: () => 1 };
    expectHolds(compare(layer.residualGrad as Float32Array, wantBack.dz, exact), context);
  }
  layer.dispose();
  return { y, dx };
}

/** Gives the layer running statistics near the batch's own, and returns what it now holds. */
export function setRunning(
  layer: InstanceType<Library["BatchNorm"]>,
  { mean, variance }: Statistics,
  eps: number,
): Statistics {
  // what float32 cannot hold could not have become a running statistic
  const held = (value: number) => (Number.isFinite(Math.fround(1.5 * value)) ? value : 1);
  const state = layer.stateDict();
  const runningMean = Float32Array.from(mean, (value) => 0.9 * held(value));
  const runningVar = Float32Array.from(variance, (value) => 1.5 * (value < 1e-37 ? 1 : held(value)));
  layer.loadStateDict({ ...state, running_mean: runningMean, running_var: runningVar });
  return reference.fixedStatistics(runningMean, runningVar, eps);
}

/** A dy that has a mean of its own, and whose values differ from those of any x. */
export function gradientFor({ size }: Geometry, scale = 1, seed = 11): Float32Array {
  return normals(size, seed, scale, 0.5 * scale);
}
