// Batch norms of an ONNX graph, whose initializers may be constants among the nodes.
import onnxProto from "onnx-proto";
import type { LayerKind, NormLayer } from "wasm-norm/analysis";

const { onnx } = onnxProto;
type Node = onnxProto.onnx.INodeProto;
type Tensor = onnxProto.onnx.ITensorProto;

const FLOAT = 1;

/** The batch norms in the graph's order, each with the convolution before it and the activation after it. */
export function onnxLayers(file: Uint8Array): NormLayer[] {
  const { graph } = onnx.ModelProto.decode(file);
  const nodes = graph!.node!;
  const tensors = new Map<string, Tensor>(graph!.initializer!.map((tensor) => [tensor.name!, tensor]));
  for (const node of nodes) {
    const value = node.opType === "Constant" ? attribute(node, "value")?.t : null;
    if (value) tensors.set(node.output![0]!, value);
  }
  const maker = new Map(nodes.flatMap((node) => node.output!.map((name) => [name, node])));
  return nodes
    .filter(({ opType }) => opType === "BatchNormalization")
    .map((node) => {
      const [input, gamma, beta, mean, variance] = node.input!;
      return {
        name: gamma!.replace(/\.w_0$/, ""),
        gamma: floats(tensors.get(gamma!)!),
        beta: floats(tensors.get(beta!)!),
        mean: floats(tensors.get(mean!)!),
        variance: floats(tensors.get(variance!)!),
        eps: attribute(node, "epsilon")?.f ?? 1e-5,
        kind: kindOf(maker.get(input!), tensors),
        activation: activationOf(node.output![0]!, nodes, tensors),
      };
    });
}

const attribute = (node: Node, name: string) => node.attribute!.find((one) => one.name === name);
const extents = (tensor: Tensor) => tensor.dims!.map(Number);

function floats(tensor: Tensor): Float32Array {
  if (tensor.dataType !== FLOAT)
    throw new TypeError(`expected ${tensor.name} in float32, got type ${tensor.dataType}`);
  const raw = tensor.rawData!;
  // A copy, as float32 may not begin anywhere; a Buffer's own slice would be none.
  return raw.length > 0 ? new Float32Array(new Uint8Array(raw).buffer) : Float32Array.from(tensor.floatData!);
}

function kindOf(node: Node | undefined, tensors: ReadonlyMap<string, Tensor>): LayerKind {
  if (node?.opType !== "Conv") return "unknown";
  const [units, inputs, ...window] = extents(tensors.get(node.input![1]!)!);
  if (Number(attribute(node, "group")?.i ?? 1) === units && units! > 1) return "depthwise";
  if (window.some((size) => size !== 1)) return "convolution";
  return units! > inputs! ? "expansion" : units! < inputs! ? "projection" : "pointwise";
}

/** Hard swish comes as `x * clip(x + 3, 0, 6) / 6`. */
function activationOf(output: string, nodes: readonly Node[], tensors: ReadonlyMap<string, Tensor>): string {
  const after = nodes.filter(({ input }) => input!.includes(output));
  if (after.some(({ opType }) => opType === "Relu")) return "relu";
  const plusThree = after.find(
    ({ opType, input }) =>
      opType === "Add" && input!.some((name) => tensors.has(name) && floats(tensors.get(name)!)[0] === 3),
  );
  return plusThree && after.some(({ opType }) => opType === "Mul") ? "hardswish" : "linear";
}
