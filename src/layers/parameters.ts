import { checkVector, isVector } from "../arrays.js";
import { readOptions, typeError } from "../errors.js";

/** A learned vector and the gradient that backward adds to. Both may be replaced by arrays of the same length. */
export interface Parameter {
  /** What the layer computes with, a value a channel. */
  data: Float32Array;
  /** The sum of the gradients of every backward since `zeroGrad`, of data's length. */
  grad: Float32Array;
}

/** gamma and beta together, or each by itself. */
export type Affine = boolean | { gamma?: boolean; beta?: boolean };

/** gamma and beta; null without. */
export interface Vectors {
  gamma: Parameter | null;
  beta: Parameter | null;
}

function readAffine(who: string, affine: unknown): { gamma: unknown; beta: unknown } {
  const parts =
    typeof affine === "boolean"
      ? { gamma: affine, beta: affine }
      : readOptions(`${who}: affine`, affine, { gamma: true, beta: true });
  for (const part of Object.values(parts)) {
    if (typeof part !== "boolean")
      throw typeError(who, "affine to be a boolean or { gamma, beta } of booleans", part);
  }
  return parts;
}

/** A layer's gamma and beta: the caller's to change, and read anew by every call. */
export class Parameters {
  readonly own: Vectors;
  /** The arrays as the current call has read them. */
  readonly #seen: Vectors;
  readonly #length: number;

  constructor(who: string, length: number, affine: unknown) {
    const parts = readAffine(who, affine);
    const parameter = (value: number): Parameter => ({
      data: new Float32Array(length).fill(value),
      grad: new Float32Array(length),
    });
    const gamma = parts.gamma ? parameter(1) : null;
    const beta = parts.beta ? parameter(0) : null;
    this.own = { gamma, beta };
    this.#seen = { gamma: gamma && { ...gamma }, beta: beta && { ...beta } };
    this.#length = length;
  }

  /**
   * gamma and beta as they stand: arrays that may have been replaced, even by getters, are read once, all of them
   * before any is judged. @throws TypeError, RangeError
   */
  read(who: string): Vectors {
    const { gamma, beta } = this.own;
    const seen = this.#seen;
    try {
      const gammaData = gamma?.data;
      const gammaGrad = gamma?.grad;
      const betaData = beta?.data;
      const betaGrad = beta?.grad;
      // Only now, since a getter may have called the layer; new objects for each call would cost 0.1 us.
      if (seen.gamma) {
        seen.gamma.data = gammaData!;
        seen.gamma.grad = gammaGrad!;
      }
      if (seen.beta) {
        seen.beta.data = betaData!;
        seen.beta.grad = betaGrad!;
      }
    } catch (cause) {
      throw new TypeError(`${who}: gamma or beta cannot be read`, { cause });
    }
    this.check(who);
    return seen;
  }

  /** Judges what was read last: memory that grew since has detached what is a Tensor's view. @throws TypeError, RangeError */
  check(who: string): void {
    const { gamma, beta } = this.#seen;
    if (gamma) this.#check(who, "gamma", gamma);
    if (beta) this.#check(who, "beta", beta);
  }

  #check(who: string, name: string, { data, grad }: Parameter): void {
    const length = this.#length;
    // The names are put together only where they are needed: 20 ns each.
    if (isVector(data, length) && isVector(grad, length)) return;
    checkVector(who, `${name}.data`, data, length);
    checkVector(who, `${name}.grad`, grad, length);
  }
}
