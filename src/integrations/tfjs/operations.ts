/** Normalization as operations on tensors, with gradients: `layerNorm`, `rmsNorm`, `groupNorm`. */
import { ACTIVATIONS, type Activation } from "../../engine/activation.js";
import { checkFinite, checkInteger, checkWord, rangeError, readOptions, typeError } from "../../errors.js";
import { type Affinity, group, layer } from "./affine.js";
import { fromFront } from "./geometry.js";
import { installed } from "./install.js";
import type { Tensor, Tf } from "./types.js";

/** A tensor of TensorFlow.js. */
export interface TensorLike {
  /** By which its backend knows its values. */
  readonly dataId: object;
  /** Extents, the slowest axis first. */
  readonly shape: number[];
  /** "float32" is what is normalized. */
  readonly dtype: string;
}

/** What all operations take. */
export interface NormOptions {
  /** Float32, a value for each place of what is normalized (`groupNorm`: of each channel). Default: none. */
  gamma?: TensorLike | null | undefined;
  /** Added after gamma, a value for each of gamma's places. Default: none. */
  beta?: TensorLike | null | undefined;
  /** Added to the variance. Default: Keras's, 1e-3; of `rmsNorm` 1e-6. */
  epsilon?: number | undefined;
  /** What comes last, fused: ReLU in the kernels' loops, the others on what is in cache. Default: "none". */
  activation?: Activation | undefined;
}

/** The options of `layerNorm` and `rmsNorm`. */
export interface LayerNormOptions extends NormOptions {
  /** What is normalized together; default: the last axis. */
  axis?: number | readonly number[] | undefined;
}

/** The options of `groupNorm`. */
export interface GroupNormOptions extends NormOptions {
  /** Where the channels are; default: the last axis. */
  axis?: number | undefined;
}

const isTensor = (value: unknown): value is Tensor =>
  typeof value === "object" && value !== null && "dataId" in value && "shape" in value && "rank" in value;

function checkTensor(who: string, name: string, value: unknown): Tensor {
  if (!isTensor(value) || value.dtype !== "float32")
    throw typeError(who, `${name} to be a tensor of float32`, isTensor(value) ? value.dtype : value);
  return value;
}

function read(who: string, x: unknown, options: unknown, epsilon: number) {
  const tf: Tf = installed(who);
  const tensor = checkTensor(who, "x", x);
  const o = readOptions(who, options, {
    gamma: null,
    beta: null,
    epsilon,
    activation: "none",
    axis: -1,
  });
  const affinity: Affinity = {
    gamma: o.gamma === null ? null : checkTensor(who, "gamma", o.gamma),
    beta: o.beta === null ? null : checkTensor(who, "beta", o.beta),
    eps: checkFinite(who, "epsilon", o.epsilon, 0),
    activation: checkWord(who, "activation", o.activation, ...ACTIVATIONS),
  };
  return { tf, tensor, affinity, axis: o.axis };
}

function checkAxis(who: string, axis: unknown, { rank }: Tensor): number {
  return fromFront(checkInteger(who, "axis", axis, -rank, rank - 1), rank);
}

function checkSizes(who: string, { gamma, beta }: Affinity, size: number): void {
  for (const [name, vector] of [
    ["gamma", gamma],
    ["beta", beta],
  ] as const) {
    if (vector && vector.size !== size) throw rangeError(who, `${name} of ${size} values`, vector.shape);
  }
}

function overAxes(who: string, x: unknown, options: unknown, rms: boolean): Tensor {
  const { tf, tensor, affinity, axis } = read(who, x, options, rms ? 1e-6 : 1e-3);
  const axes = (Array.isArray(axis) ? axis : [axis]).map((at) => checkAxis(who, at, tensor));
  if (!axes.length || new Set(axes).size < axes.length) throw rangeError(who, "axes that differ", axis);
  checkSizes(
    who,
    affinity,
    axes.reduce((size, at) => size * tensor.shape[at]!, 1),
  );
  return layer(tf, tensor, axes, rms, affinity);
}

/**
 * `gamma * (x - mean) / sqrt(variance + epsilon) + beta` over `axis`, differentiable.
 * @throws Error before `install`; TypeError, RangeError for a wrong argument
 */
export function layerNorm<T extends TensorLike>(x: T, options?: LayerNormOptions): T {
  return overAxes("layerNorm", x, options, false) as unknown as T;
}

/** `gamma * x / sqrt(mean(x^2) + epsilon) + beta` over `axis`, differentiable. @throws as `layerNorm` */
export function rmsNorm<T extends TensorLike>(x: T, options?: LayerNormOptions): T {
  return overAxes("rmsNorm", x, options, true) as unknown as T;
}

/**
 * Group norm of [N, ...] with the channels on `axis`: each example's channels are cut into `groups`, which are normalized
 * each by itself over all positions. With as many groups as channels it is instance norm. @throws as `layerNorm`
 */
export function groupNorm<T extends TensorLike>(x: T, groups: number, options?: GroupNormOptions): T {
  const who = "groupNorm";
  const { tf, tensor, affinity, axis } = read(who, x, options, 1e-3);
  const at = checkAxis(who, axis, tensor);
  if (at === 0) throw rangeError(who, "axis to be another than the examples'", axis);
  const channels = tensor.shape[at]!;
  checkInteger(who, "groups", groups, 1);
  if (channels % groups) throw rangeError(who, `groups to divide ${channels} channels`, groups);
  checkSizes(who, affinity, channels);
  return group(tf, tensor, at, groups, affinity) as unknown as T;
}
