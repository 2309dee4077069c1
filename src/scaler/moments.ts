// The statistics of columns: count, mean and sum of squares about it, and how two of them become one
// (Chan, Golub & LeVeque 1979).

/**
 * The three units that a column's squares are counted in: 2^0, and 2^600 and 2^-600 for the few columns whose squares
 * float64 does not hold (deviations above some 1e154 or below some 1e-135).
 */
export const UNITS = [0, 600, -600] as const;
export type Unit = (typeof UNITS)[number];

/** A sum of squares below this has lost digits to underflow. */
const TINY = 2 ** -900;

/** Sums over some values of a column about a pivot. */
export interface Sums {
  /** How many values, or the sum of their weights. */
  count: number;
  /** For a column that had no values, any number near them; else its mean. */
  pivot: number;
  /** `sum((x - pivot) / 2^unit)`. */
  sum: number;
  /** `sum(((x - pivot) / 2^unit)^2)`. */
  squares: number;
}

/** Whether `unit` served for these squares; they may be zero only where all deviations are. */
export const served = (squares: number, allZero: boolean): boolean =>
  squares < Infinity && (squares >= TINY || (squares === 0 && allZero));

/** The unit that serves where 0 did not. */
export const unitFor = (squares: number): Unit => (squares < Infinity ? -600 : 600);

/** Statistics of columns. A mean is kept as `mean + lost`: what 1e9 additions round off would be felt at 1e6 sigma. */
export class Moments {
  /** Values of a column that were numbers, or the sum of their weights. */
  readonly count: Float64Array;
  readonly mean: Float64Array;
  /** What the mean lost to rounding. */
  readonly lost: Float64Array;
  /** `sum(((x - mean) / 2^unit)^2)`. */
  readonly m2: Float64Array;
  readonly unit: Float64Array;
  /** With a half-life: how many rows there had been when `count` and `m2` were brought up to date. */
  readonly last: Float64Array;

  constructor(readonly features: number) {
    this.count = new Float64Array(features);
    this.mean = new Float64Array(features);
    this.lost = new Float64Array(features);
    this.m2 = new Float64Array(features);
    this.unit = new Float64Array(features);
    this.last = new Float64Array(features);
  }

  /** A copy, in place of what `to` held. */
  copy(to = new Moments(this.features)): Moments {
    for (const name of VECTORS) to[name].set(this[name]);
    return to;
  }

  /** A column's `m2 / (count - ddof)` in units of `4^unit`; NaN where there are not more than `ddof` values. */
  scaledVariance(ddof: number): Float64Array {
    return this.m2.map((squares, j) =>
      this.count[j]! > ddof ? squares / (this.count[j]! - ddof) : Number.NaN,
    );
  }

  /** Lets a column's weights fade to what they are after so many rows in all. */
  age(j: number, rows: number, halfLife: number): void {
    const fade = 2 ** ((this.last[j]! - rows) / halfLife);
    this.count[j]! *= fade;
    this.m2[j]! *= fade;
    this.last[j] = rows;
  }

  /** Takes in sums about `pivot`, which is this column's mean unless it has no values. */
  add(j: number, { count, pivot, sum, squares }: Sums, unit: Unit): void {
    if (count === 0) return;
    const { mean, lost, m2 } = this;
    const before = this.count[j]!;
    const u = 2 ** unit;
    if (before === 0) {
      // The sum is far from overflow: squares as large would not have been served.
      this.#settle(j, pivot / u, 0, sum / count, u);
      m2[j] = Math.max(0, squares - (sum / count) * sum);
      this.unit[j] = m2[j] === 0 ? 0 : unit;
      this.count[j] = count;
      return;
    }
    const total = before + count;
    // About the true mean, `lost` away from the pivot.
    const l = lost[j]! / u;
    const s = sum - l * count;
    const q = squares - l * (2 * sum - l * count);
    const shift = s / total;
    const added = Math.max(0, q - shift * s);
    this.#settle(j, mean[j]! / u, l, shift, u);
    this.#addSquares(j, added, unit);
    this.count[j] = total;
  }

  /** Takes in column `k` of other statistics. */
  merge(j: number, other: Moments, k = j): void {
    const before = this.count[j]!;
    const added = other.count[k]!;
    if (added === 0) return;
    const total = before + added;
    const [mean, lost, otherMean, otherLost] = [this.mean[j]!, this.lost[j]!, other.mean[k]!, other.lost[k]!];
    if (before > 0) {
      // From the heavier side's mean: the distance, which is rounded, then counts for less than half.
      const heavier = before >= added;
      const lighterShare = (heavier ? added : before) / total;
      const between = (unit: Unit) => {
        const u = 2 ** unit;
        const distance = otherMean / u - mean / u + (otherLost / u - lost / u);
        const squares = distance * distance * Math.max(before, added) * lighterShare;
        return { unit, u, distance, squares };
      };
      let found = between(0);
      if (!served(found.squares, found.distance === 0)) found = between(unitFor(found.squares));
      const { u, distance, squares, unit } = found;
      if (heavier) this.#settle(j, mean / u, lost / u, distance * lighterShare, u);
      else this.#settle(j, otherMean / u, otherLost / u, -distance * lighterShare, u);
      this.#addSquares(j, squares, unit);
    } else {
      this.mean[j] = otherMean;
      this.lost[j] = otherLost;
      this.m2[j] = 0;
    }
    this.#addSquares(j, other.m2[k]!, other.unit[k] as Unit);
    this.count[j] = total;
  }

  /** Takes in other statistics. With a half-life, rows are counted alike on both sides, but for `later` of the others. */
  mergeAll(other: Moments, halfLife: number | null, later: number): void {
    const theirs = halfLife === null ? other : other.copy();
    for (let j = 0; j < this.features; j++) {
      if (halfLife !== null && theirs.count[j] !== 0) {
        // As late as the last value of both: not later, where a column's weights may have faded to nothing.
        theirs.last[j]! += later;
        const last = this.count[j] === 0 ? theirs.last[j]! : Math.max(this.last[j]!, theirs.last[j]!);
        this.age(j, last, halfLife);
        theirs.age(j, last, halfLife);
      }
      this.merge(j, theirs);
    }
  }

  /** Moves a mean, in units of `u`, by `shift`. */
  #settle(j: number, mean: number, lost: number, shift: number, u: number): void {
    const by = shift + lost;
    const sum = mean + by;
    // Knuth's two-sum: exact whichever is larger.
    const part = sum - mean;
    this.mean[j] = sum * u;
    this.lost[j] = (mean - (sum - part) + (by - part)) * u;
  }

  /** Adds squares that are counted in `unit`, in the larger unit of both. */
  #addSquares(j: number, squares: number, unit: Unit): void {
    if (squares === 0) return;
    const own = this.m2[j]!;
    // Nothing has no unit.
    const ownUnit = own === 0 ? unit : this.unit[j]!;
    const common = Math.max(unit, ownUnit);
    this.m2[j] = scaled(own, ownUnit - common) + scaled(squares, unit - common);
    this.unit[j] = common;
  }
}

/** `value * 2^(2 * difference)` in two steps, of which neither factor leaves float64. */
const scaled = (value: number, difference: number): number =>
  difference === 0 ? value : value * 2 ** difference * 2 ** difference;

/** The vectors that are a column's state. */
export const VECTORS = ["count", "mean", "lost", "m2", "unit", "last"] as const;
