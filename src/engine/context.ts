/** What a forward leaves for its backward, and the memory that it lies in. */
import type { Element } from "../element.js";
import { typeError } from "../errors.js";
import { Arena } from "../runtime/arena.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Core } from "../tensor.js";
import type { Extras } from "./extras.js";
import { bitBytes, type Geometry, parametersOf, room, statisticsOf, walkOf } from "./geometry.js";
import { FIELD, PASS_BYTES, Pass, STEP } from "./pass.js";
import type { Segments } from "./segments.js";
import { prepare } from "./workspace.js";

/** What batch renormalization multiplied xhat by and added to it, a value a channel. */
export interface Correction {
  readonly r: Float64Array;
  readonly d: Float64Array;
}

/** What backward needs to know of the forward before it. */
export interface Saved {
  shape: readonly number[];
  size: number;
  /** The caller's Tensor; undefined where the context has a copy. */
  x: Core | undefined;
  /** What keeps that Tensor from being collected: the caller may have dropped it. */
  owner: unknown;
  /** forwardInto(x, x): x is gone. */
  overwritten: boolean;
  /** The statistics were running ones, which do not depend on x. */
  frozen: boolean;
  /** The layer was in training mode. */
  training: boolean;
  /** Values behind each statistic. */
  count: number;
  residual: boolean;
  /** What came around the normalization. */
  extras: Extras | undefined;
  segments: Segments | undefined;
  /** Of batch renormalization. */
  correction: Correction | undefined;
  /** What the normalized values were rounded to before gamma multiplied them; 0: nothing. */
  cast: Element;
  /** An evaluation took the place of a training forward that no backward had used. */
  interrupted: boolean;
  /** A backward has used it up. */
  used: boolean;
}

/** Of a context that no forward has used. */
export const emptySaved = (): Saved => ({
  shape: [],
  size: 0,
  x: undefined,
  owner: undefined,
  overwritten: false,
  frozen: false,
  training: false,
  count: 0,
  residual: false,
  extras: undefined,
  segments: undefined,
  correction: undefined,
  cast: 0,
  interrupted: false,
  used: false,
});

/** What a layer asks of a context: how many bytes its copies and its own statistics take. */
export interface Needs {
  /** Of a copy of x. */
  x: number;
  /** Whether ReLU's decisions are kept. */
  bits: boolean;
  /** Of copies of what comes around the normalization. */
  extra: number;
  /** Whether running statistics have a place beside the minibatch's. */
  running: boolean;
}

/** Where a context's vectors lie, in bytes. */
export interface Places {
  readonly geometry: Geometry;
  /** The minibatch's statistics. */
  readonly mean: number;
  readonly variance: number;
  readonly rstd: number;
  /** The running ones, as an evaluation used them; mean, variance and rstd follow each other as above. */
  readonly running: number;
  readonly gamma: number;
  readonly beta: number;
  /** The copy of an array; 0 as long as there was none. */
  readonly x: number;
  readonly bits: number;
  /** Copies of what came around the normalization, and their bytes. */
  readonly extra: number;
  readonly extraBytes: number;
}

/** The record of a call, the statistics, gamma and beta that it used, and, where needed, a copy of x. */
export class Context {
  saved: Saved | undefined;
  places: Places | undefined;
  pass!: Pass;
  readonly held: Runtime;
  readonly #arena: Arena<"block" | "x" | "bits" | "extra"> | undefined;
  /** The workspace's round when the pass was planned; -1 if it is not. */
  #planned = -1;
  #released = false;

  /** @param passing whether nothing is kept after a call: then its memory is the runtime's */
  constructor(held: Runtime, passing = false) {
    this.held = held;
    this.#arena = passing ? undefined : new Arena(held, this);
  }

  get released(): boolean {
    return this.#released;
  }

  /**
   * Makes the memory large enough for a geometry and writes what of the pass does not change from call to call. `ready` runs
   * when memory is there and before anything is given up. @throws RangeError, and what `ready` throws
   */
  reserve(g: Geometry, needs: Needs, eps: number, activation: number, ready: () => void): Places {
    const s = 8 * room(statisticsOf(g), g.perElement ? 1 : g.outer);
    const p = 4 * room(parametersOf(g));
    // Columns and runs are read and written by whole strips: what lies behind the last vector must be no one else's.
    const strip = g.perElement ? 0 : 128;
    const bytes = PASS_BYTES + (needs.running ? 6 : 3) * s + 2 * p + strip;
    const arena = this.#arena;
    let block: number;
    if (arena) {
      arena.reserve(
        {
          block: bytes,
          x: needs.x,
          bits: needs.bits ? bitBytes(g) : 0,
          ...(needs.extra > 0 && { extra: needs.extra }),
        },
        ready,
      );
      block = arena.slots.block.address;
    } else {
      block = this.held.workspace(bytes, 1);
      ready();
    }
    if (block !== this.pass?.address) this.pass = new Pass(this.held, block);
    const mean = block + PASS_BYTES;
    const running = needs.running ? mean + 3 * s : 0;
    const gamma = mean + (needs.running ? 6 : 3) * s;
    this.places = {
      geometry: g,
      mean,
      variance: mean + s,
      rstd: mean + 2 * s,
      running,
      gamma,
      beta: gamma + p,
      x: needs.x ? arena!.slots.x.address : 0,
      bits: needs.bits ? arena!.slots.bits.address : 0,
      extra: needs.extra ? arena!.slots.extra.address : 0,
      extraBytes: needs.extra,
    };
    const { pass } = this;
    pass.set(FIELD.walk, walkOf(g));
    pass.set(FIELD.activation, activation);
    pass.set(FIELD.outer, g.outer);
    pass.set(FIELD.rows, g.rows);
    pass.set(FIELD.groups, g.groups);
    pass.set(FIELD.width, g.width);
    pass.set(FIELD.length, g.length);
    pass.setDouble(7, eps);
    this.#planned = -1;
    return this.places;
  }

  /** Says which statistics the pass uses: the minibatch's own, or the running ones. */
  useStatistics(running: boolean): void {
    const { pass, places } = this;
    const { mean, variance, rstd } = places!;
    const by = running ? places!.running - mean : 0;
    pass.set(FIELD.mean, mean + by);
    pass.set(FIELD.variance, variance + by);
    pass.set(FIELD.rstd, rstd + by);
  }

  /**
   * Sets the steps, and has the pass planned. Its tiles and its room depend on the shape and the segments alone, so that the steps may
   * change without a new plan.
   *
   * @throws RangeError if memory cannot hold what it needs
   */
  plan(steps: number, segments: number, segmentCount: number): void {
    const { pass, places } = this;
    const all = places!.geometry.rms ? steps | STEP.RMS : steps;
    pass.set(FIELD.steps, all);
    pass.set(FIELD.segments, segments);
    pass.set(FIELD.segmentCount, segmentCount);
    // Other layers' calls may have moved the workspace.
    const { held } = this;
    if (!segmentCount && held.workspaceRound === this.#planned) return;
    prepare(held, pass, places!.geometry);
    this.#planned = segmentCount ? -1 : held.workspaceRound;
  }

  /** The next call plans anew. */
  forgetPlan(): void {
    this.#planned = -1;
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    this.saved = this.places = undefined;
    this.#arena?.release();
  }
}

/** How many `noGrad` are running. */
let unsaved = 0;

/** Whether nothing is to be kept for backward. */
export const isUnsaved = (): boolean => unsaved > 0;

/**
 * Runs `fn` with nothing kept for backward: no copies of minibatches stay behind.
 *
 * @returns what `fn` returns
 * @throws TypeError if that is a promise: what it does later would be kept again
 */
export function noGrad<T>(fn: () => T): T {
  if (typeof fn !== "function") throw typeError("noGrad", "a function", fn);
  unsaved++;
  let result: T;
  try {
    result = fn();
  } finally {
    unsaved--;
  }
  if (typeof (result as { then?: unknown } | null | undefined)?.then === "function")
    throw typeError("noGrad", "a function that ends before it returns", result);
  return result;
}

const passing = new WeakMap<Runtime, Context>();

/** The context of calls that leave nothing behind: one for a runtime, its memory used anew by each. */
export function passingContext(held: Runtime): Context {
  let context = passing.get(held);
  if (!context) passing.set(held, (context = new Context(held, true)));
  return context;
}
