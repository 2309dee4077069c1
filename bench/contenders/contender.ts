/**
 * The one interface behind which everything that is measured stands. A contender written in JavaScript
 * implements it and is hosted by `host.ts` in a process of its own; a native one is a program that speaks the
 * host's protocol itself (see `process.ts`).
 */
import type { Shape } from "../shapes.ts";

/**
 * Training forward, evaluation forward, training backward; the plain copy that they are held against; and, where something is
 * around the norm, both passes of the norm alone.
 */
export type Op = "train" | "eval" | "backward" | "copy" | "norm" | "norm-backward";

/**
 * `x` and `dy` are minibatches, the others have a value a channel: `mean` and `var` are the running
 * statistics that evaluation mode uses. RMS norm has no `beta`, `mean` or `var`, layer norm no `mean` or `var`.
 * Around a norm, `z` is a minibatch too: the residual, the stream, the gradient that comes down the stream, or the gate;
 * `scale` and `shift` have a row for each example.
 */
export type InputName = "x" | "dy" | "gamma" | "beta" | "mean" | "var" | "z" | "scale" | "shift";
/** `y` from a forward; `dx`, `dgamma`, `dbeta` from a backward, `dz` of the gate; `y` from the copy. */
export type OutputName = "y" | "dx" | "dgamma" | "dbeta" | "dz" | "dscale" | "dshift";
export type Outputs = Partial<Record<OutputName, Float32Array>>;

/** eps is the same for everybody: PyTorch's default for batch and layer norm, DESIGN's own for RMS norm. */
export function epsOf({ family }: Shape): number {
  return family === "rms-norm" ? 1e-6 : 1e-5;
}

/** The minibatch that everybody gets. */
export interface Inputs {
  shape: Shape;
  /** Reads an input into `into`, or into an array of its own. */
  read(name: InputName, into?: Float32Array<ArrayBuffer>): Float32Array<ArrayBuffer>;
}

export interface Operation {
  /** Does the operation once; a promise is awaited, and its time counts. */
  run(): unknown;
  /** What the last run gave. */
  outputs(): Outputs | Promise<Outputs>;
}

/** Everything set up for one shape, so that `run` is the operation and nothing else. */
export interface Prepared {
  ops: Partial<Record<Op, Operation>>;
  close(): void | Promise<void>;
}

export interface Contender {
  /** Throws `Unsupported` where the library has no such operation at all. */
  prepare(inputs: Inputs): Prepared | Promise<Prepared>;
}

/** Loads the library; whatever it throws is the reason why the contender is missing. */
export type Open = (argument: string) => Contender | Promise<Contender>;

export class Unsupported extends Error {}
