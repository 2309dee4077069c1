// What a Keras model's configuration says of its batch norms: eps, what stands before them and what follows.
import type { GraphLayer } from "./checkpoint.js";
import type { LayerKind } from "./layers.js";

interface KerasLayer {
  class_name: string;
  name?: string | undefined;
  config: Record<string, unknown> & { name?: string; layers?: KerasLayer[] };
  inbound_nodes?: unknown;
}

/** Layers that change neither which units there are nor their scale: what stands before them stands before the rest. */
const TRANSPARENT = new Set(["ZeroPadding2D", "Dropout", "SpatialDropout2D", "InputLayer"]);

/** The batch norms by name; empty where the topology is of an unknown form. */
export function graphOf(topology: unknown): Map<string, GraphLayer> {
  const graph = new Map<string, GraphLayer>();
  const root = topology as { model_config?: unknown } | null | undefined;
  const model = (root?.model_config ?? root) as KerasLayer | null | undefined;
  if (model?.config) visit(model, graph);
  return graph;
}

function visit(model: KerasLayer, graph: Map<string, GraphLayer>): void {
  // Keras 1 has a sequential model's layers as the configuration itself.
  const layers = Array.isArray(model.config) ? (model.config as KerasLayer[]) : model.config.layers;
  if (!Array.isArray(layers)) return;
  const byName = new Map(layers.map((layer) => [nameOf(layer), layer]));
  const inputs = new Map(layers.map((layer, i) => [layer, inbound(layer) ?? previous(layers[i - 1])]));
  const channels = new Map<string, number>();
  for (const layer of layers) {
    const sources = (inputs.get(layer) ?? []).flatMap((name) => byName.get(name) ?? []);
    const entering = sources.length === 1 ? (channels.get(nameOf(sources[0]!)) ?? 0) : 0;
    if (layer.config.layers) visit(layer, graph);
    if (layer.class_name === "BatchNormalization") {
      graph.set(nameOf(layer), {
        eps: Number(layer.config.epsilon ?? 1e-3),
        kind: kindBefore(sources[0], byName, inputs, channels),
        activation: activationAfter(nameOf(layer), layers, inputs),
        order: graph.size,
      });
    }
    channels.set(nameOf(layer), leaving(layer, entering, sources, channels));
  }
}

const nameOf = (layer: KerasLayer): string => layer.config.name ?? layer.name ?? "";
const previous = (layer: KerasLayer | undefined): string[] => (layer ? [nameOf(layer)] : []);

/** The names of the layers that this one is called on; null in a sequential model. */
function inbound({ inbound_nodes: nodes }: KerasLayer): string[] | null {
  if (!Array.isArray(nodes) || !Array.isArray(nodes[0])) return Array.isArray(nodes) ? [] : null;
  return (nodes[0] as unknown[][]).map((node) => String(Array.isArray(node) ? node[0] : node));
}

/** How many channels a layer gives; 0 where that is not known. */
function leaving(
  layer: KerasLayer,
  entering: number,
  sources: KerasLayer[],
  channels: ReadonlyMap<string, number>,
): number {
  const { config, class_name } = layer;
  if (class_name === "InputLayer") {
    return Number((config.batch_input_shape as unknown[] | undefined)?.at(-1) ?? 0);
  }
  if (class_name === "DepthwiseConv2D") return entering * Number(config.depth_multiplier ?? 1);
  if (config.filters !== undefined) return Number(config.filters);
  if (config.units !== undefined) return Number(config.units);
  const each = sources.map((source) => channels.get(nameOf(source)) ?? 0);
  if (class_name === "Concatenate") return each.includes(0) ? 0 : each.reduce((sum, one) => sum + one, 0);
  return each[0] ?? 0;
}

function kindBefore(
  layer: KerasLayer | undefined,
  byName: ReadonlyMap<string, KerasLayer>,
  inputs: ReadonlyMap<KerasLayer, string[]>,
  channels: ReadonlyMap<string, number>,
): LayerKind {
  if (!layer) return "unknown";
  const source = byName.get(inputs.get(layer)?.[0] ?? "");
  if (TRANSPARENT.has(layer.class_name)) return kindBefore(source, byName, inputs, channels);
  if (layer.class_name === "Dense") return "dense";
  if (layer.class_name === "DepthwiseConv2D") return "depthwise";
  if (!/^(Separable)?Conv/.test(layer.class_name)) return "unknown";
  const window = [layer.config.kernel_size].flat();
  const entering = source ? (channels.get(nameOf(source)) ?? 0) : 0;
  const units = Number(layer.config.filters);
  const pointwise = layer.class_name.startsWith("Separable") || window.every((size) => size === 1);
  if (!pointwise) return "convolution";
  if (entering === 0) return "unknown";
  return units > entering ? "expansion" : units < entering ? "projection" : "pointwise";
}

/** The activation that takes the layer's output; "linear" where none does, null where several layers take it. */
function activationAfter(
  name: string,
  layers: readonly KerasLayer[],
  inputs: ReadonlyMap<KerasLayer, string[]>,
): string | null {
  const after = layers.filter((layer) => inputs.get(layer)?.includes(name));
  const kinds = new Set(after.map(activationOf));
  if (kinds.size === 1) return [...kinds][0]!;
  return kinds.size === 0 ? "linear" : null;
}

function activationOf({ class_name, config }: KerasLayer): string {
  if (class_name === "Activation") return String(config.activation);
  if (class_name === "ReLU") return Number(config.max_value ?? 0) === 6 ? "relu6" : "relu";
  if (class_name === "LeakyReLU") return "leaky-relu";
  return class_name === "PReLU" ? "prelu" : "linear";
}
