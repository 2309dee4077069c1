import { clear, copyInto, copyOf } from "../arrays.js";
import { checkFinite, checkWord, fix } from "../errors.js";
import { type Entry, readState, type StateDict } from "../state.js";
import type { Tensor } from "../tensor.js";
import { backward } from "./backward.js";
import { type Minibatch, NEW } from "./call.js";
import { type Family, LayerCore } from "./core.js";
import { forward } from "./forward.js";
import type { Parameter } from "./parameters.js";

/** What a layer does last. */
export type Activation = "none" | "relu";

/** A shape, or options with one; the shape may be left out where the length or the Tensor says it all. */
export type CallOptions<O extends object = object> = readonly number[] | ({ shape?: readonly number[] } & O);

/** The inside of a layer, for its family. */
export let coreOf: (layer: Layer) => LayerCore;

/** What all layers share: the two passes, parameters and their state. */
export abstract class Layer<O extends object = object> {
  /** Added to the variance. */
  declare readonly eps: number;
  /** What the layer does last. */
  declare readonly activation: Activation;
  /** After `backward`: the gradient of the forward's residual, of dy's kind and the caller's own; null without. */
  residualGrad: Minibatch | null = null;
  declare protected readonly who: string;
  readonly #core: LayerCore;

  static {
    coreOf = (layer) => layer.#core;
  }

  /** @param who the layer as errors call it, for instance `BatchNorm(64)` */
  protected constructor(who: string, channels: number, options: Record<string, unknown>, family: Family) {
    const activation = checkWord(who, "activation", options.activation, "none", "relu");
    const eps = checkFinite(who, "eps", options.eps, 0);
    fix(this, { who, eps, activation });
    this.#core = new LayerCore(who, channels, eps, options.affine, activation === "relu", family);
  }

  /** Learned scale, one value a channel, at first 1; null without. */
  get gamma(): Parameter | null {
    useOf(this, "gamma");
    return this.#core.learned.own.gamma;
  }

  /** Learned shift, one value a channel, at first 0; null without. */
  get beta(): Parameter | null {
    useOf(this, "beta");
    return this.#core.learned.own.beta;
  }

  /**
   * Normalizes a minibatch. A Float32Array is copied; a Tensor must stay unchanged until `backward`.
   *
   * @returns a new minibatch of x's kind and shape, the caller's own
   * @throws TypeError, RangeError for a wrong argument; nothing has changed then
   */
  forward(x: Float32Array, options?: CallOptions<O>): Float32Array;
  forward(x: Tensor, options?: CallOptions<O>): Tensor;
  forward<T extends Minibatch>(x: T, options?: CallOptions<O>): T;
  forward(x: Minibatch, options?: CallOptions<O>): Minibatch {
    const core = this.#core;
    return forward(core, `${core.who}.forward`, x, NEW, options);
  }

  /** The same, written to `out`, of either kind and returned; in evaluation mode `out` may be x itself. */
  forwardInto<T extends Minibatch>(x: Minibatch, out: T, options?: CallOptions<O>): T {
    const core = this.#core;
    return forward(core, `${core.who}.forwardInto`, x, out, options) as T;
  }

  /**
   * The gradient with respect to the last forward's x, from that with respect to its y; adds to `gamma.grad` and
   * `beta.grad`.
   *
   * @returns a new minibatch of dy's kind, shaped like x, the caller's own
   * @throws Error without a forward before it; TypeError, RangeError for a wrong dy
   */
  backward(dy: Float32Array): Float32Array;
  backward(dy: Tensor): Tensor;
  backward<T extends Minibatch>(dy: T): T;
  backward(dy: Minibatch): Minibatch {
    const core = this.#core;
    return backward(core, this, `${core.who}.backward`, dy, NEW, undefined);
  }

  /** The same, written to `dx`, which may be dy itself, and the residual's gradient to `residualGrad`. */
  backwardInto<T extends Minibatch>(dy: Minibatch, dx: T, options?: { residualGrad?: Minibatch }): T {
    const core = this.#core;
    return backward(core, this, `${core.who}.backwardInto`, dy, dx, options) as T;
  }

  /** gamma and beta, as far as they are there: what an optimizer takes. */
  parameters(): Parameter[] {
    useOf(this, "parameters");
    return [this.gamma, this.beta].filter((parameter) => parameter !== null);
  }

  /** Sets the gradients of gamma and beta to zero. */
  zeroGrad(): void {
    const { gamma, beta } = this.#core.learned.read(useOf(this, "zeroGrad"));
    for (const vectors of [gamma, beta]) if (vectors) clear(vectors.grad, this.#core.channels);
  }

  /** Whether the layer is in training mode, as at first; `train()` and `eval()` switch. */
  get training(): boolean {
    return this.#core.training;
  }

  /** From now on forward uses the minibatch's own statistics. */
  train(): this {
    useOf(this, "train");
    this.#core.training = true;
    return this;
  }

  /** From now on forward uses the statistics that the layer keeps, if it keeps any. */
  eval(): this {
    useOf(this, "eval");
    this.#core.training = false;
    return this;
  }

  /** A copy of the layer's state under PyTorch's names. */
  stateDict(): StateDict {
    const who = useOf(this, "stateDict");
    const { learned, family, channels } = this.#core;
    const { gamma, beta } = learned.read(who);
    return {
      ...(gamma && { weight: copyOf(gamma.data, channels) }),
      ...(beta && { bias: copyOf(beta.data, channels) }),
      ...family.running?.state(who),
    };
  }

  /**
   * Takes a state: exactly the entries of `stateDict()`, as Float32Arrays or, from JSON, arrays of finite numbers.
   *
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: Readonly<Record<string, Float32Array | readonly number[]>>): void {
    const who = useOf(this, "loadStateDict");
    const { learned, family, channels: length } = this.#core;
    const { own } = learned;
    const spec: Record<string, Entry> = {
      ...(own.gamma && { weight: { length } }),
      ...(own.beta && { bias: { length } }),
      ...family.running?.spec(),
    };
    const state = readState(who, dict, spec);
    const { gamma, beta } = learned.read(who);
    this.#core.checkAlive(who);
    family.running?.restore(who, state);
    if (gamma) copyInto(gamma.data, state.weight!);
    if (beta) copyInto(beta.data, state.bias!);
  }

  /** Gives the layer's memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    this.#core.dispose();
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** How errors call a use of a layer. @throws TypeError once disposed */
export function useOf(layer: Layer, name: string): string {
  const core = coreOf(layer);
  const who = `${core.who}.${name}`;
  core.checkAlive(who);
  return who;
}
