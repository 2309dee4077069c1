import { checkInteger, rangeError, read, readFields, typeError } from "../errors.js";

/** Any array of numbers. */
export type Numbers = ArrayLike<number>;

/** Copies an array of `length` numbers; none may be below `least`. @throws TypeError, RangeError */
export function readNumbers(
  who: string,
  name: string,
  value: unknown,
  length: number,
  least = -Infinity,
): Float64Array {
  const numbers = read(who, name, () =>
    Array.isArray(value) || (ArrayBuffer.isView(value) && !(value instanceof DataView))
      ? Array.from(value as Numbers)
      : null,
  );
  if (!numbers) throw typeError(who, `${name} to be an array of numbers`, value);
  if (numbers.length !== length) throw rangeError(who, `${name} to have ${length} values`, numbers.length);
  for (const number of numbers) {
    if (typeof number !== "number" && typeof number !== "bigint") {
      throw typeError(who, `${name} to hold numbers`, number);
    }
  }
  const copy = Float64Array.from(numbers, Number);
  const odd = copy.find((number) => !Number.isFinite(number) || number < least);
  if (odd !== undefined) {
    throw rangeError(who, `${name} to hold finite numbers${least === 0 ? " of at least 0" : ""}`, odd);
  }
  return copy;
}

/** How running statistics take a minibatch in. */
export interface Averaging {
  /** The weight of the new minibatch; null for the plain average. */
  momentum: number | null;
  runningVariance: "unbiased" | "biased";
}

/** Running statistics in float64. */
export class RunningStatistics {
  mean: Float64Array;
  variance: Float64Array;
  batches = 0;
  skipped = 0;
  /** Minibatches whose statistics entered, a number a channel: what a plain average divides by. */
  entered: Float64Array;
  readonly #features: number;

  constructor(features: number) {
    this.#features = features;
    this.mean = new Float64Array(features);
    this.variance = new Float64Array(features).fill(1);
    this.entered = new Float64Array(features);
  }

  /** Takes in a minibatch's statistics; a channel where they are not finite keeps its own. */
  track(mean: Float64Array, m2: Float64Array, count: number, { momentum, runningVariance }: Averaging): void {
    this.batches++;
    const divisor = runningVariance === "unbiased" ? count - 1 : count;
    for (let c = 0; c < this.#features; c++) {
      const weight = momentum ?? 1 / (this.entered[c]! + 1);
      const newMean = (1 - weight) * this.mean[c]! + weight * mean[c]!;
      const newVariance = (1 - weight) * this.variance[c]! + weight * (m2[c]! / divisor);
      if (!Number.isFinite(newMean) || !Number.isFinite(newVariance)) {
        this.skipped++;
        continue;
      }
      this.mean[c] = newMean;
      this.variance[c] = newVariance;
      this.entered[c]!++;
    }
  }

  reset(): void {
    this.mean.fill(0);
    this.variance.fill(1);
    this.entered.fill(0);
    this.batches = this.skipped = 0;
  }

  state(): Record<string, Float64Array> {
    return {
      running_mean: this.mean.slice(),
      running_var: this.variance.slice(),
      num_batches_tracked: Float64Array.of(this.batches),
    };
  }

  /** Reads these entries of a state dict, as far as they are there, and gives what sets them. @throws TypeError, RangeError */
  reading(who: string, dict: unknown): () => void {
    const n = this.#features;
    const o = readFields(who, dict, {
      running_mean: undefined,
      running_var: undefined,
      num_batches_tracked: undefined,
    });
    const mean = o.running_mean === undefined ? null : readNumbers(who, "running_mean", o.running_mean, n);
    const variance =
      o.running_var === undefined ? null : readNumbers(who, "running_var", o.running_var, n, 0);
    const tracked =
      o.num_batches_tracked === undefined
        ? null
        : readNumbers(
            who,
            "num_batches_tracked",
            typeof o.num_batches_tracked === "number" ? [o.num_batches_tracked] : o.num_batches_tracked,
            1,
            0,
          );
    if (tracked) checkInteger(who, "num_batches_tracked", tracked[0]);
    return () => {
      if (mean) this.mean.set(mean);
      if (variance) this.variance.set(variance);
      if (tracked) {
        this.batches = tracked[0]!;
        this.entered.fill(this.batches);
      }
    };
  }
}
