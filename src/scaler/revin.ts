import {
  checkBoolean,
  checkFinite,
  checkInteger,
  detached,
  rangeError,
  readOptions,
  readShape,
  typeError,
} from "../errors.js";
import { isDetached, kindOf, plain } from "../typed.js";
import { seriesBackward, seriesStatistics, type Windows } from "./series.js";
import type { TensorLike } from "./values.js";

/** The options of `new RevIN`. */
export interface RevINOptions {
  /** Added to the variance; default 1e-5. */
  eps?: number | undefined;
  /** Whether gamma and beta are learned; default true. */
  affine?: boolean | undefined;
  /**
   * Whether gradients take mean and deviation for constants, as the authors' code does (default); false gives the
   * gradient through them as well, on both ways.
   */
  detach?: boolean | undefined;
}

/** What is learned, and its gradient: an optimizer takes it as it is. */
export interface RevINParameter {
  /** A value for each series. */
  readonly data: Float32Array;
  /** Its gradient; backward adds to it. */
  readonly grad: Float32Array;
}

/** A window of series: `[..., time, features]`. */
export type Window = Float32Array | TensorLike;

/** How a window is read. */
export interface WindowOptions {
  /** `[..., time, features]`; a Tensor has its own. */
  shape?: readonly number[] | undefined;
  /** False keeps nothing for a backward; default true. */
  save?: boolean | undefined;
}

interface Saved {
  x: Float32Array;
  windows: Windows;
}

/**
 * Reversible instance normalization (Kim et al. 2022, "Reversible Instance Normalization for Accurate Time-Series
 * Forecasting against Distribution Shift", ICLR): each series of a window, `[..., time, features]`, is normalized over its
 * time steps, `y = (x - mu) / sqrt(var + eps) * gamma + beta` (var biased), and what the model makes of it is put back,
 * `(y - beta) / (gamma + eps^2) * sqrt(var + eps) + mu`, with the same statistics; it may have another number of steps.
 * Statistics and sums are float64.
 */
export class RevIN {
  /** Series of a window. */
  readonly features: number;
  /** Added to the variance. */
  readonly eps: number;
  /** Whether the statistics are constants to backward, as in the paper's code. */
  readonly detach: boolean;
  /** Scale, a value for each feature; null without `affine`. */
  readonly gamma: RevINParameter | null;
  /** Shift, a value for each feature; null without `affine`. */
  readonly beta: RevINParameter | null;
  #mean: Float64Array = new Float64Array(0);
  #deviation: Float64Array = new Float64Array(0);
  #normalized: Saved | undefined;
  #denormalized: Saved | undefined;
  /** What `denormalizeBackward` found for each series' mean and deviation. */
  #meanGrad: Float64Array | undefined;
  #deviationGrad: Float64Array | undefined;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(features: number, options?: RevINOptions) {
    const o = readOptions("RevIN", options, { eps: 1e-5, affine: true, detach: true });
    this.features = checkInteger("RevIN", "features", features, 1, 2 ** 24);
    this.eps = checkFinite("RevIN", "eps", o.eps, 0);
    this.detach = checkBoolean("RevIN", "detach", o.detach);
    const parameter = (value: number) => ({
      data: new Float32Array(features).fill(value),
      grad: new Float32Array(features),
    });
    const affine = checkBoolean("RevIN", "affine", o.affine);
    this.gamma = affine ? parameter(1) : null;
    this.beta = affine ? parameter(0) : null;
  }

  /** Gamma and beta, for an optimizer. */
  parameters(): RevINParameter[] {
    return this.gamma && this.beta ? [this.gamma, this.beta] : [];
  }

  /** Sets the gradients of gamma and beta to 0. */
  zeroGrad(): void {
    for (const { grad } of this.parameters()) grad.fill(0);
  }

  /** Means of the last normalized window, a value for each series: `[..., features]`. */
  get mean(): Float64Array {
    return this.#mean.slice();
  }

  /** `sqrt(var + eps)` of the same. */
  get deviation(): Float64Array {
    return this.#deviation.slice();
  }

  /**
   * Normalizes each series of x, and keeps its statistics for the way back.
   *
   * @throws TypeError, RangeError for a wrong argument; nothing has changed then
   */
  normalize<T extends Window>(x: T, options?: readonly number[] | WindowOptions): T {
    const { data, windows, save } = this.#read("normalize", x, options);
    const { mean, deviation } = seriesStatistics(data, windows, this.eps);
    const y = new Float32Array(data.length);
    const { gamma, beta } = this.#affine();
    this.#walk(windows, (i, series, c) => {
      y[i] = ((data[i]! - mean[series]!) / deviation[series]!) * gamma[c]! + beta[c]!;
    });
    this.#mean = mean;
    this.#deviation = deviation;
    this.#normalized = save ? { x: data.slice(), windows } : undefined;
    this.#denormalized = this.#meanGrad = this.#deviationGrad = undefined;
    return this.#give(x, y);
  }

  /**
   * Puts a window that a model made of a normalized one back, with the statistics of the last `normalize`.
   *
   * @throws TypeError, RangeError for a wrong argument; Error without a `normalize` before it
   */
  denormalize<T extends Window>(y: T, options?: readonly number[] | WindowOptions): T {
    const { data, windows, save } = this.#read("denormalize", y, options);
    if (windows.outer * this.features !== this.#mean.length) {
      if (this.#mean.length === 0) throw new Error("RevIN.denormalize: expected normalize before it");
      throw rangeError("RevIN.denormalize", `${this.#mean.length / this.features} windows`, windows.outer);
    }
    const { gamma, beta } = this.#affine();
    const tiny = this.#tiny;
    const x = new Float32Array(data.length);
    this.#walk(windows, (i, series, c) => {
      x[i] = ((data[i]! - beta[c]!) / (gamma[c]! + tiny)) * this.#deviation[series]! + this.#mean[series]!;
    });
    this.#denormalized = save ? { x: data.slice(), windows } : undefined;
    return this.#give(y, x);
  }

  /**
   * The gradient for `denormalize`'s y from that for its result; adds to gamma.grad and beta.grad.
   *
   * @throws TypeError, RangeError for a wrong argument; Error without a `denormalize` before it
   */
  denormalizeBackward<T extends Window>(dx: T): T {
    const who = "denormalizeBackward";
    const saved = this.#saved(who, this.#denormalized, "denormalize");
    const data = this.#gradient(who, dx, saved);
    const { gamma, beta } = this.#affine();
    const [dgamma, dbeta] = [new Float64Array(this.features), new Float64Array(this.features)];
    const meanGrad = new Float64Array(this.#mean.length);
    const deviationGrad = new Float64Array(this.#mean.length);
    const dy = new Float32Array(data.length);
    const tiny = this.#tiny;
    this.#walk(saved.windows, (i, series, c) => {
      const divisor = gamma[c]! + tiny;
      const back = (data[i]! * this.#deviation[series]!) / divisor;
      const n = (saved.x[i]! - beta[c]!) / divisor;
      dy[i] = back;
      dbeta[c]! -= back;
      dgamma[c]! -= back * n;
      meanGrad[series]! += data[i]!;
      deviationGrad[series]! += data[i]! * n;
    });
    this.#add(dgamma, dbeta);
    this.#meanGrad = meanGrad;
    this.#deviationGrad = deviationGrad;
    this.#denormalized = undefined;
    return this.#give(dx, dy);
  }

  /**
   * The gradient for `normalize`'s x from that for its result; adds to gamma.grad and beta.grad. Without `detach`, what
   * `denormalizeBackward` found for the statistics since is in it.
   *
   * @throws TypeError, RangeError for a wrong argument; Error without a `normalize` before it
   */
  normalizeBackward<T extends Window>(dy: T): T {
    const who = "normalizeBackward";
    const saved = this.#saved(who, this.#normalized, "normalize");
    const data = this.#gradient(who, dy, saved);
    const { gamma } = this.#affine();
    const { dx, dgamma, dbeta } = seriesBackward(saved.x, data, saved.windows, {
      mean: this.#mean,
      deviation: this.#deviation,
      gamma,
      detach: this.detach,
      meanGrad: this.#meanGrad,
      deviationGrad: this.#deviationGrad,
    });
    this.#add(dgamma, dbeta);
    this.#normalized = this.#meanGrad = this.#deviationGrad = undefined;
    return this.#give(dy, dx);
  }

  /** In the authors' code as well: a gamma of 0 does not divide by 0. */
  get #tiny(): number {
    return this.gamma ? this.eps * this.eps : 0;
  }

  #affine(): { gamma: ArrayLike<number>; beta: ArrayLike<number> } {
    if (this.gamma && this.beta) return { gamma: this.gamma.data, beta: this.beta.data };
    return { gamma: new Float32Array(this.features).fill(1), beta: new Float32Array(this.features) };
  }

  #add(dgamma: Float64Array, dbeta: Float64Array): void {
    if (!this.gamma || !this.beta) return;
    for (let c = 0; c < this.features; c++) {
      this.gamma.grad[c]! += dgamma[c]!;
      this.beta.grad[c]! += dbeta[c]!;
    }
  }

  #walk({ outer, time }: Windows, visit: (i: number, series: number, feature: number) => void): void {
    const { features } = this;
    for (let window = 0, i = 0; window < outer; window++) {
      for (let step = 0; step < time; step++) {
        for (let c = 0; c < features; c++, i++) visit(i, window * features + c, c);
      }
    }
  }

  #read(name: string, value: unknown, options: unknown) {
    const who = `RevIN.${name}`;
    const o = Array.isArray(options) ? { shape: options } : options;
    const { shape, save } = readOptions(who, o, { shape: undefined, save: true });
    const { data, own } = arrayOf(who, "x", value);
    const extents = readShape(who, shape ?? own);
    const size = extents.reduce((product, extent) => product * extent, 1);
    if (extents.length < 2 || extents.at(-1) !== this.features)
      throw rangeError(who, `shape to be [..., time, ${this.features}]`, extents);
    if (size !== data.length) throw rangeError(who, `x to have ${size} values`, data);
    const time = extents.at(-2)!;
    if (time === 0) throw rangeError(who, "one time step at least", extents);
    const windows = { outer: size / (time * this.features), time, features: this.features };
    return { data, windows, save: checkBoolean(who, "save", save) };
  }

  #saved(name: string, saved: Saved | undefined, before: string): Saved {
    if (!saved) throw new Error(`RevIN.${name}: expected ${before} before it, once for each`);
    return saved;
  }

  #gradient(name: string, value: unknown, { x }: Saved): Float32Array {
    const who = `RevIN.${name}`;
    const { data } = arrayOf(who, "the gradient", value);
    if (data.length !== x.length) throw rangeError(who, `the gradient to have ${x.length} values`, data);
    return data;
  }

  #give<T extends Window>(like: T, values: Float32Array): T {
    if (like instanceof Float32Array) return values as unknown as T;
    const Class = (like as TensorLike).constructor as new (shape: readonly number[], data: Float32Array) => T;
    return new Class([...(like as TensorLike).shape], values);
  }
}

function arrayOf(who: string, name: string, value: unknown): { data: Float32Array; own: unknown } {
  const { data, shape } = (
    kindOf(value) !== undefined ? { data: value } : typeof value === "object" && value !== null ? value : {}
  ) as Partial<TensorLike>;
  if (kindOf(data) !== "Float32Array")
    throw typeError(who, `${name} to be a Float32Array or a float32 Tensor`, value);
  if (isDetached(data as Float32Array)) throw detached(who, name);
  return { data: plain(data as Float32Array, "Float32Array"), own: shape && [...shape] };
}
