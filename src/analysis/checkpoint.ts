// Finds the normalization layers of a checkpoint by the names of its tensors.
import { checkFinite, rangeError, readOptions, typeError } from "../errors.js";
import { bare, indexWeights, kindOf, weightOf, weightsBefore } from "./kinds.js";
import type { ArrayName, LayerKind, Levels, NormLayer } from "./layers.js";

/** Named tensors, such as `openSafetensors` and `openTfjsModel` give. */
export interface Checkpoint {
  /** The tensors, by name. */
  names: readonly string[];
  /** The extents of a tensor. */
  shape(name: string): readonly number[];
  /** The values of a tensor. */
  load(name: string): ArrayLike<number> | Promise<ArrayLike<number>>;
  /** The levels of a tensor that is quantized. */
  levels?(name: string): Levels | null;
  /** What the model's graph says of a layer, by its name in the checkpoint. */
  graph?: ReadonlyMap<string, GraphLayer> | undefined;
}

/** What a graph knows of a normalization layer, and names alone do not. */
export interface GraphLayer {
  /** What is added to the variance. */
  eps: number;
  /** What stands before the layer. */
  kind: LayerKind;
  /** What follows it: "linear" for nothing, null where several things do. */
  activation: string | null;
  /** The layer's place: layers come in the graph's order. */
  order: number;
}

/** Options of `checkpointLayers`. */
export interface CheckpointOptions {
  /** For layers of which nothing else says: default 1e-3 with Keras's and TensorFlow's names, 1e-5 with PyTorch's. */
  eps?: number | undefined;
}

/** A layer's tensors, by what they are called after its name. */
interface Names {
  eps: number;
  gamma: string[];
  beta: string[];
  mean: string;
  variance: string;
}

const NAMES: readonly Names[] = [
  { eps: 1e-5, gamma: ["weight"], beta: ["bias"], mean: "running_mean", variance: "running_var" },
  { eps: 1e-3, gamma: ["gamma"], beta: ["beta"], mean: "moving_mean", variance: "moving_variance" },
];

/** Layers without statistics: PyTorch's layer and RMS norms, by the usual names. */
const STATELESS = /^(.*(?:norm|ln_f|ln_\d+|ln\d+|layernorm|layer_norm|rmsnorm)[^./]*)\.weight$/i;

/**
 * The normalization layers in a checkpoint: with running statistics under PyTorch's names (`weight`, `bias`,
 * `running_mean`, `running_var`, `num_batches_tracked`) or Keras's and TensorFlow's (`gamma`, `beta`, `moving_mean`,
 * `moving_variance`), and layer and RMS norms under PyTorch's. Only their tensors are loaded. In the order of the
 * graph, where there is one, else of their names, with numbers by their size.
 *
 * @throws TypeError, RangeError for tensors that do not fit together, and what `load` throws
 */
export async function checkpointLayers(
  checkpoint: Checkpoint,
  options: CheckpointOptions = {},
): Promise<NormLayer[]> {
  const who = "checkpointLayers";
  if (!Array.isArray(checkpoint?.names)) throw typeError(who, "a checkpoint with names", checkpoint);
  const given = readOptions(who, options, { eps: undefined });
  const eps = given.eps === undefined ? null : checkFinite(who, "eps", given.eps, 0);
  const byBareName = new Map(checkpoint.names.map((name) => [bare(name), name]));
  const weights = indexWeights(
    checkpoint.names.flatMap((name) => weightOf(name, checkpoint.shape(name)) ?? []),
  );
  const layers: NormLayer[] = [];
  for (const found of find(byBareName)) {
    const levels: Partial<Record<ArrayName, Levels | null>> = {};
    const load = async (key: ArrayName, tensor: string | undefined) => {
      if (tensor === undefined) return null;
      if (key in levels || checkpoint.levels) levels[key] = checkpoint.levels?.(tensor) ?? null;
      return await checkpoint.load(tensor);
    };
    const mean = await load("mean", found.mean);
    const gamma = await load("gamma", found.gamma);
    const units = (mean ?? gamma)!.length;
    const before = weightsBefore(found.name, units, weights);
    const graph = checkpoint.graph?.get(found.name);
    const batches = found.batches === undefined ? null : await checkpoint.load(found.batches);
    layers.push({
      name: found.name,
      gamma,
      beta: await load("beta", found.beta),
      mean,
      variance: await load("variance", found.variance),
      eps: graph?.eps ?? eps ?? found.eps,
      kind: graph?.kind ?? (before ? kindOf(before) : "unknown"),
      activation: graph?.activation ?? null,
      batches: batches?.[0] ?? null,
      levels,
    });
  }
  const order = (name: string) => checkpoint.graph?.get(name)?.order ?? 0;
  const natural = new Intl.Collator("en", { numeric: true });
  return layers.sort((a, b) => order(a.name) - order(b.name) || natural.compare(a.name, b.name));

  function* find(tensors: ReadonlyMap<string, string>) {
    const taken = new Set<string>();
    for (const names of NAMES) {
      for (const [name, variance] of tensors) {
        const separator = ["/", "."].find((one) => name.endsWith(one + names.variance));
        if (separator === undefined) continue;
        const prefix = name.slice(0, -names.variance.length);
        const tensor = (parts: string[]) => parts.map((part) => tensors.get(prefix + part)).find(Boolean);
        const mean = tensor([names.mean]);
        if (mean === undefined) throw rangeError(who, `${prefix}${names.mean} beside ${name}`, undefined);
        taken.add(prefix);
        yield {
          name: prefix.slice(0, -1),
          eps: names.eps,
          gamma: tensor(names.gamma),
          beta: tensor(names.beta),
          mean,
          variance,
          batches: tensor(["num_batches_tracked"]),
        };
      }
    }
    for (const [name, gamma] of tensors) {
      const prefix = STATELESS.exec(name)?.[1];
      if (prefix === undefined || taken.has(`${prefix}.`) || checkpoint.shape(gamma).length !== 1) continue;
      const beta = tensors.get(`${prefix}.bias`);
      yield {
        ...{ name: prefix, eps: beta === undefined ? 1e-6 : 1e-5, gamma, beta },
        ...{ mean: undefined, variance: undefined, batches: undefined },
      };
    }
  }
}
