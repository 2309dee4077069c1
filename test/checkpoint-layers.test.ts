/** Normalization layers found in checkpoints by the names of their tensors, and TensorFlow.js's layers models. */
import { describe, expect, test } from "vitest";
import { type Checkpoint, checkpointLayers, openTfjsModel } from "../src/analysis.js";

/** A checkpoint of tensors by shape; each holds 0.5, 1.5, 2.5, ... and the loads are noted. */
function checkpoint(shapes: Record<string, readonly number[]>): Checkpoint & { loaded: string[] } {
  const loaded: string[] = [];
  return {
    loaded,
    names: Object.keys(shapes),
    shape: (name) => shapes[name]!,
    load: async (name) => {
      loaded.push(name);
      return Float32Array.from({ length: shapes[name]!.reduce((a, b) => a * b, 1) }, (_, i) => i + 0.5);
    },
  };
}

const torchNorm = (name: string, units: number) => ({
  [`${name}.weight`]: [units],
  [`${name}.bias`]: [units],
  [`${name}.running_mean`]: [units],
  [`${name}.running_var`]: [units],
  [`${name}.num_batches_tracked`]: [],
});
const kerasNorm = (name: string, units: number) => ({
  [`${name}/gamma`]: [units],
  [`${name}/beta`]: [units],
  [`${name}/moving_mean`]: [units],
  [`${name}/moving_variance`]: [units],
});

describe("PyTorch's names", () => {
  const model = checkpoint({
    ...torchNorm("features.1.conv.0.1", 96),
    ...torchNorm("features.1.conv.1.1", 96),
    ...torchNorm("features.1.conv.3", 24),
    ...torchNorm("features.0.1", 16),
    ...torchNorm("features.10.1", 16),
    ...torchNorm("features.9.1", 16),
    ...torchNorm("layer1.0.bn1", 8),
    ...torchNorm("layer1.0.downsample.1", 8),
    "features.0.0.weight": [16, 3, 3, 3],
    "features.1.conv.0.0.weight": [96, 16, 1, 1],
    "features.1.conv.1.0.weight": [96, 1, 3, 3],
    "features.1.conv.2.weight": [24, 96, 1, 1],
    "layer1.0.conv1.weight": [8, 8, 1, 1],
    "layer1.0.downsample.0.weight": [7, 4, 1, 1],
    "head.norm.weight": [5],
    "head.norm.bias": [5],
    "blocks.0.input_layernorm.weight": [6],
    "head.fc.weight": [10, 5],
  });

  test("every batch norm, in the order of the numbers in their names, with what stands before it", async () => {
    const layers = await checkpointLayers(model);
    expect(layers.map(({ name, kind }) => [name, kind])).toEqual([
      ["blocks.0.input_layernorm", "unknown"],
      ["features.0.1", "convolution"],
      ["features.1.conv.0.1", "expansion"],
      ["features.1.conv.1.1", "depthwise"],
      ["features.1.conv.3", "projection"],
      ["features.9.1", "unknown"],
      ["features.10.1", "unknown"],
      ["head.norm", "unknown"],
      ["layer1.0.bn1", "pointwise"],
      // its weights have 7 units, not 8
      ["layer1.0.downsample.1", "unknown"],
    ]);
    const [rms, first] = [layers[0]!, layers[1]!];
    expect(first).toMatchObject({ eps: 1e-5, batches: 0.5, activation: null });
    expect(Array.from(first.variance!).slice(0, 2)).toEqual([0.5, 1.5]);
    expect(rms).toMatchObject({ eps: 1e-6, beta: null, mean: null, variance: null });
    expect(layers[7]).toMatchObject({ eps: 1e-5, mean: null });
    expect(model.loaded.some((name) => name.includes("conv1.weight"))).toBe(false);
  });

  test("eps may be said", async () => {
    const layers = await checkpointLayers(checkpoint(torchNorm("bn", 2)), { eps: 0.25 });
    expect(layers[0]!.eps).toBe(0.25);
  });
});

describe("Keras's and TensorFlow's names", () => {
  test("with and without :0, by name alone", async () => {
    const slim = Object.fromEntries(
      Object.entries(kerasNorm("MobilenetV1/Conv2d_1_depthwise/BatchNorm", 4)).map(([k, v]) => [`${k}:0`, v]),
    );
    const layers = await checkpointLayers(
      checkpoint({
        ...slim,
        ...kerasNorm("block_2_expand_BN", 12),
        ...kerasNorm("batch_normalization_3", 2),
        ...kerasNorm("bn_Conv1", 5),
        "MobilenetV1/Conv2d_1_depthwise/depthwise_weights:0": [3, 3, 4, 1],
        "block_2_expand/kernel": [1, 1, 2, 12],
        "conv2d_3/kernel": [1, 1, 12, 2],
        "Conv1/kernel": [3, 3, 3, 5],
      }),
    );
    expect(layers.map(({ name, kind, eps }) => [name, kind, eps])).toEqual([
      ["batch_normalization_3", "projection", 1e-3],
      ["block_2_expand_BN", "expansion", 1e-3],
      ["bn_Conv1", "convolution", 1e-3],
      ["MobilenetV1/Conv2d_1_depthwise/BatchNorm", "depthwise", 1e-3],
    ]);
  });

  test("without gamma and beta", async () => {
    const [layer] = await checkpointLayers(checkpoint({ "a/moving_mean": [2], "a/moving_variance": [2] }));
    expect(layer).toMatchObject({ name: "a", gamma: null, beta: null });
  });

  test("a variance without its mean is refused", async () => {
    await expect(checkpointLayers(checkpoint({ "a/moving_variance": [2] }))).rejects.toThrow(
      "checkpointLayers: expected a/moving_mean beside a/moving_variance",
    );
  });
});

const batchNorm = (name: string, from?: string) => ({
  class_name: "BatchNormalization",
  config: { name, epsilon: 0.002 },
  ...(from === undefined ? {} : { inbound_nodes: [[[from, 0, 0, {}]]] }),
});

/** Shards of a norm "bn" of two units, each array of another type, and the manifest. */
function quantized() {
  const bytes = new Uint8Array(2 + 4 + 4 + 8 + 2);
  const view = new DataView(bytes.buffer);
  bytes.set([0, 255], 0); // gamma: uint8
  view.setUint16(2, 1, true); // beta: uint16
  view.setUint16(4, 65535, true);
  view.setUint16(6, 0x3c00, true); // mean: float16 1 and -2
  view.setUint16(8, 0xc000, true);
  view.setFloat32(10, 0.25, true); // variance: float32
  view.setFloat32(14, 4, true);
  bytes.set([7, 8], 18);
  const weights = [
    {
      name: "bn/gamma",
      shape: [2],
      dtype: "float32",
      quantization: { dtype: "uint8", scale: 0.01, min: -1 },
    },
    { name: "bn/beta", shape: [2], dtype: "float32", quantization: { dtype: "uint16", scale: 0.5, min: 3 } },
    { name: "bn/moving_mean", shape: [2], dtype: "float32", quantization: { dtype: "float16" } },
    { name: "bn/moving_variance", shape: [2], dtype: "float32" },
    { name: "flags", shape: [2, 1], dtype: "bool" },
  ];
  const layers = [
    {
      class_name: "InputLayer",
      config: { name: "in", batch_input_shape: [null, 8, 8, 3] },
      inbound_nodes: [],
    },
    {
      class_name: "Conv2D",
      config: { name: "c", filters: 2, kernel_size: [1, 1] },
      inbound_nodes: [[["in", 0, 0, {}]]],
    },
    batchNorm("bn", "c"),
    { class_name: "ReLU", config: { name: "r", max_value: 6 }, inbound_nodes: [[["bn", 0, 0, {}]]] },
  ];
  const model = {
    modelTopology: { model_config: { class_name: "Model", config: { layers } } },
    weightsManifest: [{ paths: ["a.bin", "b.bin"], weights }],
  };
  const shards: Record<string, Uint8Array> = { "a.bin": bytes.slice(0, 9), "b.bin": bytes.slice(9) };
  return { model, shards, weights };
}

describe("a TensorFlow.js layers model", () => {
  test("quantized weights over two shards, each fetched once, by the format's formula", async () => {
    const { model, shards } = quantized();
    const asked: string[] = [];
    const opened = openTfjsModel(model, (path) => {
      asked.push(path);
      return shards[path]!;
    });
    const [layer] = await checkpointLayers(opened);
    expect(Array.from(layer!.gamma!)).toEqual([-1, Math.fround(255 * 0.01 - 1)]);
    expect(Array.from(layer!.beta!)).toEqual([3.5, 65535 * 0.5 + 3]);
    expect(Array.from(layer!.mean!)).toEqual([1, -2]);
    expect(Array.from(layer!.variance!)).toEqual([0.25, 4]);
    expect(layer).toMatchObject({ eps: 0.002, kind: "projection", activation: "relu6" });
    expect(layer!.levels).toEqual({
      gamma: { lowest: -1, step: 0.01 },
      beta: { lowest: 3, step: 0.5 },
      mean: null,
      variance: null,
    });
    expect(Array.from(await opened.load("flags"))).toEqual([7, 8]);
    expect(asked).toEqual(["a.bin", "b.bin"]);
  });

  test("the graph: depthwise, a residual branch, sequential models, and a model inside a model", async () => {
    const conv = (name: string, filters: number, size: number, from: string) => ({
      class_name: "Conv2D",
      config: { name, filters, kernel_size: [size, size] },
      inbound_nodes: [[[from, 0, 0, {}]]],
    });
    const inner = {
      class_name: "Functional",
      config: {
        name: "inner",
        layers: [
          {
            class_name: "InputLayer",
            config: { name: "in", batch_input_shape: [null, 8, 8, 4] },
            inbound_nodes: [],
          },
          conv("wide", 8, 1, "in"),
          batchNorm("wide_bn", "wide"),
          { class_name: "ZeroPadding2D", config: { name: "pad" }, inbound_nodes: [[["wide_bn", 0, 0, {}]]] },
          { class_name: "DepthwiseConv2D", config: { name: "dw" }, inbound_nodes: [[["pad", 0, 0, {}]]] },
          batchNorm("dw_bn", "dw"),
          {
            class_name: "Activation",
            config: { name: "act", activation: "relu" },
            inbound_nodes: [[["dw_bn", 0, 0, {}]]],
          },
          conv("narrow", 4, 1, "act"),
          batchNorm("narrow_bn", "narrow"),
          {
            class_name: "Add",
            config: { name: "add" },
            inbound_nodes: [
              [
                ["in", 0, 0, {}],
                ["narrow_bn", 0, 0, {}],
              ],
            ],
          },
          conv("window", 4, 3, "add"),
          { class_name: "Dropout", config: { name: "drop" }, inbound_nodes: [[["window", 0, 0, {}]]] },
          batchNorm("window_bn", "drop"),
        ],
      },
    };
    const dense = { class_name: "Dense", config: { name: "fc", units: 3 } };
    const model = {
      modelTopology: { class_name: "Sequential", config: [inner, dense, batchNorm("fc_bn")] },
      weightsManifest: [],
    };
    const { graph } = openTfjsModel(model, () => new Uint8Array());
    expect([...graph!].map(([name, { kind, activation }]) => [name, kind, activation])).toEqual([
      ["wide_bn", "expansion", "linear"],
      ["dw_bn", "depthwise", "relu"],
      ["narrow_bn", "projection", "linear"],
      ["window_bn", "convolution", "linear"],
      ["fc_bn", "dense", "linear"],
    ]);
  });

  test("a manifest alone, as some packages ship it", async () => {
    const { model, shards } = quantized();
    const opened = openTfjsModel(model.weightsManifest, (path) => shards[path]!);
    expect((await checkpointLayers(opened))[0]).toMatchObject({ name: "bn", eps: 1e-3, activation: null });
  });

  test("refusals", async () => {
    const { model, shards, weights } = quantized();
    const open = (manifest: unknown) => openTfjsModel({ weightsManifest: manifest }, (path) => shards[path]!);
    expect(() => open(undefined)).toThrow(
      "openTfjsModel: expected a model.json with a weightsManifest, got undefined",
    );
    expect(() => open([{}])).toThrow(/group 0 of the weightsManifest to have paths and weights/);
    const withType = (dtype: string) => [{ paths: [], weights: [{ name: "a", shape: [1], dtype }] }];
    expect(() => open(withType("string"))).toThrow(/expected a to have a dtype of float32, int32/);
    expect(() => open(withType("toString"))).toThrow(/expected a to have a dtype/);
    expect(() => open([{ paths: [], weights: [weights[0], weights[0]] }])).toThrow(/bn\/gamma only once/);
    expect(() => open([{ paths: [], weights: [{ ...weights[0], shape: [-1] }] }])).toThrow(/integers from 0/);
    expect(() =>
      open([{ paths: [], weights: [{ ...weights[0], quantization: { dtype: "uint8" } }] }]),
    ).toThrow(/to have a scale and a min/);
    expect(() =>
      openTfjsModel({ format: "graph-model", weightsManifest: [] }, () => new Uint8Array()),
    ).toThrow(/expected a layers model \(a graph model has its batch norms folded\)/);
    const short = openTfjsModel(model, () => new Uint8Array(3));
    await expect(short.load("bn/beta")).rejects.toThrow("expected 20 bytes in a.bin, b.bin, got 6");
    expect(() => short.shape("nothing")).toThrow(
      'expected the name of a weight in the manifest, got "nothing"',
    );
  });
});
