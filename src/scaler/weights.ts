// Rows that count in part: a mask, weights, and weights that fade with the rows that come after.
import { rangeError, read, readOptions, typeError } from "../errors.js";
import type { Block, BlockSums } from "./fit.js";
import { copyIn } from "./values.js";

/** Which rows count, and how much. */
export interface RowOptions {
  /** Rows that count; the others are as if they were not there. */
  mask?: Uint8Array | readonly boolean[] | undefined;
  /** How much each row counts: finite, not negative. A weight of 2 is as good as giving the row twice. */
  weights?: Float32Array | Float64Array | readonly number[] | undefined;
}

/** The weights of a minibatch's rows, as given and as they fade. */
export class Weights {
  /** Rows kept among the first so many. */
  readonly #keptAmong: Float64Array;

  constructor(
    readonly rows: number,
    readonly given: Float64Array | undefined,
    readonly kept: Uint8Array | undefined,
    readonly halfLife: number | null,
    /** Rows that there had been before. */
    readonly before: number,
  ) {
    this.#keptAmong = new Float64Array(rows + 1);
    for (let row = 0; row < rows; row++) {
      this.#keptAmong[row + 1] = this.#keptAmong[row]! + (kept?.[row] === 0 ? 0 : 1);
    }
  }

  /** How many rows there have been in all after the first so many of these. */
  rowsAfter(rows: number): number {
    return this.before + this.#keptAmong[rows]!;
  }

  /** The weights of these rows as they are when the last of them has come. */
  of(from: number, rows: number): Float64Array {
    const weights = new Float64Array(rows);
    const among = this.#keptAmong;
    for (let row = 0; row < rows; row++) {
      if (this.kept?.[from + row] === 0) continue;
      const age = among[from + rows]! - among[from + row + 1]!;
      const fade = this.halfLife === null ? 1 : 2 ** (-age / this.halfLife);
      weights[row] = (this.given ? this.given[from + row]! : 1) * fade;
    }
    return weights;
  }
}

/** Reads which of so many rows count; undefined where all count alike. @throws TypeError, RangeError */
export function readWeights(
  who: string,
  options: RowOptions | undefined,
  rows: number,
  halfLife: number | null,
  before: number,
): Weights | undefined {
  const { mask, weights } = readOptions(who, options, { mask: undefined, weights: undefined });
  if (mask === undefined && weights === undefined && halfLife === null) return undefined;
  const kept = mask === undefined ? undefined : readMask(who, mask, rows);
  const given = weights === undefined ? undefined : readNumbers(who, weights, rows);
  return new Weights(rows, given, kept, halfLife, before);
}

/** A value for each row. The length is judged first: one that lies is not gone through. @throws TypeError, RangeError */
function readRows(
  who: string,
  name: string,
  kinds: string,
  value: unknown,
  fits: boolean,
  rows: number,
): unknown[] {
  const list = value as ArrayLike<unknown>;
  const length = read(who, name, () => (fits ? list.length : -1));
  if (length === -1) throw typeError(who, `${name} to be ${kinds}`, value);
  if (length !== rows) throw rangeError(who, `${name} to have ${rows} values, one for each row`, value);
  return read(who, name, () => Array.from({ length: rows }, (_, i) => list[i]));
}

function readMask(who: string, value: unknown, rows: number): Uint8Array {
  const kinds = "a Uint8Array or an array of booleans";
  const mask = readRows(who, "mask", kinds, value, value instanceof Uint8Array || Array.isArray(value), rows);
  if (!mask.every((flag) => typeof flag === "boolean" || typeof flag === "number"))
    throw typeError(who, `mask to be ${kinds}`, value);
  return Uint8Array.from(mask, (flag) => (flag ? 1 : 0));
}

function readNumbers(who: string, value: unknown, rows: number): Float64Array {
  const kinds = "an array of numbers";
  const fits = value instanceof Float64Array || value instanceof Float32Array || Array.isArray(value);
  const numbers = readRows(who, "weights", kinds, value, fits, rows);
  for (const weight of numbers) {
    if (typeof weight !== "number") throw typeError(who, `weights to be ${kinds}`, value);
    if (!(weight >= 0 && weight < Infinity))
      throw rangeError(who, "weights to be finite and not negative", weight);
  }
  return Float64Array.from(numbers as number[]);
}

/** Values that are brought to float64 at a time. */
const TILE_VALUES = 4096;

/** Weighted sums for each column of a block, of the values that are numbers. */
export function sumWeighted(block: Block, pivots: Float64Array, weights: Float64Array): BlockSums {
  const { part, from, rows, features } = block;
  const counts = new Float64Array(features);
  const sums = new Float64Array(features);
  const squares = new Float64Array(features);
  const most = Math.max(1, Math.floor(TILE_VALUES / features));
  const tile = new Float64Array(most * features);
  for (let start = 0; start < rows; start += most) {
    const here = Math.min(most, rows - start);
    copyIn(part, (from + start) * features, here * features, tile, 0);
    for (let row = 0, i = 0; row < here; row++) {
      const weight = weights[start + row]!;
      if (weight === 0) {
        i += features;
        continue;
      }
      for (let j = 0; j < features; j++, i++) {
        const d = tile[i]! - pivots[j]!;
        if (Number.isNaN(d)) continue;
        const weighted = weight * d;
        counts[j]! += weight;
        sums[j]! += weighted;
        squares[j]! += weighted * d;
      }
    }
  }
  return { counts, sums, squares };
}
