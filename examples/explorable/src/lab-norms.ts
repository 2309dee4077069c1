// What the laboratory puts before the sigmoid units: this package's layers, and two normalizations made of its pieces.
import {
  BatchNorm,
  type ForwardContext,
  GroupNorm,
  type Layer,
  LayerNorm,
  type Parameter,
  RMSNorm,
} from "wasm-norm";
import {
  backwardApply,
  backwardReduce,
  type Moments,
  moments,
  type NormalizeOptions,
  normalize,
} from "wasm-norm/functional";

export const NORMALIZATIONS = {
  none: "none",
  batch: "batch",
  ghost: "ghost batches",
  renorm: "batch renormalization",
  layer: "layer",
  group: "group",
  rms: "RMS",
} as const;
export type NormalizationId = keyof typeof NORMALIZATIONS;

/** Examples of a ghost batch; those left over join the last one. */
export const GHOST = 8;
/** Groups of a layer's units. */
export const GROUPS = 8;
/** Ioffe's bounds (2017, section 4.2), and minibatches before they hold: until then r = 1, d = 0. */
export const RENORM = { rMax: 3, dMax: 5, warmUp: 20 } as const;

/** Which values of [rows, units] share their statistics: `members` lists each group's places. */
export interface Groups {
  centred: boolean;
  members: readonly Uint32Array[];
}

/** A normalization of minibatches [rows, units]. */
export interface Normalization {
  readonly gamma: Parameter;
  /** RMS norm has none. */
  readonly beta: Parameter | null;
  /** As in training; `trace` false: neither backward's memory nor the running statistics change. */
  forward(h: Float32Array, trace?: boolean): Float32Array;
  /** The gradient at h of the last forward that left a trace; adds to gamma's and beta's. */
  backward(dy: Float32Array): Float32Array;
  /** As in use: with the running statistics, where there are any. */
  evaluate(h: Float32Array): Float32Array;
  groups(rows: number): Groups;
  dispose(): void;
}

/** The normalization of this name for so many units, none for "none". */
export function normalization(id: NormalizationId, units: number): Normalization | null {
  if (id === "none") return null;
  if (id === "batch") return new Batches(units, Number.POSITIVE_INFINITY);
  if (id === "ghost") return new Batches(units, GHOST);
  if (id === "renorm") return new Renormalization(units);
  if (id === "layer") return new PerExample(new LayerNorm(units), units, 1, true);
  if (id === "group") return new PerExample(new GroupNorm(GROUPS, units), units, GROUPS, true);
  return new PerExample(new RMSNorm(units), units, 1, false);
}

/** Batch normalization over ghosts of so many examples (Hoffer, Hubara & Soudry 2017, arXiv 1705.08741). */
class Batches implements Normalization {
  readonly #norm: BatchNorm;
  readonly #contexts: ForwardContext[] = [];

  constructor(
    private readonly units: number,
    private readonly ghost: number,
  ) {
    this.#norm = new BatchNorm(units);
  }

  get gamma(): Parameter {
    return this.#norm.gamma!;
  }

  get beta(): Parameter {
    return this.#norm.beta!;
  }

  forward(h: Float32Array, trace = true): Float32Array {
    return this.#eachGhost(h, (slice, i) => {
      if (!trace) return this.#norm.forward(slice, { save: false, updateRunning: false });
      this.#contexts[i] ??= this.#norm.context();
      return this.#norm.forward(slice, { context: this.#contexts[i] });
    });
  }

  backward(dy: Float32Array): Float32Array {
    return this.#eachGhost(dy, (slice, i) => this.#norm.backward(slice, { context: this.#contexts[i] }));
  }

  evaluate(h: Float32Array): Float32Array {
    this.#norm.eval();
    const y = this.#norm.forward(h);
    this.#norm.train();
    return y;
  }

  groups(rows: number): Groups {
    const members = ghosts(rows, this.ghost).flatMap(([from, to]) =>
      Array.from({ length: this.units }, (_, c) =>
        Uint32Array.from({ length: to - from }, (_, i) => (from + i) * this.units + c),
      ),
    );
    return { centred: true, members };
  }

  dispose(): void {
    for (const context of this.#contexts) context.dispose();
    this.#norm.dispose();
  }

  #eachGhost(values: Float32Array, work: (slice: Float32Array, i: number) => Float32Array): Float32Array {
    const out = new Float32Array(values.length);
    ghosts(values.length / this.units, this.ghost).forEach(([from, to], i) => {
      out.set(work(values.subarray(from * this.units, to * this.units), i), from * this.units);
    });
    return out;
  }
}

/** From which to which row each ghost goes. */
function ghosts(rows: number, size: number): [from: number, to: number][] {
  const count = Math.max(1, Math.floor(rows / size));
  return Array.from({ length: count }, (_, i) => [i && i * size, i + 1 === count ? rows : (i + 1) * size]);
}

/**
 * Batch renormalization (Ioffe 2017, arXiv 1702.03275, algorithm 1): `y = gamma * (xhat * r + d) + beta`, where
 * `r = sigma_B / sigma` and `d = (mu_B - mu) / sigma`, both within bounds, bring the minibatch's statistics towards the
 * running ones. Backward takes r and d as constants, so this is batch normalization with another gamma and beta.
 */
class Renormalization implements Normalization {
  readonly gamma: Parameter;
  readonly beta: Parameter;
  readonly #mean: Float64Array;
  readonly #sigma: Float64Array;
  #minibatches = 0;
  #last: { h: Float32Array; statistics: Moments; r: Float64Array; d: Float64Array } | null = null;

  constructor(private readonly units: number) {
    this.gamma = { data: new Float32Array(units).fill(1), grad: new Float32Array(units) };
    this.beta = { data: new Float32Array(units), grad: new Float32Array(units) };
    this.#mean = new Float64Array(units);
    this.#sigma = new Float64Array(units).fill(1);
  }

  forward(h: Float32Array, trace = true): Float32Array {
    const shape = this.#shape(h);
    const statistics = moments(h, shape, { axes: [0] });
    const sigma = statistics.m2.map((m2) => Math.sqrt(m2 / statistics.count + EPS));
    const bounded = this.#minibatches >= RENORM.warmUp;
    const rMax = bounded ? RENORM.rMax : 1;
    const dMax = bounded ? RENORM.dMax : 0;
    const r = sigma.map((s, c) => clip(s / this.#sigma[c]!, 1 / rMax, rMax));
    const d = statistics.mean.map((mean, c) => clip((mean - this.#mean[c]!) / this.#sigma[c]!, -dMax, dMax));
    const y = normalize(h, shape, statistics, {
      ...this.#scaled(r),
      beta: this.beta.data.map((beta, c) => this.gamma.data[c]! * d[c]! + beta),
    });
    if (trace) {
      this.#last = { h, statistics, r, d };
      this.#minibatches++;
      for (let c = 0; c < this.units; c++) {
        this.#mean[c]! += MOMENTUM * (statistics.mean[c]! - this.#mean[c]!);
        this.#sigma[c]! += MOMENTUM * (sigma[c]! - this.#sigma[c]!);
      }
    }
    return y;
  }

  backward(dy: Float32Array): Float32Array {
    const { h, statistics, r, d } = this.#last!;
    const shape = this.#shape(h);
    const sums = backwardReduce(h, dy, shape, statistics, this.#scaled(r));
    for (let c = 0; c < this.units; c++) {
      this.gamma.grad[c]! += r[c]! * sums.dgamma[c]! + d[c]! * sums.dbeta[c]!;
      this.beta.grad[c]! += sums.dbeta[c]!;
    }
    return backwardApply(h, dy, shape, statistics, sums, this.#scaled(r));
  }

  evaluate(h: Float32Array): Float32Array {
    return h.map((value, i) => {
      const c = i % this.units;
      return (this.gamma.data[c]! * (value - this.#mean[c]!)) / this.#sigma[c]! + this.beta.data[c]!;
    });
  }

  groups(rows: number): Groups {
    const column = (c: number) => Uint32Array.from({ length: rows }, (_, i) => i * this.units + c);
    return { centred: true, members: Array.from({ length: this.units }, (_, c) => column(c)) };
  }

  dispose(): void {}

  #shape(h: Float32Array): number[] {
    return [h.length / this.units, this.units];
  }

  #scaled(r: Float64Array): NormalizeOptions {
    return { axes: [0], eps: EPS, gamma: this.gamma.data.map((gamma, c) => gamma * r[c]!) };
  }
}

const EPS = 1e-5;
/** Of the running statistics, as BatchNorm's. */
const MOMENTUM = 0.1;
const clip = (value: number, low: number, high: number) => Math.min(high, Math.max(low, value));

/** A layer that takes its statistics over (groups of) each example's own units. */
class PerExample implements Normalization {
  constructor(
    private readonly norm: Layer,
    private readonly units: number,
    private readonly parts: number,
    private readonly centred: boolean,
  ) {}

  get gamma(): Parameter {
    return this.norm.gamma!;
  }

  get beta(): Parameter | null {
    return this.norm.beta;
  }

  forward(h: Float32Array, trace = true): Float32Array {
    return this.norm.forward(h, { shape: [h.length / this.units, this.units], save: trace });
  }

  backward(dy: Float32Array): Float32Array {
    return this.norm.backward(dy);
  }

  evaluate(h: Float32Array): Float32Array {
    return this.forward(h, false);
  }

  groups(rows: number): Groups {
    const width = this.units / this.parts;
    const members = Array.from({ length: rows * this.parts }, (_, group) =>
      Uint32Array.from({ length: width }, (_, i) => group * width + i),
    );
    return { centred: this.centred, members };
  }

  dispose(): void {
    this.norm.dispose();
  }
}
