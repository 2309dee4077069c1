/** Keras's UnitNormalization and Normalization: without gamma and beta, and the second with statistics of the data. */
import { rangeError, typeError } from "../../errors.js";
import { type Moments, mergeMoments, moments } from "../../functional.js";
import { fromFront } from "./geometry.js";
import type { InputShape, Layer, LayerClass, LayerVariable, Tensor, Tf } from "./types.js";

const one = (shape: InputShape): (number | null)[] =>
  (Array.isArray(shape[0]) ? shape[0] : shape) as (number | null)[];
const only = (inputs: Tensor | Tensor[]): Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);
const list = (axis: number | readonly number[] | null): number[] =>
  axis === null ? [] : ([axis].flat() as number[]);

/** Squared lengths and deviations below are taken for these, as in Keras. */
const LEAST_SQUARE = 1e-12;
const LEAST_DEVIATION = 1e-7;

type Numbers = number | readonly number[];

interface NormalizationArguments {
  /** The axes that have statistics of their own; null: one mean and variance for all. */
  axis?: number | number[] | null;
  mean?: Numbers | null;
  variance?: Numbers | null;
  invert?: boolean;
}

/** What `adapt` reads: one array or tensor, or batches of them. */
type Data = Tensor | { forEachAsync(visit: (batch: Tensor) => void): Promise<void> };

const isTensor = (value: unknown): value is Tensor =>
  typeof value === "object" && value !== null && "dataSync" in value && "shape" in value;

export function definePreprocessing(tf: Tf): LayerClass[] {
  const Layer = tf.layers!.Layer;

  class UnitNormalization extends Layer {
    static override className = "UnitNormalization";
    axis: number | number[];

    constructor(options: { axis?: number | number[] } = {}) {
      super(options);
      this.axis = options.axis ?? -1;
      this.supportsMasking = true;
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return tf.tidy(() => {
        const x = only(inputs);
        const axes = list(this.axis).map((axis) => fromFront(axis, x.rank));
        const square = tf.sum(tf.square(x), axes, true);
        return tf.mul(x, tf.rsqrt(tf.maximum(square, LEAST_SQUARE)));
      });
    }

    override getConfig(): Record<string, unknown> {
      return { ...super.getConfig(), axis: this.axis };
    }
  }

  class Normalization extends Layer {
    static override className = "Normalization";
    readonly #options: Required<NormalizationArguments>;
    #kept: number[] = [];
    #shape: number[] = [];
    #mean: LayerVariable | undefined;
    #variance: LayerVariable | undefined;
    #count: LayerVariable | undefined;

    constructor(options: NormalizationArguments = {}) {
      super(options);
      const { axis = -1, mean = null, variance = null, invert = false } = options;
      if ((mean === null) !== (variance === null))
        throw typeError("Normalization", "both mean and variance or none", mean ?? variance);
      this.#options = { axis, mean, variance, invert };
    }

    override build(shape: InputShape): void {
      const known = one(shape);
      this.#kept = list(this.#options.axis).map((axis) => fromFront(axis, known.length));
      const extents = this.#kept.map((axis) => known[axis]);
      const unknown = extents.findIndex((extent) => extent == null);
      if (unknown >= 0)
        throw rangeError(this.name, `axis ${this.#kept[unknown]} of the input to be known`, known);
      this.#shape = extents as number[];
      if (this.#options.mean === null) {
        const { zeros, ones } = (tf as unknown as { initializers: Record<"zeros" | "ones", () => unknown> })
          .initializers;
        this.#mean = this.addWeight("mean", this.#shape, "float32", zeros(), undefined, false);
        this.#variance = this.addWeight("variance", this.#shape, "float32", ones(), undefined, false);
        this.#count = this.addWeight("count", [], "int32", zeros(), undefined, false);
      }
      this.built = true;
    }

    /** A statistic in a shape that broadcasts over x. */
    #broadcast(x: Tensor, given: Numbers | null, weight: LayerVariable | undefined): Tensor {
      const shape = x.shape.map((extent, axis) => (this.#kept.includes(axis) ? extent : 1));
      if (given === null) return tf.reshape(weight!.read(), shape);
      const numbers = [given].flat() as number[];
      const size = shape.reduce((a, b) => a * b, 1);
      return tf.tensor(numbers.length === 1 ? Array(size).fill(numbers[0]) : numbers, shape, "float32");
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return tf.tidy(() => {
        const x = tf.cast(only(inputs), "float32");
        const { mean, variance, invert } = this.#options;
        const mu = this.#broadcast(x, mean, this.#mean);
        const deviation = tf.maximum(tf.sqrt(this.#broadcast(x, variance, this.#variance)), LEAST_DEVIATION);
        return invert ? tf.add(mu, tf.mul(x, deviation)) : tf.div(tf.sub(x, mu), deviation);
      });
    }

    /**
     * Takes mean and variance from data: a tensor, or a tf.data.Dataset of minibatches. They are summed up in float64, and
     * replace what was there.
     */
    async adapt(data: Data): Promise<void> {
      if (this.#options.mean !== null)
        throw typeError(this.name, "a layer without a mean of its own to adapt", this.#options.mean);
      let all: Moments | undefined;
      const visit = (batch: Tensor) => {
        if (!isTensor(batch)) throw typeError(this.name, "tensors to adapt to", batch);
        if (!this.built) this.build([null, ...batch.shape.slice(1)]);
        const axes = batch.shape.map((_, axis) => axis).filter((axis) => !this.#kept.includes(axis));
        const part = moments(Float32Array.from(batch.dataSync()), batch.shape, { axes });
        all = all ? mergeMoments(all, part) : part;
      };
      if (isTensor(data)) visit(data);
      else if (typeof data?.forEachAsync === "function") await data.forEachAsync(visit);
      else throw typeError(this.name, "a tensor or a dataset to adapt to", data);
      if (!all?.count) throw rangeError(this.name, "data with examples to adapt to", all?.count ?? 0);
      const { count, mean, m2 } = all;
      tf.tidy(() => {
        this.#mean!.write(tf.tensor(Float32Array.from(mean), this.#shape));
        const variance = Float32Array.from(m2, (sum) => sum / count);
        this.#variance!.write(tf.tensor(variance, this.#shape));
        this.#count!.write(tf.scalar(count, "int32"));
      });
    }

    override getConfig(): Record<string, unknown> {
      return { ...super.getConfig(), ...this.#options };
    }
  }

  return [UnitNormalization, Normalization] as LayerClass<Layer>[];
}
