/**
 * Keras's further normalization layers, which tfjs lacks, under their names and with the names of their weights: models that
 * Keras saved load. They extend tfjs's batch normalization for what it reads and writes of a configuration.
 */
import { rangeError } from "../../errors.js";
import { type Affinity, group, layer, whole } from "./affine.js";
import { fromFront } from "./geometry.js";
import { vectorsOf } from "./normalize.js";
import { definePreprocessing } from "./preprocessing.js";
import type { Affine, BatchNormalization, InputShape, LayerClass, Tensor, Tf } from "./types.js";

/** What Keras saves beside what all of them have. */
interface Arguments {
  groups?: number;
  /** null: keras-contrib's instance norm, of each example as a whole. */
  axis?: number | number[] | null;
  epsilon?: number;
  center?: boolean;
  scale?: boolean;
}

/** Of a configuration, what batch norm alone has. */
const BATCH_ONLY = ["momentum", "movingMeanInitializer", "movingVarianceInitializer"];

const one = (shape: InputShape): (number | null)[] =>
  (Array.isArray(shape[0]) ? shape[0] : shape) as (number | null)[];
const only = (inputs: Tensor | Tensor[]): Tensor => (Array.isArray(inputs) ? inputs[0]! : inputs);

/** The extents along `axes`. @throws RangeError where one is not known */
function extents(name: string, shape: (number | null)[], axes: number[]): number[] {
  return axes.map((axis) => {
    const extent = shape[axis];
    if (extent == null)
      throw rangeError(name, `an input whose axis ${axis} is known and not the examples'`, shape);
    return extent;
  });
}

/** @returns the classes, by the name under which Keras saves each */
function classesOf(tf: Tf, BatchNorm: LayerClass<BatchNormalization>): LayerClass[] {
  abstract class Base extends BatchNorm {
    /** Axes from the front, from `build` on. */
    protected at: number[] = [];

    /** Adds gamma and beta, as far as they are wanted. */
    protected addVectors(shape: number[], gamma = "gamma"): void {
      const own = this as Affine;
      if (this.scale)
        own.gamma = this.addWeight(
          gamma,
          shape,
          "float32",
          this.gammaInitializer,
          this.gammaRegularizer,
          true,
          this.gammaConstraint,
        );
      if (this.center)
        own.beta = this.addWeight(
          "beta",
          shape,
          "float32",
          this.betaInitializer,
          this.betaRegularizer,
          true,
          this.betaConstraint,
        );
      this.built = true;
    }

    protected affinity(): Affinity {
      return { ...vectorsOf(this), eps: this.epsilon };
    }

    override getConfig(): Record<string, unknown> {
      const config = super.getConfig();
      for (const name of BATCH_ONLY) delete config[name];
      return config;
    }
  }

  class GroupNormalization extends Base {
    static override className = "GroupNormalization";
    groups: number;

    constructor(options: Arguments = {}) {
      super(options);
      this.groups = options.groups ?? 32;
    }

    override build(shape: InputShape): void {
      const known = one(shape);
      const axis = fromFront(this.axis, known.length);
      const [channels] = extents(this.name, known, [axis]);
      if (this.groups === -1) this.groups = channels!;
      if (axis < 1 || !(this.groups > 0) || channels! % this.groups)
        throw rangeError(this.name, `groups to divide ${channels} channels`, this.groups);
      this.at = [axis];
      this.addVectors([channels!]);
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return group(tf, only(inputs), this.at[0]!, this.groups, this.affinity());
    }

    override getConfig(): Record<string, unknown> {
      return { groups: this.groups, ...super.getConfig() };
    }
  }

  /** TensorFlow Addons': a group for each channel. keras-contrib's, where the axis is null: each example as a whole. */
  class InstanceNormalization extends GroupNormalization {
    static override className = "InstanceNormalization";
    readonly #whole: boolean;

    constructor(options: Arguments = {}) {
      super({ ...options, groups: -1 });
      this.#whole = options.axis === null;
    }

    override build(shape: InputShape): void {
      if (this.#whole) this.addVectors([1]);
      else super.build(shape);
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return this.#whole ? whole(tf, only(inputs), this.affinity()) : super.call(inputs);
    }

    override getConfig(): Record<string, unknown> {
      const { groups: _, ...config } = super.getConfig();
      return this.#whole ? { ...config, axis: null } : config;
    }
  }

  class RMSNormalization extends Base {
    static override className = "RMSNormalization";

    constructor(options: Arguments = {}) {
      super({ ...options, epsilon: options.epsilon ?? 1e-6, center: false, scale: true });
    }

    override build(shape: InputShape): void {
      const known = one(shape);
      const axes = [this.axis].flat() as number[];
      this.at = axes.map((axis) => fromFront(axis, known.length));
      this.addVectors(extents(this.name, known, this.at), "scale");
    }

    override call(inputs: Tensor | Tensor[]): Tensor {
      return layer(tf, only(inputs), this.at, true, this.affinity());
    }

    override getConfig(): Record<string, unknown> {
      const entries = Object.entries(super.getConfig());
      return Object.fromEntries(entries.filter(([name]) => !/^(center|scale|gamma|beta)/.test(name)));
    }
  }

  class AddonsGroupNormalization extends GroupNormalization {
    static override className = "Addons>GroupNormalization";
  }
  class AddonsInstanceNormalization extends InstanceNormalization {
    static override className = "Addons>InstanceNormalization";
  }
  return [
    GroupNormalization,
    InstanceNormalization,
    RMSNormalization,
    AddonsGroupNormalization,
    AddonsInstanceNormalization,
  ] as LayerClass[];
}

/** Registers the layers that no one has registered. @returns what takes it back */
export function defineLayers(tf: Tf): () => void {
  const { classNameMap } = tf.serialization.SerializationMap.getMap();
  const BatchNorm = classNameMap.BatchNormalization?.[0] as LayerClass<BatchNormalization> | undefined;
  if (!BatchNorm) return () => {};
  const added: string[] = [];
  for (const cls of [...classesOf(tf, BatchNorm), ...definePreprocessing(tf)]) {
    if (classNameMap[cls.className]) continue;
    classNameMap[cls.className] = [cls, cls.fromConfig];
    added.push(cls.className);
  }
  return () => {
    for (const name of added) delete classNameMap[name];
  };
}
