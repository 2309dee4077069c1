import { checkBoolean, rangeError, readOptions, typeError } from "../errors.js";
import { apply, type Coefficients } from "./apply.js";
import { addRows } from "./fit.js";
import { Moments } from "./moments.js";
import {
  fromFile,
  readSettings,
  readState,
  type ScalerState,
  type Settings,
  type StandardScalerOptions,
  stateOf,
  toFile,
} from "./state.js";
import { type Chunks, readRun, type StreamOptions, type StreamProgress, walk } from "./streams.js";
import {
  emptyLike,
  type Given,
  type Matrix,
  readMatrix,
  readOut,
  type TensorLike,
  type Transformed,
} from "./values.js";
import { type RowOptions, readWeights } from "./weights.js";

/**
 * Standardizes columns: `(x - mean) / sqrt(variance)`, both over all rows that it was fed, in minibatches of any size
 * and order. The names are scikit-learn's (sklearn.preprocessing.StandardScaler). Sums are float64 about a pivot and merge
 * by Chan, Golub & LeVeque (1979). NaN is a missing value: left out column by column, and NaN in the result; an infinity
 * is an error where statistics are taken. A column whose variance is 0 is divided by 1.
 *
 * A matrix is rows by columns: `[rows, features]` in one array or Tensor, or a list of `features` columns.
 */
export class StandardScaler {
  readonly #settings: Settings;
  #moments: Moments;
  /** What the statistics were before the last minibatch: the place for those after the next. */
  #spare: Moments | undefined;
  #rows = 0;
  #coefficients: Coefficients | undefined;

  /** @throws TypeError, RangeError for a wrong option */
  constructor(features: number, options?: StandardScalerOptions) {
    const defaults = { withMean: true, withStd: true, ddof: 0, halfLife: null };
    this.#settings = readSettings(
      "StandardScaler",
      features,
      readOptions("StandardScaler", options, defaults),
    );
    this.#moments = new Moments(this.#settings.features);
  }

  /** How many columns a matrix has. */
  get features(): number {
    return this.#settings.features;
  }

  /** Rows that it was fed, those masked left out. */
  get rows(): number {
    return this.#rows;
  }

  /** A value for each column: how many numbers, or the sum of their weights (as faded as they are by now). */
  get count(): Float64Array {
    const { count, last } = this.#moments;
    const { halfLife } = this.#settings;
    return halfLife === null
      ? count.slice()
      : count.map((n, j) => n * 2 ** ((last[j]! - this.#rows) / halfLife));
  }

  /** A value for each column; NaN for a column without values. */
  get mean(): Float64Array {
    const { mean, count } = this.#moments;
    return mean.map((value, j) => (count[j] === 0 ? Number.NaN : value));
  }

  /** A value for each column: `m2 / (count - ddof)`; NaN where there are not more than `ddof` values. */
  get variance(): Float64Array {
    const { unit } = this.#moments;
    const { ddof } = this.#settings;
    return this.#moments.scaledVariance(ddof).map((variance, j) => variance * 2 ** unit[j]! * 2 ** unit[j]!);
  }

  /** What a column is divided by: the deviation; 1 where that is 0, and without `withStd`. */
  get scale(): Float64Array {
    return this.#current().scale.slice();
  }

  #current(): Coefficients {
    if (this.#coefficients) return this.#coefficients;
    const { withMean, withStd, ddof, features } = this.#settings;
    const { unit } = this.#moments;
    const deviation = (variance: number, j: number) =>
      variance === 0 ? 1 : Math.sqrt(variance) * 2 ** unit[j]!;
    const scale = withStd
      ? this.#moments.scaledVariance(ddof).map(deviation)
      : new Float64Array(features).fill(1);
    const mean = withMean ? this.mean : new Float64Array(features);
    return (this.#coefficients = { mean, scale });
  }

  #take(moments: Moments, rows: number): this {
    this.#moments = moments;
    this.#rows = rows;
    this.#coefficients = undefined;
    return this;
  }

  /**
   * Takes a minibatch in. Several minibatches give what one of all their rows would, up to rounding.
   *
   * @throws TypeError, RangeError for a wrong argument and for infinities; nothing has changed then
   */
  partialFit(x: Matrix, options?: RowOptions): this {
    const who = "StandardScaler.partialFit";
    const given = readMatrix(who, "x", x, this.features);
    const current = this.#moments;
    const copy = current.copy(this.#spare);
    // No longer to be had if this throws.
    this.#spare = undefined;
    this.#add(who, given, options, copy, this.#rows);
    this.#spare = current;
    return this;
  }

  /** Forgets all and takes these rows in. @throws as `partialFit` */
  fit(x: Matrix, options?: RowOptions): this {
    const who = "StandardScaler.fit";
    return this.#add(who, readMatrix(who, "x", x, this.features), options, new Moments(this.features), 0);
  }

  #add(who: string, x: Given, options: RowOptions | undefined, moments: Moments, before: number): this {
    const weights = readWeights(who, options, x.rows, this.#settings.halfLife, before);
    addRows(who, x, weights, moments);
    return this.#take(moments, weights ? weights.rowsAfter(x.rows) : before + x.rows);
  }

  /** Forgets all that it was fed. */
  reset(): this {
    return this.#take(new Moments(this.features), 0);
  }

  /** `fit`, then `transform`. @throws as `partialFit` */
  fitTransform<T extends Matrix>(x: T, options?: RowOptions): Transformed<T> {
    return this.fit(x, options).transform(x);
  }

  /**
   * `(x - mean) / scale`, in arrays of x's kind (Float64Array for integers), a Tensor for a Tensor, columns for columns.
   *
   * @throws TypeError, RangeError for a wrong argument; Error before the first row
   */
  transform<T extends Matrix>(x: T): Transformed<T> {
    return this.#mapNew("transform", x, false);
  }

  /**
   * The same into `out`: arrays of floating-point numbers of any kind, or a Tensor, as many as x; x itself is one.
   *
   * @throws as `transform`; also where `out` and x overlap and are not the same
   */
  transformInto<T extends Matrix>(x: Matrix, out: T): T {
    return this.#mapInto("transformInto", x, out, false);
  }

  /** `x * scale + mean`: what `transform` was given. @throws as `transform` */
  inverseTransform<T extends Matrix>(x: T): Transformed<T> {
    return this.#mapNew("inverseTransform", x, true);
  }

  /** The same into `out`. @throws as `transformInto` */
  inverseTransformInto<T extends Matrix>(x: Matrix, out: T): T {
    return this.#mapInto("inverseTransformInto", x, out, true);
  }

  #mapNew<T extends Matrix>(name: string, x: T, back: boolean): Transformed<T> {
    const who = `StandardScaler.${name}`;
    const given = readMatrix(who, "x", x, this.features);
    const coefficients = this.#fitted(who);
    if (given.tensor) {
      // By its own class: this entry does not load what makes Tensors.
      const Class = given.tensor.constructor as new (
        shape: readonly number[],
        data: undefined,
        options: { dtype: string | undefined },
      ) => TensorLike;
      const out = new Class([...given.tensor.shape], undefined, { dtype: given.tensor.dtype });
      apply(who, given, readMatrix(who, "out", out, this.features), coefficients, back);
      return out as Transformed<T>;
    }
    const out = { ...given, parts: given.parts.map(emptyLike) };
    apply(who, given, out, coefficients, back);
    return (given.byColumn
      ? out.parts.map(({ array }) => array)
      : out.parts[0]!.array) as unknown as Transformed<T>;
  }

  #mapInto<T extends Matrix>(name: string, x: Matrix, out: T, back: boolean): T {
    const who = `StandardScaler.${name}`;
    const given = readMatrix(who, "x", x, this.features);
    apply(who, given, readOut(who, out, given, this.features), this.#fitted(who), back);
    return out;
  }

  #fitted(who: string): Coefficients {
    if (this.#rows === 0) throw new Error(`${who}: expected partialFit or fit before it`);
    return this.#current();
  }

  /**
   * Takes in what another scaler was fed, up to rounding as if it had been fed here. With a half-life, both streams are
   * taken to have run side by side up to now.
   *
   * @throws TypeError unless it is a StandardScaler, RangeError for other columns or another half-life
   */
  merge(other: StandardScaler): this {
    const who = "StandardScaler.merge";
    if (typeof other !== "object" || other === null || !(#settings in other))
      throw typeError(who, "a StandardScaler", other);
    const { features, halfLife } = this.#settings;
    if (other.features !== features) throw rangeError(who, `${features} features`, other.features);
    if (other.#settings.halfLife !== halfLife)
      throw rangeError(who, `halfLife ${halfLife}`, other.#settings.halfLife);
    const ours = this.#moments.copy();
    if (halfLife === null) {
      ours.mergeAll(other.#moments, null, 0);
      return this.#take(ours, this.#rows + other.#rows);
    }
    const rows = Math.max(this.#rows, other.#rows);
    for (let j = 0; j < features; j++) ours.last[j]! += rows - this.#rows;
    ours.mergeAll(other.#moments, halfLife, rows - other.#rows);
    return this.#take(ours, rows);
  }

  /** Takes in what another was fed after this one. */
  #append(other: StandardScaler): void {
    this.#moments.mergeAll(other.#moments, this.#settings.halfLife, this.#rows);
    this.#take(this.#moments, this.#rows + other.#rows);
  }

  /**
   * `partialFit` of every chunk of a stream: anything that `partialFit` takes. Several may run at once.
   *
   * @throws (rejects) as `partialFit`, with what the stream fails with, or with the signal's reason; nothing has changed then,
   *   and the stream is cancelled
   */
  async fitStream(readable: Chunks, options?: StreamOptions): Promise<this> {
    const who = "StandardScaler.fitStream";
    const fed = new StandardScaler(this.features, { halfLife: this.#settings.halfLife });
    const { signal, onProgress } = readRun<StreamProgress>(who, options);
    let chunks = 0;
    for await (const chunk of walk<Matrix>(who, readable, signal)) {
      fed.partialFit(chunk);
      onProgress?.({ chunks: ++chunks, rows: fed.rows });
    }
    this.#append(fed);
    return this;
  }

  /**
   * A TransformStream from chunks to their `transform`; with `fit`, a chunk is first taken in by `partialFit`, which is
   * standardization of a stream as it comes.
   *
   * @throws TypeError for a wrong option
   */
  transformStream({ fit = false }: { fit?: boolean } = {}): TransformStream<Matrix, Matrix> {
    checkBoolean("StandardScaler.transformStream", "fit", fit);
    return new TransformStream<Matrix, Matrix>({
      transform: (chunk, controller) => {
        if (fit) this.partialFit(chunk);
        controller.enqueue(this.transform(chunk) as Matrix);
      },
    });
  }

  /** The state, exact, as JSON.stringify takes it. */
  toJSON(): ScalerState {
    return stateOf(this.#settings, this.#rows, this.#moments);
  }

  /** The scaler whose `toJSON` this is, to the bit. @throws TypeError, RangeError for anything else */
  static fromJSON(state: unknown): StandardScaler {
    return StandardScaler.#from("StandardScaler.fromJSON", state);
  }

  /** The state, exact, as a file in the safetensors format: `mean`, `m2` (in units of `4^unit`) and so on as F64. */
  toSafetensors(): Uint8Array {
    return toFile(this.#settings, this.#rows, this.#moments);
  }

  /** The scaler whose `toSafetensors` this is, to the bit. @throws TypeError, RangeError for anything else */
  static fromSafetensors(file: Uint8Array): StandardScaler {
    const who = "StandardScaler.fromSafetensors";
    return StandardScaler.#from(who, fromFile(who, file));
  }

  static #from(who: string, state: unknown): StandardScaler {
    const { settings, rows, moments } = readState(who, state);
    const { features, ...options } = settings;
    return new StandardScaler(features, options).#take(moments, rows);
  }
}
