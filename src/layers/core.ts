import { isSame } from "../arrays.js";
import { disposed } from "../errors.js";
import { type Block, bitBytes, blockAt, blockBytes, type Extras, type Geometry } from "../passes.js";
import { Arena } from "../runtime/arena.js";
import { type Runtime, runtime } from "../runtime/runtime.js";
import type { Core } from "../tensor.js";
import type { Operand } from "./call.js";
import type { Segments } from "./mask.js";
import { Parameters, type Vectors } from "./parameters.js";
import type { Running } from "./running.js";

/** What makes a layer one of its family: how it cuts a minibatch into groups, and which statistics it keeps, if any. */
export interface Family {
  /** How a minibatch of `shape` is cut. @throws RangeError for a shape that is none of this layer's */
  cut(who: string, shape: readonly number[]): Geometry;
  /** The shape of `size` values where nothing else says it. @throws RangeError where the size is not enough */
  shapeOf(who: string, size: number): number[];
  /** Values that a statistic needs in training. */
  least: number;
  /** Of batch norm alone, which also takes a mask and a residual. */
  running?: Running;
}

/** What the last forward leaves for backward. */
export interface Saved {
  places: Places;
  shape: readonly number[];
  size: number;
  /** The caller's Tensor; undefined where the layer has a copy. */
  x: Core | undefined;
  /** What keeps that Tensor from being collected: the caller may have dropped it. */
  owner: unknown;
  overwritten: boolean;
  frozen: boolean;
  count: number;
  added: boolean;
  segments: Segments | undefined;
}

/** The layer's memory for minibatches of one geometry: addresses. */
export interface Places {
  geometry: Geometry;
  block: Block;
  /** The block with the running statistics in place of the minibatch's. */
  frozen: Block;
  /** The copy of an array; 0 as long as there was none. */
  x: number;
  bits: number;
}

/** What the kernels are given beside a minibatch, whose segments are at `pairs`. */
export const extrasOf = (
  { segments, places, count }: Saved,
  pairs: number,
  vectors: Vectors | undefined,
  added: number,
): Extras => ({
  gamma: !!vectors?.gamma,
  beta: !!vectors?.beta,
  added,
  bits: places.bits,
  segments: pairs,
  segmentCount: segments ? segments.pairs.length / 2 : 0,
  count,
});

/** What a layer is inside, out of reach of whoever holds it. One class for all families keeps the calls fast. */
export class LayerCore {
  readonly who: string;
  readonly channels: number;
  readonly eps: number;
  readonly relu: boolean;
  readonly family: Family;
  readonly learned: Parameters;
  training = true;
  saved: Saved | undefined;
  places: Places | undefined;
  #disposed = false;
  #runtime: Runtime | undefined;
  #arena: Arena<"block" | "kept" | "x" | "bits"> | undefined;
  #cut: { shape: readonly number[]; geometry: Geometry } | undefined;

  constructor(who: string, channels: number, eps: number, affine: unknown, relu: boolean, family: Family) {
    this.who = who;
    this.channels = channels;
    this.eps = eps;
    this.relu = relu;
    this.family = family;
    this.learned = new Parameters(who, channels, affine);
  }

  /** @throws TypeError once disposed */
  checkAlive(who: string): void {
    if (this.#disposed) throw disposed(who, "a layer");
  }

  /** What the layer runs in, from its first use on. @throws TypeError once disposed */
  use(who: string): Runtime {
    this.checkAlive(who);
    this.#runtime ??= runtime();
    this.#arena ??= new Arena(this.#runtime, this);
    return this.#runtime;
  }

  /** The last forward, of a layer in use. @throws Error without one */
  last(who: string): Saved {
    if (!this.saved) throw new Error(`${who}: expected a forward before it`);
    return this.saved;
  }

  /** The last call's shape, if `shape` is the same. */
  known(shape: unknown): readonly number[] | undefined {
    const known = this.#cut?.shape;
    return known && isSame(shape, known) ? known : undefined;
  }

  /** The geometry of a shape; the last one often serves again. */
  cut(who: string, shape: readonly number[]): Geometry {
    const cut = this.#cut;
    return cut?.shape === shape ? cut.geometry : this.#recut(who, shape);
  }

  #recut(who: string, shape: readonly number[]): Geometry {
    if (!this.known(shape)) this.#cut = { shape, geometry: this.family.cut(who, shape) };
    return this.#cut!.geometry;
  }

  /** Whether the next forward uses statistics that the layer keeps. @throws TypeError, RangeError if they are unfit */
  frozen(who: string): boolean {
    return this.family.running?.serves(who, this.training) ?? false;
  }

  /** Whether the last call's places serve again. */
  fits(geometry: Geometry, from: Operand): boolean {
    const { places } = this;
    return places?.geometry === geometry && (places.x > 0 || !from.array);
  }

  /**
   * Where the layer's own memory lies, made large enough. What the layer was `before` found to keep is judged anew if
   * memory grew since. @throws RangeError
   */
  reserve(who: string, held: Runtime, geometry: Geometry, from: Operand, before: Float32Array): Places {
    const { running } = this.family;
    const arena = this.#arena!;
    const sizes = {
      block: blockBytes(geometry),
      kept: running ? running.bytes : 0,
      x: from.array ? 4 * from.size : 0,
      bits: this.relu ? bitBytes(geometry) : 0,
    };
    arena.reserve(sizes, () => {
      if (held.f32 !== before) this.#check(who);
    });
    const { slots } = arena;
    const block = blockAt(slots.block.address, geometry);
    const frozen = running ? running.blockAt(slots.kept.address, block) : block;
    const x = from.array ? slots.x.address : 0;
    this.places = { geometry, block, frozen, x, bits: this.relu ? slots.bits.address : 0 };
    return this.places;
  }

  /** Whether all that the layer keeps is still there: growth has detached what is a Tensor's view. */
  #check(who: string): void {
    this.learned.check(who);
    this.frozen(who);
  }

  dispose(): void {
    this.#disposed = true;
    this.saved = this.places = undefined;
    this.#arena?.release();
    this.#arena = undefined;
  }
}
