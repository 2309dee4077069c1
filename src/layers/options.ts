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
  /** Added after gamma, beta and the modulation, before the activation; of x's shape. */
  residual?: Minibatch | undefined;
  /** The residual stream, of x's shape: it becomes `stream + x`, which is normalized. LayerNorm, RMSNorm and GroupNorm. */
  stream?: Minibatch | undefined;
  /**
   * `n * (1 + scale) + shift` of the normalized n, before residual and activation: a row of channels for each example (layer and
   * RMS norm: or for each position, or one for all).
   */
  modulation?: Modulation | undefined;
  /** The result is multiplied by `silu(gate)`, last; of x's shape. LayerNorm and RMSNorm. */
  gate?: Minibatch | undefined;
}

/** A scale and a shift for each example, or places for their gradients. */
export interface Modulation {
  /** What n is multiplied by, less 1. */
  scale: Minibatch;
  /** What is added then. */
  shift: Minibatch;
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
  /** The gradient that comes down the residual stream: it becomes, in place, what goes on down, which is dx too. */
  stream?: Minibatch | undefined;
  /** Where the modulation's gradients go; default new minibatches, in `modulationGrad`. */
  modulationGrad?: Modulation | undefined;
  /** Where the gate's gradient goes; default a new minibatch, in `gateGrad`. */
  gateGrad?: Minibatch | undefined;
}

/** What a forward is given, read. */
export interface Call {
  shape: readonly number[] | undefined;
  context: Context | undefined;
  save: boolean;
  updateRunning: boolean;
  residual: unknown;
  stream: unknown;
  modulation: { scale: unknown; shift: unknown } | undefined;
  gate: unknown;
  flags: Flags | undefined;
}

const PLAIN: Call = {
  shape: undefined,
  context: undefined,
  save: true,
  updateRunning: true,
  residual: undefined,
  stream: undefined,
  modulation: undefined,
  gate: undefined,
  flags: undefined,
};
const PASSING: Call = { ...PLAIN, save: false };

const FORWARD = {
  shape: undefined,
  context: undefined,
  save: true,
  updateRunning: true,
  residual: undefined,
  stream: undefined,
  modulation: undefined,
  gate: undefined,
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
  const { family } = core;
  const refuse = (what: string, got: unknown, taken: boolean, takers: string) => {
    if (got !== undefined && !taken) throw typeError(who, `no ${what}: only ${takers} one`, got);
  };
  refuse("stream", o.stream, family.streamed, "LayerNorm, RMSNorm and GroupNorm take");
  refuse("gate", o.gate, family.rows !== undefined, "LayerNorm and RMSNorm take");
  return {
    shape: o.shape === undefined ? undefined : (core.known(o.shape) ?? readShape(who, o.shape)),
    context: o.context === undefined ? undefined : readContext(who, core, o.context),
    save: checkBoolean(who, "save", o.save) && !unsaved,
    updateRunning: checkBoolean(who, "updateRunning", o.updateRunning),
    residual: o.residual,
    stream: o.stream,
    modulation: readModulation(who, "modulation", o.modulation),
    gate: o.gate,
    flags: o.mask === undefined ? undefined : readFlags(who, o.mask, size),
  };
}

/** Both of scale and shift. @throws TypeError */
function readModulation(who: string, name: string, value: unknown): Call["modulation"] {
  if (value === undefined) return undefined;
  const both = readOptions(`${who}: ${name}`, value, { scale: undefined, shift: undefined });
  for (const part of ["scale", "shift"] as const) {
    if (both[part] === undefined) throw typeError(who, `${name} with a ${part}`, value);
  }
  return both;
}

/** What a backward is given, read. */
export interface BackwardCall {
  context: Context | undefined;
  retain: boolean;
  residualGrad: unknown;
  stream: unknown;
  modulationGrad: { scale: unknown; shift: unknown } | undefined;
  gateGrad: unknown;
}

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

const ONCE: BackwardCall = {
  context: undefined,
  retain: false,
  residualGrad: undefined,
  stream: undefined,
  modulationGrad: undefined,
  gateGrad: undefined,
};

const RETAINED: BackwardCall = { ...ONCE, retain: true };

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
    stream: o.stream,
    modulationGrad: readModulation(who, "modulationGrad", o.modulationGrad),
    gateGrad: o.gateGrad,
  };
}
