/** An ONNX model of one normalization, its parameters inside. */
import onnxProto from "onnx-proto";
import type { Family } from "../shapes.ts";

interface Options {
  axes: number[];
  /** In the operator's order. */
  weights: Record<string, Float32Array>;
  eps: number;
  training: boolean;
}

const { onnx } = onnxProto;
const float32 = onnx.TensorProto.DataType.FLOAT;
const attributeType = onnx.AttributeProto.AttributeType;

export function modelOf(family: Family, { axes, weights, eps, training }: Options): Uint8Array {
  const epsilon = { name: "epsilon", type: attributeType.FLOAT, f: eps };
  const integer = (name: string, i: number) => ({ name, type: attributeType.INT, i });
  const input = ["x", ...Object.keys(weights)];
  const node = {
    "batch-norm": {
      opType: "BatchNormalization",
      attribute: [epsilon, integer("training_mode", training ? 1 : 0)],
      output: training ? ["y", "running_mean", "running_var"] : ["y"],
    },
    "layer-norm": { opType: "LayerNormalization", attribute: [epsilon, integer("axis", -1)], output: ["y"] },
    // ONNX Runtime's own operator in the default domain; ONNX has RMSNormalization only since opset 23
    "rms-norm": {
      opType: "SimplifiedLayerNormalization",
      attribute: [epsilon, integer("axis", -1)],
      output: ["y"],
    },
  }[family];
  const value = (name: string, dims: number[]) => ({
    name,
    type: { tensorType: { elemType: float32, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } },
  });
  const channels = Object.values(weights)[0]!.length;
  return onnx.ModelProto.encode({
    irVersion: 8,
    opsetImport: [{ domain: "", version: 17 }],
    graph: {
      name: family,
      node: [{ input, ...node }],
      initializer: Object.entries(weights).map(([name, data]) => ({
        name,
        dims: [channels],
        dataType: float32,
        rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      })),
      input: [value("x", axes)],
      output: node.output.map((name) => value(name, name === "y" ? axes : [channels])),
    },
  }).finish();
}
