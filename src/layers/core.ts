import { isSame } from "../arrays.js";
import { Context, type Correction, type Saved } from "../engine/context.js";
import type { Geometry } from "../engine/geometry.js";
import type { Minibatch } from "../engine/operand.js";
import { disposed } from "../errors.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import type { Modulation } from "./options.js";
import { Parameters } from "./parameters.js";
import type { Renorm } from "./renorm.js";
import type { Running } from "./running.js";

/** What makes a layer one of its family: how it cuts a minibatch into groups, and which statistics it keeps, if any. */
export interface Family {
  /** How a minibatch of `shape` is cut. @throws RangeError for a shape that is none of this layer's */
  cut(who: string, shape: readonly number[], training: boolean): Geometry;
  /** Whether it is cut otherwise in evaluation: into virtual batches in training alone. */
  virtual?: boolean | undefined;
  /** The bounds of batch renormalization. */
  renorm?: Renorm | undefined;
  /** The shape of `size` values where nothing else says it. @throws RangeError where the size is not enough */
  shapeOf(who: string, size: number): number[];
  /** Values that a statistic needs in training. */
  least: number;
  /** Where examples are rows: how many trailing dimensions one has. */
  rows?: number | undefined;
  /** Whether a stream is taken. */
  streamed: boolean;
  /** What is added to gamma: 1 where it is stored about 0. */
  gammaOffset?: number | undefined;
  /** Whether the normalized values are rounded to x's type before gamma multiplies them. */
  casting?: boolean | undefined;
  /** Statistics that are kept from minibatch to minibatch. */
  running?: Running | undefined;
}

/** What the last forward computed, copied out of a context that others use. */
export interface Statistics {
  mean: Float64Array;
  rstd: Float64Array;
  variance: Float64Array;
}

/** Where the last forward's statistics are: in a context until its next forward, or copied. */
type Last = { context: Context; running: boolean; groups: number } | { copy: Statistics } | undefined;

/** What a layer is inside, out of reach of whoever holds it. One class for all families keeps the calls fast. */
export class LayerCore {
  readonly who: string;
  /** How errors call each use, put together once: 10 ns of a call. */
  readonly names: Readonly<Record<"forward" | "forwardInto" | "backward" | "backwardInto", string>>;
  readonly channels: number;
  readonly eps: number;
  /** As the kernels number it. */
  readonly activation: number;
  readonly family: Family;
  readonly learned: Parameters;
  training = true;
  residualGrad: Minibatch | null = null;
  /** The last forward, where the next may be the same but for its Tensors: see forward.ts. */
  ready: unknown;
  modulationGrad: Modulation | null = null;
  gateGrad: Minibatch | null = null;
  /** Where the statistics of the last forward and of the last training forward are. */
  last: Last;
  lastBatch: Last;
  /** What batch renormalization made of the last training forward. */
  correction: Correction | undefined;
  #disposed = false;
  #runtime: Runtime | undefined;
  #own: Context | undefined;
  #contexts: WeakRef<Context>[] = [];
  #cut: { shape: readonly number[]; training: boolean; geometry: Geometry } | undefined;

  constructor(
    who: string,
    channels: number,
    eps: number,
    affine: unknown,
    activation: number,
    family: Family,
  ) {
    this.who = who;
    this.names = {
      forward: `${who}.forward`,
      forwardInto: `${who}.forwardInto`,
      backward: `${who}.backward`,
      backwardInto: `${who}.backwardInto`,
    };
    this.channels = channels;
    this.eps = eps;
    this.activation = activation;
    this.family = family;
    this.learned = new Parameters(who, channels, affine, 1 - (family.gammaOffset ?? 0));
  }

  /** @throws TypeError once disposed */
  checkAlive(who: string): void {
    if (this.#disposed) throw disposed(who, "a layer");
  }

  /** What the layer runs in, from its first use on. @throws TypeError once disposed */
  use(who: string): Runtime {
    this.checkAlive(who);
    return (this.#runtime ??= runtime());
  }

  /** The context of calls that name none. */
  get own(): Context {
    return (this.#own ??= new Context(this.#runtime!));
  }

  /** Another context, released with the layer. */
  newContext(who: string): Context {
    const context = new Context(this.use(who));
    // What was dropped without having been disposed is collected; only its reference is left.
    this.#contexts = this.#contexts.filter((ref) => ref.deref());
    this.#contexts.push(new WeakRef(context));
    return context;
  }

  /** The forward that a backward on `context` would use. @throws Error without one */
  saved(who: string, context: Context | undefined): Saved {
    const { saved } = context ?? this.#own ?? { saved: undefined };
    if (!saved) throw new Error(`${who}: expected a forward before it`);
    return saved;
  }

  /** The last call's shape, if `shape` is the same. */
  known(shape: unknown): readonly number[] | undefined {
    const known = this.#cut?.shape;
    return known && isSame(shape, known) ? known : undefined;
  }

  /** The geometry of a shape; the last one often serves again. */
  cut(who: string, shape: readonly number[]): Geometry {
    const cut = this.#cut;
    const training = this.training || !this.family.virtual;
    if (cut && cut.training === training && (cut.shape === shape || this.known(shape))) return cut.geometry;
    const geometry = this.family.cut(who, shape, training);
    this.#cut = { shape: this.known(shape) ?? shape, training, geometry };
    return geometry;
  }

  /** Whether the next forward uses statistics that the layer keeps. @throws TypeError, RangeError if they are unfit */
  frozen(): boolean {
    return !this.training && this.family.running !== undefined;
  }

  /** The statistics of the last forward (`last`) or of the last training forward (`lastBatch`). */
  statistics(which: "last" | "lastBatch"): Statistics | null {
    const last = this[which];
    if (!last) return null;
    if ("copy" in last) return last.copy;
    return copyStatistics(last.context, last.running, last.groups);
  }

  /** Notes where a forward left its statistics; copies them where the context is not kept. */
  note(context: Context, running: boolean, groups: number, batch: boolean, keep: boolean): void {
    const { last } = this;
    if (
      keep &&
      last &&
      "context" in last &&
      last.context === context &&
      last.running === running &&
      last.groups === groups
    ) {
      if (batch && this.lastBatch !== last) this.lastBatch = last;
      return;
    }
    const now: Last = keep
      ? { context, running, groups }
      : { copy: copyStatistics(context, running, groups) };
    this.last = now;
    if (batch) this.lastBatch = now;
  }

  /** Before an evaluation overwrites the last training minibatch's statistics, they are copied. */
  forgetBatch(context: Context): void {
    const { lastBatch } = this;
    if (lastBatch && "context" in lastBatch && lastBatch.context === context)
      this.lastBatch = { copy: copyStatistics(context, lastBatch.running, lastBatch.groups) };
  }

  /** Takes what is known of a context's statistics out of it, before it is released or its memory moves. */
  forget(context: Context): void {
    for (const which of ["last", "lastBatch"] as const) {
      const last = this[which];
      if (last && "context" in last && last.context === context) {
        this[which] = { copy: copyStatistics(last.context, last.running, last.groups) };
      }
    }
  }

  dispose(): void {
    this.#disposed = true;
    this.last = this.lastBatch = this.ready = undefined;
    this.#own?.release();
    for (const ref of this.#contexts) ref.deref()?.release();
    this.#own = undefined;
    this.#contexts = [];
  }
}

function copyStatistics(context: Context, running: boolean, groups: number): Statistics {
  const { places, held } = context;
  const by = running ? places!.running - places!.mean : 0;
  const copy = (address: number) => held.f64.slice((address + by) / 8, (address + by) / 8 + groups);
  return { mean: copy(places!.mean), variance: copy(places!.variance), rstd: copy(places!.rstd) };
}
