/** Holds what a contender gives against the float64 reference, by the rule of the numerics contract. */
import * as contract from "../test/contract.ts";
import * as reference from "../test/reference.ts";
import type { Op, OutputName } from "./contenders/contender.ts";
import { epsOf } from "./contenders/contender.ts";
import type { Data } from "./data.ts";
import type { Shape } from "./shapes.ts";
import { axesOf, sizeOf } from "./shapes.ts";

/**
 * Others promise less than the contract: their results only have to be those of the same operation. 2^13 u, a
 * relative 1e-3, is a hundred times what plain float32 sums lose over a thousand values; over more than a million
 * it grows with them, as those sums' error does (PyTorch and oneDNN are 2^14 u off over four million).
 */
export const SAME_OPERATION = 2 ** 13;

function sameOperation(valuesPerStatistic: number): number {
  return SAME_OPERATION * Math.max(1, valuesPerStatistic / 2 ** 20);
}

/** Batch norm on more values than this is checked on some of its channels, which are independent. */
const wholeUpTo = 2 ** 20;

/** What a contender's outputs are held against. */
export interface Check {
  /** The largest error among the outputs, in units of the contract; throws where it is too large. */
  verify(
    op: Op,
    outputs: Partial<Record<OutputName, Float32Array>>,
    held: "to the contract" | "loosely",
  ): number;
}

export class Checker implements Check {
  readonly #shape: Shape;
  readonly #data: Data;
  readonly #channels: number[];
  readonly #geometry: reference.Geometry;
  readonly #x: Float32Array;
  readonly #gamma: Float32Array;
  readonly #beta: Float32Array | null;
  readonly #statistics: reference.Statistics;
  readonly #want = new Map<Op, reference.Forward>();
  #backward: reference.Backward | null = null;

  constructor(shape: Shape, data: Data) {
    this.#shape = shape;
    this.#data = data;
    this.#channels = channelsToCheck(shape);
    const family = shape.family === "batch-norm" ? "batch" : shape.family === "layer-norm" ? "layer" : "rms";
    const size = (sizeOf(shape) / shape.c) * this.#channels.length;
    this.#geometry = reference.describe({
      family,
      shape: [size / this.#channels.length, this.#channels.length],
    });
    this.#x = this.#minibatch(data.x);
    this.#gamma = this.#perChannel(data.gamma);
    this.#beta = shape.family === "rms-norm" ? null : this.#perChannel(data.beta);
    const centered = shape.family !== "rms-norm";
    this.#statistics = reference.statistics(this.#x, this.#geometry, { eps: epsOf(shape), centered });
  }

  verify(
    op: Op,
    outputs: Partial<Record<OutputName, Float32Array>>,
    held: "to the contract" | "loosely",
  ): number {
    let worst = 0;
    for (const verdict of this.#verdicts(op, outputs)) {
      const limit = held === "loosely" ? sameOperation(this.#statistics.count[0]!) : verdict.limit;
      contract.expectHolds(
        { ...verdict, limit, holds: verdict.units <= limit },
        `${this.#shape.name}, ${op}`,
      );
      worst = Math.max(worst, verdict.units);
    }
    return worst;
  }

  #verdicts(op: Op, outputs: Partial<Record<OutputName, Float32Array>>): contract.Verdict[] {
    if (op === "copy")
      return [contract.compare(outputs.y!, this.#data.x, { what: "y", limit: 0, scale: () => 1 })];
    if (op !== "backward") {
      return [contract.yVerdict(this.#minibatch(outputs.y!), this.#forward(op), this.#geometry, this.#gamma)];
    }
    this.#backward ??= reference.backward(
      this.#x,
      this.#minibatch(this.#data.dy),
      this.#geometry,
      this.#statistics,
      { gamma: this.#gamma, centered: this.#beta !== null },
    );
    const { dx, dgamma, dbeta } = outputs;
    const verdicts = [
      contract.dxVerdict(this.#minibatch(dx!), this.#x, this.#backward, this.#geometry, this.#statistics),
      contract.dgammaVerdict(this.#perChannel(dgamma!), this.#backward),
    ];
    if (this.#beta) verdicts.push(contract.dbetaVerdict(this.#perChannel(dbeta!), this.#backward));
    return verdicts;
  }

  #forward(op: Op): reference.Forward {
    let want = this.#want.get(op);
    if (!want) {
      const { mean, var: variance } = this.#data;
      const statistics =
        op === "eval"
          ? reference.fixedStatistics(this.#perChannel(mean), this.#perChannel(variance), epsOf(this.#shape))
          : this.#statistics;
      want = reference.forward(this.#x, this.#geometry, statistics, { gamma: this.#gamma, beta: this.#beta });
      this.#want.set(op, want);
    }
    return want;
  }

  #perChannel(values: Float32Array): Float32Array {
    return Float32Array.from(this.#channels, (c) => values[c]!);
  }

  /** The checked channels of a minibatch as a matrix of rows by channels. */
  #minibatch(values: Float32Array): Float32Array {
    const { n, c, h, w, layout } = this.#shape;
    if (values.length !== n * c * h * w)
      throw new Error(`${values.length} values for ${axesOf(this.#shape)}`);
    const channels = this.#channels;
    if (layout === "channels-last" && channels.length === c) return values;
    const positions = h * w;
    const result = new Float32Array(n * positions * channels.length);
    let at = 0;
    for (let i = 0; i < n; i++) {
      for (let p = 0; p < positions; p++) {
        for (const channel of channels) {
          const from =
            layout === "channels-first"
              ? (i * c + channel) * positions + p
              : (i * positions + p) * c + channel;
          result[at++] = values[from]!;
        }
      }
    }
    return result;
  }
}

/** All channels, or, where that is too much, as many as fit, evenly spread with the first and the last. */
function channelsToCheck(shape: Shape): number[] {
  const rows = sizeOf(shape) / shape.c;
  const count =
    shape.family === "batch-norm" ? Math.min(shape.c, Math.max(2, Math.floor(wholeUpTo / rows))) : shape.c;
  return Array.from({ length: count }, (_, i) => Math.round((i * (shape.c - 1)) / Math.max(1, count - 1)));
}
