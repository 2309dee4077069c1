// What stands before a normalization layer, by the shape of its weights.
import type { LayerKind } from "./layers.js";

/** How weights lie: PyTorch's [out, in, ...], or Keras's and TensorFlow's [..., in, out]. */
export type Dialect = "torch" | "keras";

/** The layers' weights in a checkpoint, and what they are weights of. */
export interface WeightShape {
  /** The layer's name: the tensor's without its last part. */
  layer: string;
  shape: readonly number[];
  dialect: Dialect;
  depthwise: boolean;
}

/** The weights' tensors by their last part; null for all others. */
export function weightOf(name: string, shape: readonly number[]): WeightShape | null {
  const match =
    /^(.*?)[./](weight|kernel|weights|depthwise_kernel|depthwise_weights|filters|pointwise_kernel)$/.exec(
      bare(name),
    );
  if (!match || shape.length < 2) return null;
  const part = match[2]!;
  const dialect = part === "weight" ? "torch" : "keras";
  return { layer: match[1]!, shape, dialect, depthwise: part.startsWith("depthwise") };
}

/** Without TensorFlow's ":0". */
export const bare = (name: string): string => name.replace(/:\d+$/, "");

/** How many units these weights give. */
export function unitsOf({ shape, dialect, depthwise }: WeightShape): number {
  if (depthwise) return shape.at(-1)! * shape.at(-2)!;
  return dialect === "torch" ? shape[0]! : shape.at(-1)!;
}

/** Depthwise: a filter for each channel. Expansion and projection: 1 x 1 with more or fewer units than inputs. */
export function kindOf({ shape, dialect, depthwise }: WeightShape): LayerKind {
  const units = unitsOf({ layer: "", shape, dialect, depthwise });
  const inputs = dialect === "torch" ? shape[1]! : shape.at(-2)!;
  if (shape.length === 2) return "dense";
  const window = dialect === "torch" ? shape.slice(2) : shape.slice(0, -2);
  // PyTorch's depthwise weights say 1 input, as every group has one.
  if (depthwise || (dialect === "torch" && inputs === 1 && units > 1 && window.some((size) => size > 1))) {
    return "depthwise";
  }
  if (window.some((size) => size !== 1)) return "convolution";
  return units > inputs ? "expansion" : units < inputs ? "projection" : "pointwise";
}

/** A name without the words for "convolution" and "normalization", so that `conv1` and `bn1` are the same. */
export const stem = (name: string): string =>
  name
    .toLowerCase()
    .replace(/batch_?norm(alization)?|bn|norm|conv(olution)?(2d)?/g, "")
    .replace(/[._/]+/g, ".")
    .replace(/^\.|\.$/g, "");

/** The weights by their stem. */
export type WeightIndex = ReadonlyMap<string, readonly WeightShape[]>;

export function indexWeights(weights: readonly WeightShape[]): WeightIndex {
  const index = new Map<string, WeightShape[]>();
  for (const weight of weights) {
    const key = stem(weight.layer);
    index.set(key, [...(index.get(key) ?? []), weight]);
  }
  return index;
}

/**
 * The weights before the layer `name`: of the same stem, or, in a list of numbered layers, those before it
 * (`features.1.0` before `features.1.1`); with as many units.
 */
export function weightsBefore(name: string, units: number, index: WeightIndex): WeightShape | null {
  const own = stem(name);
  const previous = own.replace(/\d+$/, (digits) => String(Number(digits) - 1));
  for (const key of [own, previous]) {
    const found = index.get(key)?.find((weight) => unitsOf(weight) === units);
    if (found) return found;
  }
  return null;
}
