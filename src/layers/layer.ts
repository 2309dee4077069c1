import type { GradientSums } from "../analysis.js";
import { checkLength, checkVector, clear, copyInto, copyOf, isArray, lengthOf } from "../arrays.js";
import { checkFinite, fix, rangeError, readOptions, readShape, typeError } from "../errors.js";
import {
  APPLY,
  type Block,
  backwardPass,
  bitBytes,
  blockAt,
  blockBytes,
  countOf,
  type Extras,
  FROZEN,
  forwardPass,
  type Geometry,
  OWN,
  REDUCE,
} from "../passes.js";
import { Arena } from "../runtime/arena.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import { type Entry, readState, type StateDict } from "../state.js";
import { type Core, live, type Tensor } from "../tensor.js";
import {
  copyIn,
  copyOut,
  type Minibatch,
  newLike,
  type Operand,
  place,
  readOperand,
  readSized,
} from "./call.js";
import { type Flags, placeSegments, readFlags, type Segments } from "./mask.js";

/** A learned vector and the gradient that backward adds to. Both may be replaced by arrays of the same length. */
export interface Parameter {
  /** What the layer computes with, a value a channel. */
  data: Float32Array;
  /** The sum of the gradients of every backward since `zeroGrad`, of data's length. */
  grad: Float32Array;
}

/** gamma and beta together, or each by itself. */
export type Affine = boolean | { gamma?: boolean; beta?: boolean };

/** What a layer does last. */
export type Activation = "none" | "relu";

/** A shape, or options with one; the shape may be left out where the length or the Tensor says it all. */
export type CallOptions<O extends object = object> = readonly number[] | ({ shape?: readonly number[] } & O);

/** What the last forward leaves for backward. */
interface Saved {
  geometry: Geometry;
  shape: readonly number[];
  size: number;
  /** The caller's Tensor; undefined where the layer has a copy. */
  x: Core | undefined;
  /** What keeps that Tensor from being collected: the caller may have dropped it. */
  owner: unknown;
  overwritten: boolean;
  block: Block;
  frozen: boolean;
  count: number;
  residual: boolean;
  segments: Segments | undefined;
}

/** The layer's memory for minibatches of one geometry. */
interface Places {
  geometry: Geometry;
  block: Block;
  /** What the layer keeps. */
  kept: number;
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

/**
 * What all layers share: arguments, memory, the two passes, parameters and their state. A family says how it cuts a
 * minibatch into groups, and which statistics it keeps, if any.
 */
export abstract class Layer<O extends object = object> {
  /** Added to the variance. */
  declare readonly eps: number;
  /** What the layer does last. */
  declare readonly activation: Activation;
  /** After `backward`: the gradient of the forward's residual, of dy's kind and the caller's own; null without. */
  residualGrad: Minibatch | null = null;
  declare protected readonly who: string;
  declare protected readonly channels: number;
  readonly #gamma: Parameter | null;
  readonly #beta: Parameter | null;
  /** The arrays of gamma and beta as the current call has read them. */
  readonly #vectors: { gamma: Parameter | null; beta: Parameter | null };
  #training = true;
  #disposed = false;
  #runtime: Runtime | undefined;
  #arena: Arena | undefined;
  #saved: Saved | undefined;
  #cut: { shape: readonly number[]; geometry: Geometry } | undefined;
  #last: Places | undefined;

  /** @param who the layer as errors call it, for instance `BatchNorm(64)` */
  protected constructor(who: string, channels: number, eps: unknown, affine: unknown, activation: unknown) {
    if (activation !== "none" && activation !== "relu") {
      throw typeError(who, 'activation to be "none" or "relu"', activation);
    }
    fix(this, { who, channels, eps: checkFinite(who, "eps", eps, 0), activation });
    const parts = readAffine(who, affine);
    const parameter = (value: number): Parameter => ({
      data: new Float32Array(channels).fill(value),
      grad: new Float32Array(channels),
    });
    this.#gamma = parts.gamma ? parameter(1) : null;
    this.#beta = parts.beta ? parameter(0) : null;
    this.#vectors = { gamma: this.#gamma && { ...this.#gamma }, beta: this.#beta && { ...this.#beta } };
  }

  /** Learned scale, one value a channel, at first 1; null without. */
  get gamma(): Parameter | null {
    this.checkAlive(`${this.who}.gamma`);
    return this.#gamma;
  }

  /** Learned shift, one value a channel, at first 0; null without. */
  get beta(): Parameter | null {
    this.checkAlive(`${this.who}.beta`);
    return this.#beta;
  }

  /** How a minibatch of `shape` is cut. @throws RangeError for a shape that is none of this layer's */
  protected abstract cut(who: string, shape: readonly number[]): Geometry;

  /** The shape of `size` values where nothing else says it. @throws RangeError where the size is not enough */
  protected abstract shapeOf(who: string, size: number): number[];

  /** Values that a statistic needs in training. */
  protected leastCount(): number {
    return 1;
  }

  /** The rows that a mask lets take part. */
  protected segmentsOf(_who: string, _flags: Flags, _geometry: Geometry): Segments | undefined {
    return;
  }

  /** Whether this layer takes a mask. */
  protected takesMask(): boolean {
    return false;
  }

  /** Whether this layer adds a residual. */
  protected addsResidual(): boolean {
    return false;
  }

  /** Whether the next forward uses statistics that the layer keeps. @throws TypeError, RangeError if they are unfit */
  protected frozen(_who: string): boolean {
    return false;
  }

  /** Bytes of linear memory for what the layer keeps. */
  protected keptBytes(): number {
    return 0;
  }

  /** The block with kept statistics in place of the minibatch's; called when frozen. */
  protected keptBlock(_runtime: Runtime, _kept: number, block: Block): Block {
    return block;
  }

  /** Takes a training minibatch's statistics into those that the layer keeps. */
  protected track(_runtime: Runtime, _kept: number, _block: Block, _count: number): void {}

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
    return this.#forward(`${this.who}.forward`, x, undefined, options);
  }

  /** The same, written to `out`, of either kind and returned; in evaluation mode `out` may be x itself. */
  forwardInto<T extends Minibatch>(x: Minibatch, out: T, options?: CallOptions<O>): T {
    return this.#forward(`${this.who}.forwardInto`, x, { into: out }, options) as T;
  }

  #forward(who: string, x: unknown, out: { into: unknown } | undefined, options: unknown): Minibatch {
    // What may run code of the caller's comes first, so that all that follows stays as it was checked.
    this.checkAlive(who);
    const call = options === undefined ? undefined : this.#readCall(who, options, x);
    const { gamma, beta } = this.vectors(who);
    const arena = this.#alive(who);
    const held = this.#runtime!;
    const from = readOperand(who, "x", x);
    const shape = call?.shape ?? from.shape ?? this.shapeOf(who, from.size);
    if (shape !== from.shape) checkLength(who, "x", shape, from.size);
    const geometry = this.#cutOf(who, shape);
    const into = out && readSized(who, "out", out.into, shape);
    if (this.#training && out && x === out.into) {
      throw typeError(who, "out to be another than x in training", out.into);
    }
    const frozen = this.frozen(who);
    const residual =
      call?.residual === undefined ? undefined : readSized(who, "residual", call.residual, shape);
    const segments = call?.flags && this.segmentsOf(who, call.flags, geometry);
    const count = segments ? segments.rows * geometry.width : countOf(geometry);
    if (this.#training && from.size > 0 && count < this.leastCount()) {
      const by = segments ? " that the mask lets count" : "";
      throw rangeError(
        who,
        `at least ${this.leastCount()} values for each statistic in training${by}`,
        count,
      );
    }

    // Whatever can be refused comes first: new memory, then what the layer keeps.
    const scratch = new Scratch(held);
    const { f32 } = held;
    let fresh: Minibatch | undefined;
    try {
      const added = residual ? place(scratch, residual) : 0;
      const share = placeSegments(held, scratch, segments);
      fresh = out ? undefined : newLike(from, shape);
      const to = into ?? readOperand(who, "out", fresh);
      const y = place(scratch, to);
      const relu = this.activation === "relu";
      const { block: own, kept } = this.#places(who, held, arena, geometry, from, f32);
      const input = from.address ?? arena.at("x");
      copyIn(held, from, input);
      if (residual) copyIn(held, residual, added);
      if (gamma) copyInto(held.f32, gamma.data, own.gamma / 4);
      if (beta) copyInto(held.f32, beta.data, own.beta / 4);
      const block = frozen ? this.keptBlock(held, kept, own) : own;
      if (from.size > 0) {
        forwardPass(held, geometry, frozen ? APPLY : REDUCE | APPLY, input, y, this.eps, block, {
          gamma: gamma !== null,
          beta: beta !== null,
          residual: added,
          bits: relu ? arena.at("bits") : 0,
          ...share,
          count,
        });
        copyOut(held, to, y);
        if (this.#training && !frozen) this.track(held, kept, block, count);
      }
      this.#saved = {
        geometry,
        shape,
        size: from.size,
        x: from.array ? undefined : from,
        owner: from.array ? undefined : x,
        overwritten: input === y && from.size > 0,
        block,
        frozen,
        count,
        residual: residual !== undefined,
        segments,
      };
      return out ? (out.into as Minibatch) : fresh!;
    } catch (error) {
      if (fresh && "dispose" in fresh) fresh.dispose();
      throw error;
    } finally {
      scratch.release();
    }
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
    return this.#backward(`${this.who}.backward`, dy, undefined, undefined);
  }

  /** The same, written to `dx`, which may be dy itself, and the residual's gradient to `residualGrad`. */
  backwardInto<T extends Minibatch>(dy: Minibatch, dx: T, options?: { residualGrad?: Minibatch }): T {
    return this.#backward(`${this.who}.backwardInto`, dy, { into: dx }, options) as T;
  }

  #backward(who: string, dy: unknown, out: { into: unknown } | undefined, options: unknown): Minibatch {
    // The caller's own code first, as in forward.
    this.checkAlive(who);
    const residualGrad =
      options === undefined ? undefined : readOptions(who, options, { residualGrad: undefined }).residualGrad;
    const { gamma, beta } = this.vectors(who);
    const arena = this.#alive(who);
    const held = this.#runtime!;
    const saved = this.#saved;
    if (!saved) throw new Error(`${who}: expected a forward before it`);
    const { geometry, shape, block, frozen, segments } = saved;
    if (saved.x) live(who, saved.x);
    const from = readSized(who, "dy", dy, shape);
    const into = out && readSized(who, "dx", out.into, shape);
    if (residualGrad !== undefined && !saved.residual) {
      throw typeError(who, "no residualGrad without a residual", residualGrad);
    }
    if (saved.overwritten && gamma) {
      throw overwritten(who);
    }

    const scratch = new Scratch(held);
    const fresh: Minibatch[] = [];
    const { f32 } = held;
    try {
      const make = (): Operand => {
        fresh.push(newLike(from, shape));
        return readOperand(who, "dx", fresh.at(-1));
      };
      const source = place(scratch, from);
      const to = into ?? make();
      // Kernels may write dx over dy: an array's gradient needs one place for both.
      const dx = to.address ?? (from.array ? source : scratch.take(4 * to.size));
      const wantsResidual = saved.residual && (!out || residualGrad !== undefined);
      const through = !wantsResidual
        ? undefined
        : residualGrad === undefined
          ? make()
          : readSized(who, "residualGrad", residualGrad, shape);
      const dresidual = through ? place(scratch, through) : 0;
      const share = placeSegments(held, scratch, segments);
      if (held.f32 !== f32) this.#checkVectors(who, gamma, beta);
      copyIn(held, from, source);
      if (saved.size > 0) {
        const relu = this.activation === "relu";
        if (through && !relu) held.f32.copyWithin(dresidual / 4, source / 4, source / 4 + saved.size);
        const x = saved.x ? saved.x.address : arena.at("x");
        const extras: Extras = {
          gamma: gamma !== null,
          beta: beta !== null,
          residual: relu ? dresidual : 0,
          bits: relu ? arena.at("bits") : 0,
          ...share,
          count: saved.count,
        };
        const steps = REDUCE | APPLY | (frozen ? FROZEN : OWN);
        backwardPass(
          held,
          geometry,
          saved.overwritten ? APPLY | FROZEN : steps,
          x,
          source,
          dx,
          block,
          extras,
        );
        if (segments) {
          clearOthers(held, segments, geometry, dx);
          if (through) clearOthers(held, segments, geometry, dresidual);
        }
        if (gamma) addGradient(gamma.grad, held.f64, block.dgamma / 8);
        if (beta) addGradient(beta.grad, held.f64, block.dbeta / 8);
        copyOut(held, to, dx);
        if (through) copyOut(held, through, dresidual);
      }
      this.residualGrad = wantsResidual ? ((residualGrad as Minibatch | undefined) ?? fresh.at(-1)!) : null;
      return out ? (out.into as Minibatch) : fresh[0]!;
    } catch (error) {
      for (const minibatch of fresh) if ("dispose" in minibatch) minibatch.dispose();
      throw error;
    } finally {
      scratch.release();
    }
  }

  /**
   * Sums of dy over the groups of the last forward, and of its statistics the variance; no gradient is touched.
   * @throws as `backward`
   */
  protected gradientSums(
    who: string,
    dy: unknown,
  ): { sums: GradientSums; count: number; variance: Float64Array | null } {
    const arena = this.#alive(who);
    const held = this.#runtime!;
    const saved = this.#saved;
    if (!saved) throw new Error(`${who}: expected a forward before it`);
    if (saved.x) live(who, saved.x);
    if (saved.overwritten) throw overwritten(who);
    const { geometry, block, segments, frozen } = saved;
    const from = readSized(who, "dy", dy, saved.shape);
    const n = this.channels;
    if (saved.size === 0) {
      const zeros = () => new Float64Array(n);
      return { sums: { dy: zeros(), dyXhat: zeros(), dySquared: zeros() }, count: 0, variance: null };
    }
    return Scratch.with(held, (scratch) => {
      const source = place(scratch, from);
      // About a mean of 0 with an rstd of 1, dy's dot product with itself is its energy.
      const plain = blockAt(scratch.take(blockBytes(held, geometry)), geometry);
      const share = placeSegments(held, scratch, segments);
      copyIn(held, from, source);
      const { f64 } = held;
      f64.fill(0, plain.mean / 8, plain.variance / 8);
      f64.fill(1, plain.rstd / 8, plain.sum1 / 8);
      const extras: Extras = {
        gamma: false,
        beta: false,
        residual: 0,
        bits: this.activation === "relu" ? arena.at("bits") : 0,
        ...share,
        count: saved.count,
      };
      const x = saved.x ? saved.x.address : arena.at("x");
      backwardPass(held, geometry, frozen ? REDUCE : REDUCE | OWN, x, source, 0, block, extras);
      backwardPass(held, geometry, REDUCE, source, source, 0, plain, extras);
      const copy = (address: number) => f64.slice(address / 8, address / 8 + n);
      return {
        sums: { dy: copy(block.dbeta), dyXhat: copy(block.dgamma), dySquared: copy(plain.dgamma) },
        count: saved.count,
        variance: frozen ? null : copy(block.variance),
      };
    });
  }

  /** gamma and beta, as far as they are there: what an optimizer takes. */
  parameters(): Parameter[] {
    this.checkAlive(`${this.who}.parameters`);
    return [this.gamma, this.beta].filter((parameter) => parameter !== null);
  }

  /** Sets the gradients of gamma and beta to zero. */
  zeroGrad(): void {
    this.checkAlive(`${this.who}.zeroGrad`);
    const { gamma, beta } = this.vectors(`${this.who}.zeroGrad`);
    for (const vectors of [gamma, beta]) if (vectors) clear(vectors.grad);
  }

  /** Whether the layer is in training mode, as at first; `train()` and `eval()` switch. */
  get training(): boolean {
    return this.#training;
  }

  /** From now on forward uses the minibatch's own statistics. */
  train(): this {
    this.checkAlive(`${this.who}.train`);
    this.#training = true;
    return this;
  }

  /** From now on forward uses the statistics that the layer keeps, if it keeps any. */
  eval(): this {
    this.checkAlive(`${this.who}.eval`);
    this.#training = false;
    return this;
  }

  /** The entries of the layer's state, under PyTorch's names. */
  protected stateSpec(): Record<string, Entry> {
    const length = this.channels;
    return { ...(this.gamma && { weight: { length } }), ...(this.beta && { bias: { length } }) };
  }

  /** A copy of the layer's state under PyTorch's names. */
  stateDict(): StateDict {
    const who = `${this.who}.stateDict`;
    this.checkAlive(who);
    const { gamma, beta } = this.vectors(who);
    return { ...(gamma && { weight: copyOf(gamma.data) }), ...(beta && { bias: copyOf(beta.data) }) };
  }

  /**
   * Takes a state: exactly the entries of `stateDict()`, as Float32Arrays or, from JSON, arrays of finite numbers.
   *
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: Readonly<Record<string, Float32Array | readonly number[]>>): void {
    const who = `${this.who}.loadStateDict`;
    this.checkAlive(who);
    const state = readState(who, dict, this.stateSpec());
    const { gamma, beta } = this.vectors(who);
    this.checkAlive(who);
    this.restore(who, state);
    if (gamma) copyInto(gamma.data, state.weight!);
    if (beta) copyInto(beta.data, state.bias!);
  }

  /** Takes the entries that a family adds, which were read and checked. @throws before anything has changed */
  protected restore(_who: string, _state: StateDict): void {}

  /** Gives the layer's memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    this.#disposed = true;
    this.#saved = undefined;
    this.#last = undefined;
    this.#arena?.release();
    this.#arena = undefined;
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }

  /** The statistics of the last training minibatch: addresses, and the runtime that holds them. */
  protected lastStatistics(): { held: Runtime; block: Block } | undefined {
    return this.#last && { held: this.#runtime!, block: this.#last.block };
  }

  /** @throws TypeError once disposed */
  protected checkAlive(who: string): void {
    if (this.#disposed) throw new TypeError(`${who}: expected a layer in use, got one that was disposed`);
  }

  /** The layer's memory. @throws TypeError once disposed */
  #alive(who: string): Arena {
    this.checkAlive(who);
    this.#runtime ??= runtime();
    this.#arena ??= new Arena(this.#runtime, this);
    return this.#arena;
  }

  #readCall(
    who: string,
    options: unknown,
    x: unknown,
  ): { shape: readonly number[] | undefined; residual: unknown; flags: Flags | undefined } {
    // A shape seen before needs no second look: its copy serves.
    const known = this.#cut?.shape;
    if (known && isSame(options, known)) return { shape: known, residual: undefined, flags: undefined };
    if (isArray(options)) return { shape: readShape(who, options), residual: undefined, flags: undefined };
    const call = readOptions(who, options, { shape: undefined, residual: undefined, mask: undefined });
    if (call.residual !== undefined && !this.addsResidual()) {
      throw typeError(who, "no residual: only BatchNorm adds one", call.residual);
    }
    if (call.mask !== undefined && !this.takesMask()) {
      throw typeError(who, "no mask: only BatchNorm takes one", call.mask);
    }
    const { residual, mask } = call;
    const shape = call.shape === undefined ? undefined : readShape(who, call.shape);
    const flags = mask === undefined ? undefined : readFlags(who, mask, readOperand(who, "x", x).size);
    return { shape, residual, flags };
  }

  /** The geometry of a shape; Tensors keep theirs, so the last one often serves again. */
  #cutOf(who: string, shape: readonly number[]): Geometry {
    if (this.#cut?.shape !== shape) this.#cut = { shape, geometry: this.cut(who, shape) };
    return this.#cut.geometry;
  }

  /** Where the layer's own memory lies, made large enough; the last call's often serves again. */
  #places(
    who: string,
    held: Runtime,
    arena: Arena,
    geometry: Geometry,
    from: Operand,
    before: Float32Array,
  ): Places {
    const last = this.#last;
    if (last?.geometry === geometry && !from.array) {
      if (held.f32 !== before) this.#checkKept(who);
      return last;
    }
    const sizes = {
      block: blockBytes(held, geometry),
      kept: this.keptBytes(),
      x: from.array ? 4 * from.size : 0,
      bits: this.activation === "relu" ? bitBytes(geometry) : 0,
    };
    arena.reserve(sizes, () => {
      if (held.f32 !== before) this.#checkKept(who);
    });
    const block = blockAt(arena.at("block"), geometry);
    this.#last = { geometry, block, kept: arena.at("kept") };
    return this.#last;
  }

  /**
   * gamma and beta as they stand: arrays that may have been replaced, even by getters, are read once, all of them
   * before any is judged. @throws TypeError, RangeError
   */
  protected vectors(who: string): { gamma: Parameter | null; beta: Parameter | null } {
    const gamma = this.#gamma;
    const beta = this.#beta;
    const seen = this.#vectors;
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
    this.#checkVectors(who, seen.gamma, seen.beta);
    return seen;
  }

  /** Whether all that the layer keeps is still there: growth has detached what is a Tensor's view. */
  #checkKept(who: string): void {
    this.#checkVectors(who, this.#vectors.gamma, this.#vectors.beta);
    this.frozen(who);
  }

  #checkVectors(who: string, gamma: Parameter | null, beta: Parameter | null): void {
    if (gamma) this.#checkParameter(who, "gamma", gamma);
    if (beta) this.#checkParameter(who, "beta", beta);
  }

  #checkParameter(who: string, name: string, { data, grad }: Parameter): void {
    checkVector(who, `${name}.data`, data, this.channels);
    checkVector(who, `${name}.grad`, grad, this.channels);
  }
}

const overwritten = (who: string): Error =>
  new Error(`${who}: expected x, but forwardInto(x, x) has overwritten it`);

/** Whether `value` is an array of just these numbers; anything that cannot be read is not. */
function isSame(value: unknown, shape: readonly number[]): boolean {
  try {
    if (!isArray(value) || value.length !== shape.length) return false;
    for (let axis = 0; axis < shape.length; axis++) if (value[axis] !== shape[axis]) return false;
    return true;
  } catch {
    return false;
  }
}

/** Adds float64 sums to a gradient. */
function addGradient(grad: Float32Array, sums: Float64Array, from: number): void {
  for (let i = 0, length = lengthOf(grad); i < length; i++) grad[i] = grad[i]! + sums[from + i]!;
}

/** Sets what lies outside of the segments to zero. */
function clearOthers(held: Runtime, { pairs }: Segments, g: Geometry, address: number): void {
  const channels = g.groups * g.width;
  const clear = (from: number, to: number): void => {
    // Positions [from, to) of each channel; channels-last they lie together.
    if (g.length === 1) held.f32.fill(0, address / 4 + from * channels, address / 4 + to * channels);
    while (g.length > 1 && from < to) {
      const row = Math.floor(from / g.length);
      const end = Math.min(to, (row + 1) * g.length);
      for (let c = 0; c < channels; c++) {
        const run = address / 4 + (row * channels + c - row) * g.length;
        held.f32.fill(0, run + from, run + end);
      }
      from = end;
    }
  };
  let from = 0;
  for (let i = 0; i < pairs.length; i += 2) {
    clear(from, pairs[i]!);
    from = pairs[i + 1]!;
  }
  clear(from, g.rows * g.length);
}
