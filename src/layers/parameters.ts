import { checkVector, isImmutable, lengthOf } from "../arrays.js";
import { checkBoolean, readOptions, typeError } from "../errors.js";

/** A learned vector and the gradient that backward adds to. Both may be replaced by arrays of the same length. */
export interface Parameter {
  /** What the layer computes with, a value a channel. */
  data: Float32Array;
  /** The sum of the gradients of every backward since `zeroGrad`, of data's length. */
  grad: Float32Array;
  /** Where true, backward adds nothing to grad and optimizers take no step; default false. */
  frozen?: boolean | undefined;
}

/** gamma and beta together, or each by itself. */
export type Affine = boolean | { gamma?: boolean | undefined; beta?: boolean | undefined };

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
  return {
    gamma: checkBoolean(who, "affine, or its gamma,", parts.gamma),
    beta: checkBoolean(who, "affine, or its beta,", parts.beta),
  };
}

/** A layer's gamma and beta: the caller's to change, and read anew by every call. */
export class Parameters {
  readonly own: Vectors;
  /** The arrays as the current call has read them. */
  readonly #seen: Vectors;
  /** They were found to be Float32Arrays: what can change is their length, when their memory is detached or resized. */
  #known = false;
  readonly #length: number;

  /** @param start what gamma is at first */
  constructor(who: string, length: number, affine: unknown, start: number) {
    const parts = readAffine(who, affine);
    const parameter = (value: number): Parameter => ({
      data: new Float32Array(length).fill(value),
      grad: new Float32Array(length),
    });
    const gamma = parts.gamma ? parameter(start) : null;
    const beta = parts.beta ? parameter(0) : null;
    this.own = { gamma, beta };
    this.#seen = {
      gamma: gamma && { ...gamma, frozen: false },
      beta: beta && { ...beta, frozen: false },
    };
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
      const gammaFrozen = gamma?.frozen ?? false;
      const betaFrozen = beta?.frozen ?? false;
      // Only now, since a getter may have called the layer; new objects for each call would cost 0.1 us.
      if (seen.gamma) this.#take(seen.gamma, gammaData!, gammaGrad!, gammaFrozen);
      if (seen.beta) this.#take(seen.beta, betaData!, betaGrad!, betaFrozen);
    } catch (cause) {
      throw new TypeError(`${who}: gamma or beta cannot be read`, { cause });
    }
    this.check(who);
    return seen;
  }

  #take(seen: Parameter, data: Float32Array, grad: Float32Array, frozen: boolean): void {
    if (seen.data === data && seen.grad === grad && seen.frozen === frozen) return;
    this.#known = false;
    seen.data = data;
    seen.grad = grad;
    seen.frozen = frozen;
  }

  /** Judges what was read last: memory that grew since has detached what is a Tensor's view. @throws TypeError, RangeError */
  check(who: string): void {
    const { gamma, beta } = this.#seen;
    if (this.#known && (!gamma || this.#fits(gamma)) && (!beta || this.#fits(beta))) return;
    this.#known = false;
    if (gamma) this.#check(who, "gamma", gamma);
    if (beta) this.#check(who, "beta", beta);
    this.#known = true;
  }

  #fits({ data, grad }: Parameter): boolean {
    return lengthOf(data) === this.#length && lengthOf(grad) === this.#length;
  }

  #check(who: string, name: string, { data, grad, frozen }: Parameter): void {
    checkBoolean(who, `${name}.frozen`, frozen);
    checkVector(who, `${name}.data`, data, this.#length);
    const own = checkVector(who, `${name}.grad`, grad, this.#length);
    if (isImmutable(own)) throw typeError(who, `${name}.grad that can be written to`, grad);
  }
}
