/** What comes before and after a normalization, as the kernels' stages take it: stream, modulation, residual, activation, gate. */
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { type Core, live } from "../tensor.js";
import type { Geometry } from "./geometry.js";
import { copyIn, copyOut, type Operand, ownPlace } from "./operand.js";
import { FIELD, type Pass } from "./pass.js";

/** An operand that backward needs again: a Tensor, which must stay unchanged, or a copy in the context. */
export interface Kept {
  readonly operand: Operand;
  /** Where its copy lies, from `places.extra` on; -1 for a Tensor of float32 in its own place. */
  readonly offset: number;
}

/** What a forward was given around the normalization. */
export interface Extras {
  readonly stream: Operand | undefined;
  readonly scale: Kept | undefined;
  readonly shift: Kept | undefined;
  readonly gate: Kept | undefined;
  /** A residual that a stage adds, or that backward needs. */
  readonly residual: Kept | undefined;
  /** Whether the residual comes after a modulation, so that kernels leave it to a stage. */
  readonly lateResidual: boolean;
  /** The activation that is left to a stage, as the kernels number it. */
  readonly late: number;
  /** Rows that share one of scale and shift. */
  readonly perCondition: number;
  /** Bytes of the copies. */
  readonly bytes: number;
  /** What keeps Tensors from being collected. */
  readonly owners: readonly unknown[];
}

/** Whether a stage has anything to do after the forward kernels. */
export const isFinished = (e: Extras): boolean =>
  e.late !== 0 || e.scale !== undefined || e.gate !== undefined;

/** Where a kept operand lies. @throws TypeError where its Tensor was disposed of */
export function addressOf(who: string, kept: Kept | undefined, base: number): number {
  if (!kept) return 0;
  if (kept.offset < 0) return live(who, kept.operand as Core).address;
  return base + kept.offset;
}

/** Brings an operand to its place, as float32 and in the order that kernels walk. */
export function bring(held: Runtime, scratch: Scratch, operand: Operand, address: number, g: Geometry): void {
  if (g.turned === undefined) {
    copyIn(held, operand, address);
    return;
  }
  const from = ownPlace(operand) ?? scratch.passage(4 * operand.size);
  copyIn(held, operand, from);
  const positions = g.outer / (g.turned || 1);
  held.kernels.transpose(from, address, g.turned, g.length, positions);
}

/** Copies what backward needs again, or the kernels read, to its place. */
export function bringExtras(
  who: string,
  held: Runtime,
  scratch: Scratch,
  extras: Extras,
  base: number,
  g: Geometry,
): void {
  const one = (kept: Kept | undefined, geometry: Geometry) => {
    if (kept && kept.offset >= 0) bring(held, scratch, kept.operand, addressOf(who, kept, base), geometry);
  };
  const plain = g.turned === undefined ? g : { ...g, turned: undefined };
  one(extras.scale, plain);
  one(extras.shift, plain);
  one(extras.gate, g);
  one(extras.residual, g);
}

/** Takes an operand from its place; what was there may be lost. */
export function carry(held: Runtime, scratch: Scratch, operand: Operand, address: number, g: Geometry): void {
  if (g.turned === undefined) {
    copyOut(held, operand, address);
    return;
  }
  const to = ownPlace(operand) ?? scratch.passage(4 * operand.size);
  const positions = g.outer / (g.turned || 1);
  held.kernels.transpose(address, to, g.turned, positions, g.length);
  copyOut(held, operand, to);
}

/** Where kernels read and write an operand as it lies. */
export const ownPlaceOf = (operand: Operand, g: Geometry): number | undefined =>
  g.turned === undefined ? ownPlace(operand) : undefined;

/** Where an operand lies in the order that kernels walk. */
export const placeOf = (scratch: Scratch, operand: Operand, g: Geometry): number =>
  ownPlaceOf(operand, g) ?? scratch.take(4 * operand.size);

/** Where they lie. */
export interface ExtraAddresses {
  stream: number;
  scale: number;
  shift: number;
  gate: number;
}

/** Writes into a pass what stages need. */
export function setExtras(pass: Pass, e: Extras, at: ExtraAddresses): void {
  pass.set(FIELD.late, e.late);
  pass.set(FIELD.stream, at.stream);
  pass.set(FIELD.scale, at.scale);
  pass.set(FIELD.shift, at.shift);
  pass.set(FIELD.gate, at.gate);
  pass.set(FIELD.perCondition, e.perCondition);
}
