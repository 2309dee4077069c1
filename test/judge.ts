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
  statisticsOf,
} from "./cases.js";
import {
  compare,
  dbetaVerdict,
  dgammaVerdict,
  dxVerdict,
  expectHolds,
  meanVerdict,
  type Verdict,
  varianceVerdict,
  yVerdict,
} from "./contract.js";
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

export interface Measured {
  readonly y: Float32Array;
  readonly dx: Float32Array | undefined;
  /** What the trial is called where an error names it. */
  readonly context: string;
  readonly verdicts: readonly Verdict[];
}

/** Throws where anything of a trial is outside the contract. */
export function judge(library: Library, trial: Trial): Pick<Measured, "y" | "dx"> {
  const { y, dx, context, verdicts } = measure(library, trial);
  for (const verdict of verdicts) expectHolds(verdict, context);
  return { y, dx };
}

/** Runs a trial and says how far everything is from the reference. */
export function measure(library: Library, trial: Trial): Measured {
  const { subject, x, dy, mode = "train", residual, mask } = trial;
  const { family, shape, activation } = subject;
  const context = `${label(subject)}, ${mode}${trial.name ? `, ${trial.name}` : ""}`;
  const { layout = "channels-last", eps = defaultEps(family) } = subject;
  const geometry = geometryOf(subject);
  const include = mask && reference.included(shape, layout, mask);
  const batch = statisticsOf(subject, x, geometry, mask);

  const layer = build(library, subject);
  const batchNorm = layer instanceof library.BatchNorm ? layer : null;
  const frozen = mode === "eval" && batchNorm !== null;
  const statistics = frozen ? setRunning(batchNorm, batch, eps) : batch;
  if (mode === "eval") layer.eval();
  const gamma = layer.gamma?.data.slice();
  const beta = layer.beta?.data.slice();

  const options = { shape: [...shape], ...(residual && { residual }), ...(mask && { mask }) };
  const y = layer.forward(x, options);
  const wantY = reference.forward(x, geometry, statistics, { gamma, beta, residual, activation });
  const verdicts = [yVerdict(y, wantY, geometry, gamma)];
  if (batchNorm && !frozen) {
    verdicts.push(meanVerdict(batchNorm.batchMean!, batch), varianceVerdict(batchNorm.batchVar!, batch, eps));
  }
  const dx = dy && layer.backward(dy);
  if (dy && dx) {
    const want = reference.backward(x, dy, geometry, statistics, {
      gamma,
      statistics: frozen ? "fixed" : "batch",
      centered: isCentered(family),
      include,
      activated: activation ? y : undefined,
    });
    verdicts.push(dxVerdict(dx, x, want, geometry, statistics));
    if (layer.gamma) verdicts.push(dgammaVerdict(layer.gamma.grad, want));
    if (layer.beta) verdicts.push(dbetaVerdict(layer.beta.grad, want));
    if (residual && batchNorm) {
      const exact = { what: "residualGrad", limit: 0, scale: () => 1 };
      verdicts.push(compare(batchNorm.residualGrad as Float32Array, want.dz, exact));
    }
  }
  layer.dispose();
  return { y, dx, context, verdicts };
}

/** Gives the layer running statistics near the batch's own, and returns what it now holds. */
function setRunning(
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
