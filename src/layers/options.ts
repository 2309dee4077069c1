/** What a call is given beside its minibatch, read once. */
import { isArray } from "../arrays.js";
import { type Context, isUnsaved } from "../engine/context.js";
import type { Minibatch } from "../engine/operand.js";
import { type Flags, type Mask, readFlags } from "../engine/segments.js";
import { checkBoolean, readOptions, readShape, typeError } from "../errors.js";
import { type ForwardContext, readContext } from "./context.js";
import type { LayerCore } from "./core.js";

/** The options of a forward. */
export interface ForwardOptions {
  /** The minibatch's shape, where its length or Tensor does not say it. */
  shape?: readonly number[] | undefined;
  /** Where to leave what backward needs; default the layer's own place. */
  context?: ForwardContext | undefined;
  /** False: nothing is kept for backward; default true. */
  save?: boolean | undefined;
  /** False: running statistics stay as they are; default true. */
  updateRunning?: boolean | undefined;
  /** Rows (or positions) that take part in the statistics. */
  mask?: Mask | undefined;
  /** Added after gamma and beta, before the activation; of x's shape. */
  residual?: Minibatch | undefined;
}

/** A shape, or options with one; the shape may be left out where the length or the Tensor says it all. */
export type CallOptions = readonly number[] | ForwardOptions;

/** The options of a backward. */
export interface BackwardOptions {
  /** The context that the forward was given. */
  context?: ForwardContext | undefined;
  /** True: the forward is not used up, so that another backward may follow; default false. */
  retain?: boolean | undefined;
  /** Where the residual's gradient goes; default a new minibatch, in `residualGrad`. */
  residualGrad?: Minibatch | undefined;
}

/** What a forward is given, read. */
export interface Call {
  shape: readonly number[] | undefined;
  context: Context | undefined;
  save: boolean;
  updateRunning: boolean;
  residual: unknown;
  flags: Flags | undefined;
}

const PLAIN: Call = {
  shape: undefined,
  context: undefined,
  save: true,
  updateRunning: true,
  residual: undefined,
  flags: undefined,
};
const PASSING: Call = { ...PLAIN, save: false };

const FORWARD = {
  shape: undefined,
  context: undefined,
  save: true,
  updateRunning: true,
  residual: undefined,
  mask: undefined,
};

/** Reads a forward's options. @throws TypeError, RangeError */
export function readCall(core: LayerCore, who: string, options: unknown, size: number): Call {
  const unsaved = isUnsaved();
  if (options === undefined) return unsaved ? PASSING : PLAIN;
  // A shape seen before needs no second look: its copy serves.
  const known = core.known(options);
  if (known) return { ...(unsaved ? PASSING : PLAIN), shape: known };
  if (isArray(options)) return { ...(unsaved ? PASSING : PLAIN), shape: readShape(who, options) };
  const o = readOptions(who, options, FORWARD);
  const refuse = (what: string, got: unknown) => {
    if (got !== undefined && !core.family.masked)
      throw typeError(who, `no ${what}: only BatchNorm takes one`, got);
  };
  refuse("residual", o.residual);
  refuse("mask", o.mask);
  return {
    shape: o.shape === undefined ? undefined : (core.known(o.shape) ?? readShape(who, o.shape)),
    context: o.context === undefined ? undefined : readContext(who, core, o.context),
    save: checkBoolean(who, "save", o.save) && !unsaved,
    updateRunning: checkBoolean(who, "updateRunning", o.updateRunning),
    residual: o.residual,
    flags: o.mask === undefined ? undefined : readFlags(who, o.mask, size),
  };
}

/** What a backward is given, read. */
export interface BackwardCall {
  context: Context | undefined;
  retain: boolean;
  residualGrad: unknown;
}

const RETAINED: BackwardCall = { context: undefined, retain: true, residualGrad: undefined };

/** `retain` of options that have nothing else, as those of many backwards do: reading all of them takes 0.3 us. */
function retainAlone(options: unknown): boolean | undefined {
  try {
    const keys = Object.keys(options as object);
    if (keys.length !== 1 || keys[0] !== "retain") return;
    const { retain } = options as { retain: unknown };
    if (typeof retain === "boolean") return retain;
  } catch {
    // What cannot be read is said by who reads it all.
  }
  return;
}

const ONCE: BackwardCall = { context: undefined, retain: false, residualGrad: undefined };

/** Reads a backward's options. @throws TypeError */
export function readBackwardCall(core: LayerCore, who: string, options: unknown): BackwardCall {
  if (options === undefined) return ONCE;
  const retain = retainAlone(options);
  if (retain !== undefined) return retain ? RETAINED : ONCE;
  const o = readOptions(who, options, { ...ONCE });
  return {
    context: o.context === undefined ? undefined : readContext(who, core, o.context),
    retain: checkBoolean(who, "retain", o.retain),
    residualGrad: o.residualGrad,
  };
}
