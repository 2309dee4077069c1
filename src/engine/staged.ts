/**
 * Passes over what kernels cannot take as it lies: arrays, and Tensors of 16 bits. Where a tile is one block of the minibatch its values
 * come into a room right before the kernels and leave it right after them, while they are in cache; a tile's room is all that it takes.
 */
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import { bring, carry, ownPlaceOf } from "./extras.js";
import { type Geometry, rowOf, valuesOf } from "./geometry.js";
import { copyIn, copyOut, type Operand, ownPlace } from "./operand.js";
import { FIELD, type Field, type Pass, PHASE } from "./pass.js";
import { draft } from "./workspace.js";

/** Values of a minibatch below which it goes as a whole: 64 kB of float32. */
const SMALL = 16_384;

/** Values of a forward's tile of rows: what stays in the second-level cache beside its 16-bit ones. */
const ROWS = 16_384;

/** How a pass falls into blocks: tile i has the values [i * values, (i + 1) * values), as far as there are so many. */
export interface Tiles {
  /** Values of a tile. */
  readonly values: number;
  /** Rows of a tile where that is not what the pass was planned for; else 0. */
  readonly rows: number;
}

const cuts = new WeakMap<Geometry, { forward: Tiles | undefined; backward: Tiles | undefined }>();

/** How a pass falls into tiles of one block each; undefined where it does not. */
export function tilesOf(held: Runtime, scratch: Scratch, g: Geometry, backward: boolean): Tiles | undefined {
  let cut = cuts.get(g);
  if (!cut) {
    const pass = draft(held, scratch, g);
    held.kernels.plan(pass.address);
    const values = blockOf(pass, g);
    const planned = values ? { values, rows: 0 } : undefined;
    // Rows of a forward know nothing of each other.
    const rows = Math.min(pass.get(FIELD.tileRows), Math.max(1, Math.floor(ROWS / g.length)));
    cut = { forward: g.perElement ? { values: rows * g.length, rows } : planned, backward: planned };
    cuts.set(g, cut);
  }
  return backward ? cut.backward : cut.forward;
}

/** Values of a tile, if it is a block and does all that the pass does. */
function blockOf(pass: Pass, g: Geometry): number {
  if (pass.get(FIELD.forwardApplyTiles)) return 0;
  const tileRows = pass.get(FIELD.tileRows);
  const tileGroups = pass.get(FIELD.tileGroups);
  const example = valuesOf(g) / g.outer;
  if (g.perElement) return tileRows * g.length;
  if (g.length === 1) return tileGroups * example;
  if (tileRows > 1 || tileGroups >= g.groups) return tileRows * example;
  // A tile of groups is a block where all of a group's values lie together, and none is shorter than the others.
  return g.rows === 1 && g.groups % tileGroups === 0 ? tileGroups * g.width * g.length : 0;
}

/** An operand of a pass that goes tile by tile. */
export interface Staged {
  readonly operand: Operand;
  /** Room for a tile, or for all of the operand where that is kept. */
  readonly at: number;
  readonly kept: boolean;
  readonly comes: boolean;
  readonly leaves: boolean;
}

/** Whether a minibatch is worth going tile by tile. */
export const isLong = (size: number): boolean => size > SMALL;

/** Bytes of a tile's room, with those that keep an address of it from being that of nothing. */
export const roomOf = ({ values }: Tiles, size: number): number => 4 * Math.min(values, size) + 64;

/** Whether an operand is no part of another's memory, but for being all of it. */
function isAlone(operand: Operand, other: Operand): boolean {
  const { array } = operand;
  if (!array || operand === other) return !array || operand.offset < 0;
  if (operand.offset >= 0) return false;
  return !other.array || array.buffer !== other.array.buffer || isSamePlace(array, other.array);
}

const isSamePlace = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  a.byteOffset === b.byteOffset && a.byteLength === b.byteLength;

/** Whether kernels cannot take it as it lies. */
export const isStaged = (operand: Operand | undefined): operand is Operand =>
  operand !== undefined && ownPlace(operand) === undefined;

const MINIBATCHES = ["x", "y", "added", "stream", "residual", "lateResidual", "dy", "dx"] as const;

/** Runs a planned pass by tiles; `work` runs one, of rows [from, to) as stages count them. */
export function runStaged(
  held: Runtime,
  pass: Pass,
  g: Geometry,
  backward: boolean,
  { values, rows }: Tiles,
  staged: readonly Staged[],
  work: (i: number, from: number, to: number) => void,
): void {
  const phase = backward ? PHASE.BACKWARD : PHASE.FORWARD;
  const size = valuesOf(g);
  const planned = pass.get(FIELD.tileRows);
  const rooms: [Field, number][] = [];
  for (const name of MINIBATCHES) {
    const at = pass.get(FIELD[name]);
    if (staged.some((one) => !one.kept && one.at === at)) rooms.push([FIELD[name], at]);
  }
  if (rows) pass.set(FIELD.tileRows, rows);
  held.kernels.begin(pass.address, phase);
  for (let i = 0, from = 0; from < size; i++, from += values) {
    const n = Math.min(values, size - from);
    const bytes = 4 * from;
    // A room's address less that of the tile's first value must not be 0, which is the address of nothing.
    const roomAt = (at: number) => (at === bytes ? at + 64 : at);
    for (const { operand, at, kept, comes } of staged) {
      if (comes) copyIn(held, operand, kept ? at + bytes : roomAt(at), from, n);
    }
    for (const [field, at] of rooms) pass.set(field, (roomAt(at) - bytes) >>> 0);
    work(i, from / rowOf(g), (from + n) / rowOf(g));
    for (const { operand, at, kept, leaves } of staged) {
      if (leaves) copyOut(held, operand, kept ? at + bytes : roomAt(at), from, n);
    }
  }
  held.kernels.finish(pass.address, phase);
  for (const [field, at] of rooms) pass.set(field, at);
  if (rows) pass.set(FIELD.tileRows, planned);
}

/** The operands of a call, each where the kernels find it: in its own place, in room for all of it, or in room for a tile. */
export class Parts {
  readonly tiles: Tiles | undefined;
  readonly #held: Runtime;
  readonly #scratch: Scratch;
  readonly #g: Geometry;
  readonly #operands: readonly Operand[];
  readonly #staged: Staged[] = [];
  readonly #whole: Staged[] = [];

  /** @param tiles undefined where all goes as a whole. @param operands all of the call's */
  constructor(
    held: Runtime,
    scratch: Scratch,
    tiles: Tiles | undefined,
    g: Geometry,
    operands: readonly (Operand | undefined)[],
  ) {
    this.tiles = tiles;
    this.#held = held;
    this.#scratch = scratch;
    this.#g = g;
    this.#operands = operands.filter((operand) => operand !== undefined);
  }

  /** Where an operand is to come; it also leaves, where it is written. @throws RangeError if memory cannot hold it */
  take(operand: Operand, leaves = false): number {
    const own = ownPlaceOf(operand, this.#g);
    return own ?? this.#put(operand, this.#room(operand), true, leaves);
  }

  /** Where an operand leaves from; `over` is where what may be overwritten lies. @throws RangeError if memory cannot hold it */
  takeOut(operand: Operand, over: number | undefined): number {
    const own = ownPlaceOf(operand, this.#g);
    if (own !== undefined) return own;
    const shared = this.#isStaged(operand) && this.#staged.some(({ at, kept }) => at === over && !kept);
    return this.#put(operand, shared ? over! : this.#room(operand), false, true);
  }

  /** Has an operand come to a place of its size, to stay there. */
  keep(operand: Operand, address: number): void {
    if (ownPlaceOf(operand, this.#g) === undefined) this.#put(operand, address, true, false, true);
  }

  /** Brings what goes as a whole. */
  bring(): void {
    for (const { operand, at, comes } of this.#whole) {
      if (comes) bring(this.#held, this.#scratch, operand, at, this.#g);
    }
  }

  /** Takes out what goes as a whole. */
  carry(): void {
    for (const { operand, at, leaves } of this.#whole) {
      if (leaves) carry(this.#held, this.#scratch, operand, at, this.#g);
    }
  }

  /** Runs a planned pass by its tiles, see `runStaged`. */
  run(pass: Pass, backward: boolean, work: (i: number, from: number, to: number) => void): void {
    runStaged(this.#held, pass, this.#g, backward, this.tiles!, this.#staged, work);
  }

  /** Whether an operand goes tile by tile: an array may not be a part of what another is written to meanwhile. */
  #isStaged(operand: Operand): boolean {
    if (!this.tiles) return false;
    return this.#operands.every((other) => isAlone(operand, other));
  }

  #room(operand: Operand): number {
    const bytes = this.#isStaged(operand) ? roomOf(this.tiles!, operand.size) : 4 * operand.size;
    return this.#scratch.take(bytes);
  }

  /** What leaves last is what stays, where two are one. */
  #put(operand: Operand, at: number, comes: boolean, leaves: boolean, kept = false): number {
    const list = this.#isStaged(operand) ? this.#staged : this.#whole;
    const one = { operand, at, kept, comes, leaves };
    if (comes) list.push(one);
    else list.unshift(one);
    return at;
  }
}

/** Rounds rows of float32 to a type of 16 bits where they lie, and multiplies each by gamma, if there is any. */
export function castRows(
  { kernels, f32 }: Runtime,
  at: number,
  rows: number,
  length: number,
  element: number,
  gamma: number,
): void {
  const n = rows * length;
  kernels.narrow(at, at, n, element);
  new Uint8Array(f32.buffer).copyWithin(at + 2 * n, at, at + 2 * n);
  kernels.widen(at + 2 * n, at, n, element);
  if (gamma) kernels.scale(at, gamma, rows, length);
}
