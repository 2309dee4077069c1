import { clear, copyInto, copyOf } from "../arrays.js";
import { COPY, LAYER } from "../brand.js";
import { ACTIVATIONS, type Activation } from "../engine/activation.js";
import { type Minibatch, NEW } from "../engine/operand.js";
import { checkBoolean, checkFinite, checkWord, fix, proxied, readOptions } from "../errors.js";
import type { OwnFloat32Array } from "../own.js";
import { type Entry, type LoadResult, readState, type StateDict, type StateSource } from "../state.js";
import type { DType, Tensor } from "../tensor.js";
import { backward } from "./backward.js";
import { ForwardContext } from "./context.js";
import { type Family, LayerCore } from "./core.js";
import { forward } from "./forward.js";
import type { BackwardOptions, CallOptions, Modulation } from "./options.js";
import type { Parameter } from "./parameters.js";

/** The inside of a layer, for its family. */
export let coreOf: (layer: Layer) => LayerCore;

/** What all layers share: the two passes, parameters and their state. */
export abstract class Layer {
  /** Added to the variance. */
  declare readonly eps: number;
  /** What the layer does last. */
  declare readonly activation: Activation;
  declare protected readonly who: string;
  readonly #core: LayerCore;

  static {
    coreOf = (layer) => {
      if (!(#core in layer)) throw proxied("Layer", "a layer");
      return layer.#core;
    };
  }

  /** @param who the layer as errors call it, for instance `BatchNorm(64)` */
  protected constructor(who: string, channels: number, options: Record<string, unknown>, family: Family) {
    const activation = checkWord(who, "activation", options.activation, ...ACTIVATIONS);
    const eps = checkFinite(who, "eps", options.eps, 0);
    fix(this, { who, eps, activation });
    this.#core = new LayerCore(who, channels, eps, options.affine, ACTIVATIONS.indexOf(activation), family);
  }

  /** After `backward`: the gradient of the forward's residual, of dy's kind and the caller's own; null without. */
  get residualGrad(): Minibatch | null {
    return coreOf(this).residualGrad;
  }

  set residualGrad(value: Minibatch | null) {
    coreOf(this).residualGrad = value;
  }

  /** After `backward`: the gradients of the forward's modulation, the caller's own; null without. */
  get modulationGrad(): Modulation | null {
    return coreOf(this).modulationGrad;
  }

  set modulationGrad(value: Modulation | null) {
    coreOf(this).modulationGrad = value;
  }

  /** After `backward`: the gradient of the forward's gate, the caller's own; null without. */
  get gateGrad(): Minibatch | null {
    return coreOf(this).gateGrad;
  }

  set gateGrad(value: Minibatch | null) {
    coreOf(this).gateGrad = value;
  }

  /** The mean of each group in the last forward; of RMS norm 0; null before one. */
  get mean(): Float64Array | null {
    useOf(this, "mean");
    return coreOf(this).statistics("last")?.mean.slice() ?? null;
  }

  /** `1 / sqrt(var + eps)` of each group in the last forward; null before one. */
  get rstd(): Float64Array | null {
    useOf(this, "rstd");
    return coreOf(this).statistics("last")?.rstd.slice() ?? null;
  }

  /** Learned scale, one value a channel, at first 1; null without. */
  get gamma(): Parameter | null {
    useOf(this, "gamma");
    return coreOf(this).learned.own.gamma;
  }

  /** Learned shift, one value a channel, at first 0; null without. */
  get beta(): Parameter | null {
    useOf(this, "beta");
    return coreOf(this).learned.own.beta;
  }

  /**
   * Normalizes a minibatch. An array is copied; a Tensor must stay unchanged until `backward`. Values of 16 bits are widened, and the
   * result is rounded once.
   *
   * @returns a new minibatch of x's kind, type and shape, the caller's own
   * @throws TypeError, RangeError for a wrong argument; nothing has changed then
   */
  forward(x: Float32Array, options?: CallOptions): OwnFloat32Array;
  forward<D extends DType = "float32">(x: Tensor<D>, options?: CallOptions): Tensor<D>;
  forward<T extends Minibatch>(x: T, options?: CallOptions): T;
  forward(x: Minibatch, options?: CallOptions): Minibatch {
    const core = coreOf(this);
    return forward(core, core.names.forward, x, NEW, options);
  }

  /** The same, written to `out`, of any kind and type and returned; in evaluation mode `out` may be x itself. */
  forwardInto<T extends Minibatch>(x: Minibatch, out: T, options?: CallOptions): T {
    const core = coreOf(this);
    return forward(core, core.names.forwardInto, x, out, options) as T;
  }

  /**
   * The gradient with respect to the last forward's x, from that with respect to its y; adds to `gamma.grad` and
   * `beta.grad`, and uses the forward up unless it is to `retain` it.
   *
   * @returns a new minibatch of dy's kind and type, shaped like x, the caller's own
   * @throws Error without a forward before it, or one that is used up; TypeError, RangeError for a wrong dy
   */
  backward(dy: Float32Array, options?: BackwardOptions): OwnFloat32Array;
  backward<D extends DType = "float32">(dy: Tensor<D>, options?: BackwardOptions): Tensor<D>;
  backward<T extends Minibatch>(dy: T, options?: BackwardOptions): T;
  backward(dy: Minibatch, options?: BackwardOptions): Minibatch {
    const core = coreOf(this);
    return backward(core, core.names.backward, dy, NEW, options);
  }

  /** The same, written to `dx`, which may be dy itself, and the residual's gradient to `residualGrad`. */
  backwardInto<T extends Minibatch>(dy: Minibatch, dx: T, options?: BackwardOptions): T {
    const core = coreOf(this);
    return backward(core, core.names.backwardInto, dy, dx, options) as T;
  }

  /** Another place for what a forward leaves: `forward(x, { context })`, `backward(dy, { context })`, `context.dispose()`. */
  context(): ForwardContext {
    const core = coreOf(this);
    return new ForwardContext(core, core.newContext(useOf(this, "context")));
  }

  /** gamma and beta, as far as they are there: what an optimizer takes. */
  parameters(): Parameter[] {
    useOf(this, "parameters");
    return [this.gamma, this.beta].filter((parameter) => parameter !== null);
  }

  /** Sets the gradients of gamma and beta to zero. */
  zeroGrad(): void {
    const { gamma, beta } = coreOf(this).learned.read(useOf(this, "zeroGrad"));
    for (const vectors of [gamma, beta]) if (vectors) clear(vectors.grad, coreOf(this).channels);
  }

  /** Whether the layer is in training mode, as at first; `train()` and `eval()` switch. */
  get training(): boolean {
    return coreOf(this).training;
  }

  /** From now on forward uses the minibatch's own statistics; `train(false)` is `eval()`. */
  train(mode = true): this {
    coreOf(this).training = checkBoolean(useOf(this, "train"), "mode", mode);
    return this;
  }

  /** From now on forward uses the statistics that the layer keeps, if it keeps any. */
  eval(): this {
    useOf(this, "eval");
    coreOf(this).training = false;
    return this;
  }

  /** A copy of the layer's state under PyTorch's names. */
  stateDict(): StateDict {
    const who = useOf(this, "stateDict");
    const { learned, family, channels } = coreOf(this);
    const { gamma, beta } = learned.read(who);
    return {
      ...(gamma && { weight: copyOf(gamma.data, channels) }),
      ...(beta && { bias: copyOf(beta.data, channels) }),
      ...family.running?.state(who),
    };
  }

  /**
   * Takes a state under the names of `stateDict()`: a plain object or a Map of typed or plain arrays of finite numbers,
   * or what JSON makes of a state dict. Without `num_batches_tracked` the layer keeps its own, as in PyTorch.
   *
   * @param options with `strict: false`, entries that are missing keep their values and unexpected ones are left
   * @returns the names that were missing and unexpected
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: StateSource, options?: { strict?: boolean | undefined }): LoadResult {
    const who = useOf(this, "loadStateDict");
    const { learned, family, channels: length } = coreOf(this);
    const strict = checkBoolean(who, "strict", readOptions(who, options, { strict: true }).strict);
    const { own } = learned;
    const spec: Record<string, Entry> = {
      ...(own.gamma && { weight: { length } }),
      ...(own.beta && { bias: { length } }),
      ...family.running?.spec(),
    };
    const { state, missing, unexpected } = readState(who, dict, spec, { strict });
    const { gamma, beta } = learned.read(who);
    coreOf(this).checkAlive(who);
    family.running?.restore(who, state);
    if (gamma && state.weight) copyInto(gamma.data, state.weight as Float32Array);
    if (beta && state.bias) copyInto(beta.data, state.bias as Float32Array);
    return { missing, unexpected };
  }

  /** @internal The mark of this copy of the package. */
  get [LAYER](): unknown {
    return COPY;
  }

  /** @internal Vue leaves what has this out of its Proxies, as `markRaw` does. */
  get __v_skip(): true {
    return true;
  }

  /** Gives the layer's memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    coreOf(this).dispose();
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
