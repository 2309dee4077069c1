/**
 * Runs vectors that other projects published through the package: one case in, the named outputs out. The
 * vectors stay in a folder of their own, which the environment variable VECTORS names.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Functional, Library } from "./cases.js";
import type { Layout, Numbers } from "./reference.js";

export interface Tensor {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

export interface VectorCase {
  readonly name: string;
  readonly op: string;
  readonly attrs: {
    readonly eps: number;
    readonly channel_axis?: number;
    readonly channel_axes?: readonly number[];
    readonly axes?: readonly number[];
    readonly num_groups?: number;
    readonly momentum?: number;
    readonly running_var?: "biased" | "unbiased";
    readonly eps_outside_sqrt?: boolean;
    readonly normalize_variance?: boolean;
    readonly activation?: string;
    readonly loss?: string;
    readonly model?: string;
    readonly epochs?: number;
  };
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly tol?: Tolerance | Readonly<Record<string, Tolerance>>;
}

export interface VectorFile {
  readonly cases: readonly VectorCase[];
  readonly verify_tol?: Tolerance;
}

export type Outputs = Record<string, Numbers>;

/** The files of a folder that hold cases. */
export function readVectors(folder: string): Array<VectorFile & { file: string }> {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".json"))
    .map((file) => ({ file, ...JSON.parse(readFileSync(join(folder, file), "utf8")) }))
    .filter((file) => Array.isArray(file.cases));
}

/** ONNX's files carry no tolerance of their own: their literals are float32 results of float32 arithmetic. */
const fallback: Tolerance = { rtol: 1e-5, atol: 1e-5 };

export function toleranceOf(file: VectorFile, { tol }: VectorCase, output: string): Tolerance {
  if (tol && "rtol" in tol) return tol as Tolerance;
  return (tol as Record<string, Tolerance> | undefined)?.[output] ?? file.verify_tol ?? fallback;
}

/** |got - want| <= atol + rtol * |want| everywhere, else an error that names the place. */
export function expectWithin(got: Numbers | undefined, want: Tensor, { rtol, atol }: Tolerance): void {
  if (got?.length !== want.data.length)
    throw new Error(`length ${got?.length}, expected ${want.data.length}`);
  for (let i = 0; i < got.length; i++) {
    const error = Math.abs(got[i]! - want.data[i]!);
    if (error <= atol + rtol * Math.abs(want.data[i]!)) continue;
    throw new Error(`[${i}] is ${got[i]}, expected ${want.data[i]} (rtol ${rtol}, atol ${atol})`);
  }
}

/** What the package makes of a case; an output that it has no word for is left out. */
export function run(library: Library, functional: Functional, vector: VectorCase): Outputs {
  const { op } = vector;
  if (op === "train_trajectory") return trajectory(library, vector);
  if (op === "mean_variance_norm") return meanVarianceNorm(functional, vector);
  if (op.startsWith("batch_norm")) return batchNorm(library, vector);
  return perExample(library, functional, vector);
}

const product = (sizes: readonly number[]) => sizes.reduce((a, b) => a * b, 1);
const floats = (tensor: Tensor) => Float32Array.from(tensor.data);
const rstd = (variance: Numbers, eps: number) => Float64Array.from(variance, (v) => 1 / Math.sqrt(v + eps));

/** Missing ones are 1 and 0 that nobody learns, unless their gradients are asked for. */
function affineOf({ inputs, outputs }: VectorCase) {
  return { gamma: "gamma" in inputs || "dgamma" in outputs, beta: "beta" in inputs || "dbeta" in outputs };
}

/** dy as given, or derived from the loss that the case names. */
function gradientOf({ inputs, attrs }: VectorCase, y: Float32Array): Float32Array {
  if (inputs.dy) return floats(inputs.dy);
  switch (attrs.loss) {
    case "sum(y)":
      return y.map(() => 1);
    case "sum(y^2)":
      return y.map((value) => 2 * value);
    case "mean(y)":
      return y.map(() => 1 / y.length);
    case "mean(exp(y))":
      return y.map((value) => Math.exp(value) / y.length);
  }
  throw new Error(`no dy and no loss known as ${attrs.loss}`);
}

/**
 * Any channel axis is channels-first or channels-last of a reshaped array; statistics for each cell of several
 * trailing axes are channels-last, with those axes as one.
 */
function channelView(dims: readonly number[], { channel_axis, channel_axes }: VectorCase["attrs"]) {
  const axes = channel_axes ?? [channel_axis!];
  const first = axes[0]!;
  const channels = product(axes.map((axis) => dims[axis]!));
  const inner = product(dims.slice(first + axes.length));
  if (first + axes.length === dims.length) {
    const shape = axes.length === 1 ? [...dims] : [product(dims.slice(0, first)), channels];
    return { layout: "channels-last" as Layout, channels, shape: shape.length === 1 ? [1, ...shape] : shape };
  }
  const shape = first === 1 ? [...dims] : [product(dims.slice(0, first)), channels, inner];
  return { layout: "channels-first" as Layout, channels, shape };
}

function batchNorm(library: Library, vector: VectorCase): Outputs {
  const { op, attrs, inputs } = vector;
  const { eps, momentum = 0.1 } = attrs;
  const { layout, channels, shape } = channelView(inputs.x!.dims, attrs);
  const affine = affineOf(vector);
  const layer = new library.BatchNorm(channels, { eps, momentum, layout, affine });
  if (inputs.gamma) layer.gamma!.data.set(inputs.gamma.data);
  if (inputs.beta) layer.beta!.data.set(inputs.beta.data);
  if (inputs.running_mean) {
    const running_mean = floats(inputs.running_mean);
    const running_var = floats(inputs.running_var!);
    layer.loadStateDict({ ...layer.stateDict(), running_mean, running_var });
  }

  const x = floats(inputs.x!);
  const options = { shape };
  const outputs: Outputs = {};
  if (op.startsWith("batch_norm_infer")) layer.eval();
  outputs.y = layer.forward(x, options);
  if (layer.training) {
    const variance = layer.batchVar!.slice();
    const count = x.length / channels;
    outputs.mean = layer.batchMean!.slice();
    outputs.var = variance;
    outputs.invstd = rstd(variance, eps);
    outputs.running_mean = layer.runningMean!.slice();
    outputs.running_var = toConvention(layer.runningVar!, variance, count, 1, attrs);
  }
  if (op === "batch_norm_train_then_infer") {
    layer.eval();
    outputs.y = layer.forward(x, options);
  }
  if (op.endsWith("_backward")) {
    outputs.dx = layer.backward(gradientOf(vector, outputs.y as Float32Array));
    if (layer.gamma) outputs.dgamma = layer.gamma.grad.slice();
    if (layer.beta) outputs.dbeta = layer.beta.grad.slice();
  }
  layer.dispose();
  return outputs;
}

/**
 * The running variance in the vector's convention. The package keeps the unbiased one; where the same batch
 * came `steps` times, Keras and ONNX have less by the biased variance / (count - 1), in its share.
 */
function toConvention(
  running: Numbers,
  batch: Numbers,
  count: number,
  steps: number,
  { running_var, momentum = 0.1 }: VectorCase["attrs"],
): Float64Array {
  const share = running_var === "biased" ? (1 - (1 - momentum) ** steps) / (count - 1) : 0;
  return Float64Array.from(running, (value, c) => value - share * batch[c]!);
}

/** Layer, RMS, group and instance norm. */
function perExample(library: Library, functional: Functional, vector: VectorCase): Outputs {
  const { op, attrs, inputs } = vector;
  const shape = [...inputs.x!.dims];
  const { layer, statistics } = exampleLayer(library, vector, shape);
  if (inputs.gamma) layer.gamma!.data.set(inAxisOrder(inputs.gamma, attrs.axes));
  if (inputs.beta) layer.beta!.data.set(inAxisOrder(inputs.beta, attrs.axes));

  const x = floats(inputs.x!);
  const y = layer.forward(x, shape);
  const outputs: Outputs = { y: attrs.activation === "swish" ? y.map((v) => v / (1 + Math.exp(-v))) : y };
  if (op !== "rms_norm") {
    const { count, mean, m2 } = functional.moments(x, statistics.shape, { axes: statistics.axes });
    const variance = m2.map((value) => value / count);
    Object.assign(outputs, { mean, var: variance, invstd: rstd(variance, attrs.eps) });
  }
  if (op.endsWith("_backward")) {
    outputs.dx = layer.backward(gradientOf(vector, y));
    if (layer.gamma) outputs.dgamma = layer.gamma.grad.slice();
    if (layer.beta) outputs.dbeta = layer.beta.grad.slice();
  }
  layer.dispose();
  return outputs;
}

/** The layer of a case, and the axes of which view of x its statistics go over. */
function exampleLayer(library: Library, vector: VectorCase, shape: number[]) {
  const { op, attrs } = vector;
  const affine = affineOf(vector);
  const options = { eps: attrs.eps, affine };
  const axes = [...(attrs.axes ?? [])].sort((a, b) => a - b);
  const normalized = axes.map((axis) => shape[axis]!);
  const channels = shape[attrs.channel_axis ?? 1]!;
  const layout: Layout = attrs.channel_axis === 1 ? "channels-first" : "channels-last";
  switch (op.replace("_backward", "")) {
    case "layer_norm":
      return { layer: new library.LayerNorm(normalized, options), statistics: { shape, axes } };
    case "rms_norm": {
      const layer = new library.RMSNorm(normalized, { eps: attrs.eps, affine: affine.gamma });
      return { layer, statistics: { shape, axes } };
    }
    case "instance_norm": {
      const layer = new library.InstanceNorm(channels, { ...options, layout });
      const spatial = shape.map((_, axis) => axis).filter((axis) => axis > 0 && axis !== attrs.channel_axis);
      return { layer, statistics: { shape, axes: spatial } };
    }
    case "group_norm": {
      const groups = attrs.num_groups!;
      const layer = new library.GroupNorm(groups, channels, { ...options, layout });
      const view = [shape[0]!, groups, product(shape) / shape[0]! / groups];
      return { layer, statistics: { shape: view, axes: [2] } };
    }
  }
  throw new Error(`no layer for ${op}`);
}

/** gamma and beta come in the order of `axes`; the package has them in the order of the array. */
function inAxisOrder({ dims, data }: Tensor, axes: readonly number[] = []): Float32Array {
  if (axes.length !== 2 || axes[0]! < axes[1]!) return Float32Array.from(data);
  const [rows, columns] = dims as [number, number];
  return Float32Array.from(data, (_, i) => data[(i % rows) * columns + Math.floor(i / rows)]!);
}

/** (x - mean) / (std + eps), from the package's moments: eps stands outside the root here. */
function meanVarianceNorm({ moments }: Functional, { attrs, inputs }: VectorCase): Outputs {
  const dims = [...inputs.x!.dims];
  const x = floats(inputs.x!);
  const axes = [...attrs.axes!];
  const { count, mean, m2 } = moments(x, dims, { axes });
  const kept = dims.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const y = Float64Array.from(x, (value, i) => {
    let group = 0;
    for (const axis of kept) {
      const stride = product(dims.slice(axis + 1));
      group = group * dims[axis]! + (Math.floor(i / stride) % dims[axis]!);
    }
    const deviation = value - mean[group]!;
    return attrs.normalize_variance === false
      ? deviation
      : deviation / (Math.sqrt(m2[group]! / count) + attrs.eps);
  });
  return { y };
}

/** Keras's training runs: dense layers of ones around a normalization, SGD at 0.01, mean squared error. */
function trajectory(library: Library, { attrs, inputs }: VectorCase): Outputs {
  const dims = [...inputs.x!.dims];
  const rows = dims[0]!;
  const lr = 0.01;
  const x = floats(inputs.x!);
  const hidden = attrs.model!.startsWith("Dense(10)") ? 10 : 0;
  const first = hidden ? new Dense(dims[1]!, hidden) : null;
  const shape = hidden ? [rows, hidden] : dims;
  const layer = attrs.axes
    ? new library.LayerNorm(
        attrs.axes.map((axis) => shape[axis]!),
        { eps: attrs.eps },
      )
    : new library.BatchNorm(dims.at(-1)!, { eps: attrs.eps, momentum: attrs.momentum! });
  const last = inputs.target ? new Dense(product(shape) / rows, 1) : null;
  const optimizer = new library.SGD(layer.parameters(), { lr });

  const outputs: Outputs = {};
  const losses: number[] = [];
  for (let epoch = 0; epoch < attrs.epochs!; epoch++) {
    const normalized = layer.forward(first ? first.forward(x) : x, shape);
    const y = last ? last.forward(normalized) : normalized;
    const error = Float64Array.from(y, (value, i) => value - (inputs.target?.data[i] ?? 0));
    losses.push(error.reduce((sum, value) => sum + value * value, 0) / error.length);

    const dy = Float32Array.from(error, (value) => (2 * value) / error.length);
    layer.zeroGrad();
    const dx = layer.backward(last ? last.backward(dy, lr) : dy);
    first?.backward(dx, lr);
    optimizer.step();
  }
  outputs.loss = losses;
  outputs.gamma = layer.gamma!.data.slice();
  if (layer instanceof library.BatchNorm) {
    const count = x.length / dims.at(-1)!;
    outputs.running_mean = layer.runningMean!.slice();
    outputs.running_var = toConvention(layer.runningVar!, layer.batchVar!, count, attrs.epochs!, attrs);
  }
  layer.dispose();
  return outputs;
}

/** y = x W + b, W of ones and b of zeros at first; backward gives dx and takes an SGD step. */
class Dense {
  private readonly weight: Float64Array;
  private readonly bias: Float64Array;
  private x: Float32Array = new Float32Array();

  constructor(
    private readonly inputs: number,
    private readonly outputs: number,
  ) {
    this.weight = new Float64Array(inputs * outputs).fill(1);
    this.bias = new Float64Array(outputs);
  }

  forward(x: Float32Array): Float32Array {
    this.x = x;
    return Float32Array.from({ length: (x.length / this.inputs) * this.outputs }, (_, i) => {
      const row = Math.floor(i / this.outputs);
      const column = i % this.outputs;
      let sum = this.bias[column]!;
      for (let k = 0; k < this.inputs; k++) {
        sum += x[row * this.inputs + k]! * this.weight[k * this.outputs + column]!;
      }
      return sum;
    });
  }

  backward(dy: Float32Array, lr: number): Float32Array {
    const dx = this.x.map((_, i) => {
      const row = Math.floor(i / this.inputs);
      let sum = 0;
      for (let column = 0; column < this.outputs; column++) {
        sum += dy[row * this.outputs + column]! * this.weight[(i % this.inputs) * this.outputs + column]!;
      }
      return sum;
    });
    for (let row = 0; row * this.outputs < dy.length; row++) {
      for (let column = 0; column < this.outputs; column++) {
        const step = lr * dy[row * this.outputs + column]!;
        this.bias[column]! -= step;
        for (let k = 0; k < this.inputs; k++) {
          this.weight[k * this.outputs + column]! -= step * this.x[row * this.inputs + k]!;
        }
      }
    }
    return dx;
  }
}
