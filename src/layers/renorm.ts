/** Batch renormalization: what brings a minibatch's statistics towards the running ones. */
import type { Context, Correction } from "../engine/context.js";
import { rangeError, readOptions, typeError } from "../errors.js";
import type { Running } from "./running.js";

/** The bounds of batch renormalization, as options. */
export interface RenormOptions {
  /** `r` is kept within `1 / rMax` and `rMax`; default 3. */
  rMax?: number | undefined;
  /** `d` is kept within `-dMax` and `dMax`; default 5. */
  dMax?: number | undefined;
}

const WORDS = { rMax: "from 1", dMax: "from 0" } as const;

function checkBound(who: string, name: keyof typeof WORDS, value: unknown): number {
  const expected = `renorm.${name} to be a number ${WORDS[name]}`;
  if (typeof value !== "number") throw typeError(who, expected, value);
  if (!(value >= (name === "rMax" ? 1 : 0))) throw rangeError(who, expected, value);
  return value;
}

/** The bounds of a layer's batch renormalization. Both may be set, as a schedule does: Ioffe starts with 1 and 0, which is batch norm. */
export class Renorm {
  readonly #who: string;
  #rMax: number;
  #dMax: number;

  /** @internal */
  constructor(who: string, options: unknown) {
    const { rMax, dMax } = readOptions(`${who}: renorm`, options, { rMax: 3, dMax: 5 });
    this.#who = who;
    this.#rMax = checkBound(who, "rMax", rMax);
    this.#dMax = checkBound(who, "dMax", dMax);
  }

  /** `r` is kept within `1 / rMax` and `rMax`. @throws TypeError, RangeError for what is no number from 1 */
  get rMax(): number {
    return this.#rMax;
  }

  set rMax(value: number) {
    this.#rMax = checkBound(this.#who, "rMax", value);
  }

  /** `d` is kept within `-dMax` and `dMax`. @throws TypeError, RangeError for what is no number from 0 */
  get dMax(): number {
    return this.#dMax;
  }

  set dMax(value: number) {
    this.#dMax = checkBound(this.#who, "dMax", value);
  }
}

const clip = (value: number, low: number, high: number): number => Math.min(high, Math.max(low, value));

/**
 * `y = gamma * (xhat * r + d) + beta` is a normalization with another gamma and beta, since backward takes r and d as constants:
 * writes those to the context, from the minibatch's statistics there. Its gradient at x is right as it comes then.
 */
export function correct(context: Context, renorm: Renorm, running: Running, eps: number): Correction {
  const { held, places } = context;
  const { f32, f64 } = held;
  const { rMax, dMax } = renorm;
  const { mean, variance } = running;
  const n = mean.length;
  const r = new Float64Array(n);
  const d = new Float64Array(n);
  const { gamma, beta } = places!;
  for (let c = 0; c < n; c++) {
    const sigma = Math.sqrt(variance[c]! + eps);
    r[c] = clip(Math.sqrt(f64[places!.variance / 8 + c]! + eps) / sigma, 1 / rMax, rMax);
    d[c] = clip((f64[places!.mean / 8 + c]! - mean[c]!) / sigma, -dMax, dMax);
    const scale = f32[gamma / 4 + c]!;
    f32[beta / 4 + c]! += scale * d[c]!;
    f32[gamma / 4 + c] = scale * r[c]!;
  }
  return { r, d };
}

/** `sum(dy * (xhat * r + d))` in the place of `sum(dy * xhat)`, a value a channel from `dgamma` on. */
export function correctSums(f64: Float64Array, dgamma: number, dbeta: number, { r, d }: Correction): void {
  for (let c = 0; c < r.length; c++) {
    f64[dgamma / 8 + c] = r[c]! * f64[dgamma / 8 + c]! + d[c]! * f64[dbeta / 8 + c]!;
  }
}
