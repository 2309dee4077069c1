// Takes a matrix's values into the statistics of its columns: plain sums about each column's mean by the kernels, block by
// block; a column whose sums say that float64 did not hold them is summed again here, value by value.
import { rangeError } from "../errors.js";
import { kernels, LANES, walkOf } from "./kernels.js";
import { Moments, served, type Unit, unitFor } from "./moments.js";
import { copyIn, type Given, isWide, numberAt, type Part } from "./values.js";
import { sumWeighted, type Weights } from "./weights.js";

/**
 * Rows that are summed about one pivot. Where that is an outlier the squares lose as many bits of their 53 as this has,
 * and the contract needs 22.
 */
const BLOCK_ROWS = 2 ** 16;
/** Half-lives in a block at most: weights stay far from underflow, so that cuts of the stream do not matter. */
const BLOCK_HALF_LIVES = 256;

/** Some rows of a part, whose first column is column `first` of the statistics. */
export interface Block {
  part: Part;
  from: number;
  rows: number;
  features: number;
  first: number;
}

/** Sums for each column of a block, about its pivot. */
export interface BlockSums {
  counts: Float64Array;
  sums: Float64Array;
  squares: Float64Array;
}

/**
 * Adds all rows of `x` to `to`.
 *
 * @throws RangeError for an infinity or a sum of weights that float64 does not hold; `to` is then of no further use
 */
export function addRows(who: string, x: Given, weights: Weights | undefined, to: Moments): void {
  const most = weights?.halfLife
    ? Math.max(1, Math.min(BLOCK_ROWS, Math.floor(BLOCK_HALF_LIVES * weights.halfLife)))
    : BLOCK_ROWS;
  x.parts.forEach((part, first) => {
    const features = x.byColumn ? 1 : to.features;
    for (let from = 0; from < x.rows; from += most) {
      addBlock(who, { part, from, rows: Math.min(most, x.rows - from), features, first }, weights, to);
    }
  });
}

function addBlock(who: string, block: Block, weights: Weights | undefined, to: Moments): void {
  if (weights) addWeightedBlock(who, block, weights, to);
  else {
    const pivots = pivotsOf(block, (j) =>
      to.count[block.first + j] === 0 ? undefined : to.mean[block.first + j],
    );
    let found = sumPlain(who, block, pivots, false);
    // Not finite: NaN, which is left out, or values that have to be seen one by one.
    if (!allFinite(found.sums)) found = sumPlain(who, block, pivots, true);
    addSums(who, block, pivots, found, undefined, to, block.first);
  }
}

/**
 * Weights may leave next to nothing of what was before, or of the block's first rows, so that a pivot from there would be
 * far from all that counts: the block is summed about its own mean, and merged.
 */
function addWeightedBlock(who: string, block: Block, weights: Weights, to: Moments): void {
  const { from, rows, features, first } = block;
  const each = weights.of(from, rows);
  const pivots = pivotsOf(block, () => undefined, each);
  const near = sumWeighted(block, pivots, each);
  for (let j = 0; j < features; j++) {
    const shift = near.counts[j]! > 0 ? near.sums[j]! / near.counts[j]! : 0;
    if (Number.isFinite(shift)) pivots[j]! += shift;
  }
  const own = new Moments(features);
  addSums(who, block, pivots, sumWeighted(block, pivots, each), each, own, 0);
  for (let j = 0; j < features; j++) {
    if (own.count[j] === 0) continue;
    if (weights.halfLife) to.age(first + j, weights.rowsAfter(from + rows), weights.halfLife);
    to.merge(first + j, own, j);
    const count = to.count[first + j]!;
    if (count === Infinity) throw rangeError(who, "weights with a finite sum", count);
  }
}

/** Adds a block's sums to columns from `first` on. */
function addSums(
  who: string,
  block: Block,
  pivots: Float64Array,
  { counts, sums, squares }: BlockSums,
  weights: Float64Array | undefined,
  to: Moments,
  first: number,
): void {
  // Squares of float32 do not leave float64, and are zero only where all deviations are.
  const exact = !isWide(block.part) && !weights;
  for (let j = 0; j < block.features; j++) {
    const count = counts[j]!;
    if (count === 0) continue;
    if (served(squares[j]!, exact)) {
      to.add(first + j, { count, pivot: pivots[j]!, sum: sums[j]!, squares: squares[j]! }, 0);
    } else addByValue(who, block, j, pivots[j]!, weights, to, first);
  }
}

/** For each column what `known` gives, or the first number that counts. */
function pivotsOf(
  { part, from, rows, features }: Block,
  known: (j: number) => number | undefined,
  weights?: Float64Array,
): Float64Array {
  const { pivots } = scratchOf(features);
  for (let j = 0; j < features; j++) {
    const mean = known(j);
    if (mean !== undefined) {
      pivots[j] = mean;
      continue;
    }
    for (let row = 0; row < rows; row++) {
      const value = numberAt(part, (from + row) * features + j);
      if (Number.isFinite(value) && weights?.[row] !== 0) {
        pivots[j] = value;
        break;
      }
    }
  }
  return pivots;
}

function allFinite(values: Float64Array): boolean {
  for (let i = 0; i < values.length; i++) if (!Number.isFinite(values[i]!)) return false;
  return true;
}

/** Arrays for a block's sums, kept for the next: four small arrays take longer than a small minibatch's sums. */
let scratch: (BlockSums & { pivots: Float64Array }) | undefined;

function scratchOf(features: number): BlockSums & { pivots: Float64Array } {
  if (scratch?.pivots.length !== features) {
    const [pivots, counts, sums, squares] = Array.from({ length: 4 }, () => new Float64Array(features)) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    scratch = { pivots, counts, sums, squares };
  }
  return scratch;
}

/** Sums by the kernels: of all values, or, `counted`, of those that are numbers. */
function sumPlain(who: string, block: Block, pivots: Float64Array, counted: boolean): BlockSums {
  const { part, from, rows, features } = block;
  const held = kernels();
  const { exports } = held;
  const bytes = isWide(part) ? 8 : 4;
  const { folded, width, tileRows } = walkOf(rows, features, bytes);
  const { columns, tile } = held.reserve(who, 4, width, bytes * tileRows * features);
  const [sumsAt, squaresAt, countsAt] = [1, 2, 3].map((i) => columns + i * width * 8) as [
    number,
    number,
    number,
  ];
  const { f64, u32 } = held;
  for (let i = 0, j = 0; i < width; i++, j = j + 1 === features ? 0 : j + 1)
    f64[columns / 8 + i] = pivots[j]!;
  f64.fill(0, sumsAt / 8, sumsAt / 8 + 3 * width);
  const values = bytes === 8 ? f64 : held.f32;
  const sumAll = bytes === 8 ? exports.sums64 : exports.sums32;
  const sumNumbers = bytes === 8 ? exports.countedSums64 : exports.countedSums32;
  let summed = 0;
  for (let row = 0; row < rows; row += tileRows) {
    const here = Math.min(tileRows, rows - row);
    const length = here * features;
    copyIn(part, (from + row) * features, length, values, tile / bytes);
    const whole = Math.floor(here / folded);
    if (whole > 0 && counted) sumNumbers(tile, whole, width, columns, sumsAt, squaresAt, countsAt);
    else if (whole > 0) {
      sumAll(tile, whole, width, columns, sumsAt, squaresAt);
      summed += whole * folded;
    }
    const start = whole * folded * features;
    if (start === length) continue;
    // Rows too few to fill a folded one: what lacks is NaN, which this kernel leaves out.
    const panels = Math.ceil((length - start) / LANES) * LANES;
    values.fill(Number.NaN, tile / bytes + length, tile / bytes + start + panels);
    sumNumbers(tile + start * bytes, 1, panels, columns, sumsAt, squaresAt, countsAt);
  }
  const found = scratchOf(features);
  const { counts, sums, squares } = found;
  counts.fill(summed);
  sums.fill(0);
  squares.fill(0);
  for (let i = 0, j = 0; i < width; i++, j = j + 1 === features ? 0 : j + 1) {
    // A block has far fewer rows than 2^32: the lower half says it.
    counts[j]! += u32[countsAt / 4 + 2 * i]!;
    sums[j]! += f64[sumsAt / 8 + i]!;
    squares[j]! += f64[squaresAt / 8 + i]!;
  }
  return found;
}

/** Sums a column value by value, in the unit that its squares need. @throws RangeError for an infinity */
function addByValue(
  who: string,
  { part, from, rows, features, first }: Block,
  column: number,
  pivot: number,
  weights: Float64Array | undefined,
  to: Moments,
  toFirst: number,
): void {
  for (let unit: Unit = 0; ; ) {
    const u = 2 ** -unit;
    let count = 0;
    let sum = 0;
    let squares = 0;
    let allZero = true;
    for (let row = 0; row < rows; row++) {
      const value = numberAt(part, (from + row) * features + column);
      const weight = weights ? weights[row]! : 1;
      if (weight === 0 || Number.isNaN(value)) continue;
      if (!Number.isFinite(value)) {
        throw rangeError(who, `finite values, or NaN to leave out, in column ${first + column}`, value);
      }
      // Before the difference, which may leave float64, where the unit is large; after it, where it is small.
      const d = unit > 0 ? value * u - pivot * u : (value - pivot) * u;
      if (d !== 0) allZero = false;
      count += weight;
      sum += weight * d;
      squares += weight * d * d;
    }
    if (unit !== 0 || served(squares, allZero)) {
      to.add(toFirst + column, { count, pivot, sum, squares }, unit);
      return;
    }
    unit = unitFor(squares);
  }
}
