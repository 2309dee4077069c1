/** Keras's layers, to make models of. */
import { installed } from "./install.js";
import type { Tf } from "./types.js";

/** What the layers with gamma take. */
export interface CommonOptions {
  /** Default 1e-3; of RMSNormalization 1e-6. */
  epsilon?: number;
  /** The layer's name in its model, and of its weights. */
  name?: string;
  /** Whether its weights are trained (true). */
  trainable?: boolean;
  /** Of the first layer of a model: the shape of an example. */
  inputShape?: number[];
}

/** What group and instance norm take. Initializers, regularizers and constraints are those of tf.layers.batchNormalization. */
export interface AffineOptions extends CommonOptions {
  /** Where the channels are; default: the last axis. */
  axis?: number;
  /** Whether there is a beta (true). */
  center?: boolean;
  /** Whether there is a gamma (true). */
  scale?: boolean;
  [other: `gamma${string}` | `beta${string}`]: unknown;
}

/** Constructors, after the manner of tf.layers; `L` is tf.layers.Layer. */
export interface KerasLayers<L> {
  /** `groups`: default 32, and -1 one for each channel. */
  groupNormalization(options?: AffineOptions & { groups?: number }): L;
  /** `axis: null`: each example as a whole, with one gamma and one beta, as keras-contrib has it. */
  instanceNormalization(options?: Omit<AffineOptions, "axis"> & { axis?: number | null }): L;
  /** `gamma * x / sqrt(mean(x^2) + epsilon)` over `axis` (the last one). */
  rmsNormalization(options?: CommonOptions & { axis?: number | number[] }): L;
  /** Examples of length 1. */
  unitNormalization(options?: Omit<CommonOptions, "epsilon"> & { axis?: number | number[] }): L;
  /** `(x - mean) / sqrt(variance)`, given or from `adapt`. */
  normalization(
    options?: Omit<CommonOptions, "epsilon"> & {
      axis?: number | number[] | null;
      mean?: number | number[];
      variance?: number | number[];
      invert?: boolean;
    },
  ): L & {
    /** Takes mean and variance from a tensor, or from a tf.data.Dataset of minibatches. @throws TypeError, RangeError */
    adapt(data: object): Promise<void>;
  };
}

/**
 * The layers that tfjs lacks: `layers(tf).groupNormalization({ groups: 8 })`.
 * @throws Error before `install(tf)`, or where tfjs-layers is not there
 */
export function layers<L>(tf: { layers: { batchNormalization(options?: never): L } }): KerasLayers<L> {
  installed("layers");
  const { classNameMap } = (tf as unknown as Tf).serialization.SerializationMap.getMap();
  const make = (name: string) => (options?: object) => {
    const entry = classNameMap[name];
    if (!entry) throw new Error(`layers: expected tfjs-layers with ${name}, got none`);
    return new entry[0]({ ...options });
  };
  return {
    groupNormalization: make("GroupNormalization"),
    instanceNormalization: make("InstanceNormalization"),
    rmsNormalization: make("RMSNormalization"),
    unitNormalization: make("UnitNormalization"),
    normalization: make("Normalization"),
  } as unknown as KerasLayers<L>;
}
