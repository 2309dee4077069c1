/** What is used of TensorFlow.js (tfjs-core and tfjs-layers 4), as far as it is used. */

/** A tensor, or what a kernel gives and takes as one. */
export interface TensorInfo {
  dataId: object;
  shape: number[];
  dtype: string;
}

export interface Tensor extends TensorInfo {
  readonly rank: number;
  readonly size: number;
  dispose(): void;
  dataSync(): Float32Array | Int32Array | Uint8Array;
}

/** The parts that both backends share. */
export interface Backend {
  /** tfjs-backend-wasm: Emscripten's module. */
  wasm?: {
    asm?: { memory?: WebAssembly.Memory };
    wasmMemory?: WebAssembly.Memory;
    HEAPU8: Uint8Array;
    _malloc(bytes: number): number;
    _free(address: number): void;
  };
  /** tfjs-backend-wasm: where tensors lie. `get` fetches what lies with another backend. */
  dataIdMap?: { get(dataId: object): { memoryOffset: number } };
  makeOutput?(shape: number[], dtype: string): TensorInfo;
  /** tfjs-backend-cpu. */
  data?: { get(dataId: object): { values: Float32Array | Int32Array } };
  makeTensorInfo?(shape: number[], dtype: string, values: Float32Array | Int32Array): TensorInfo;
  disposeData(dataId: object): boolean;
}

export interface KernelArguments {
  /** An array where the inputs' gradients are named by their place. */
  inputs: Record<string, TensorInfo>;
  attrs: object;
  backend: Backend;
}

export interface KernelConfig {
  kernelName: string;
  backendName: string;
  kernelFunc(args: KernelArguments): TensorInfo | TensorInfo[];
  /** Before the backend goes. */
  disposeFunc?(backend: Backend): void;
}

export interface GradientConfig {
  kernelName: string;
  saveAllInputs?: boolean;
  outputsToSave?: boolean[];
  gradFunc(dy: Tensor | Tensor[], saved: Tensor[], attrs: object): Record<string, () => Tensor>;
}

export interface Engine {
  runKernel(kernelName: string, inputs: object, attrs?: object): Tensor | Tensor[];
  /** How many gradients are being taken inside one another. */
  readonly state: { readonly gradientDepth: number };
}

/** A weight of a layer. */
export interface LayerVariable {
  read(): Tensor;
  write(value: Tensor): unknown;
}

export interface CallOptions {
  training?: boolean | null;
}

/** A layer of tfjs-layers. */
export interface Layer {
  name: string;
  supportsMasking: boolean;
  built: boolean;
  inputSpec: unknown[];
  inboundNodes: { callArgs?: CallOptions | null }[];
  addWeight(
    name: string,
    shape: number[],
    dtype?: string | null,
    initializer?: unknown,
    regularizer?: unknown,
    trainable?: boolean,
    constraint?: unknown,
  ): LayerVariable;
  build(shape: InputShape): void;
  call(inputs: Tensor | Tensor[], options?: CallOptions): Tensor;
  apply(inputs: unknown, options?: CallOptions): unknown;
  getConfig(): Record<string, unknown>;
  setWeights(values: Tensor[]): void;
}

/** A shape in which some extents are not known, or a list of one. */
export type InputShape = (number | null)[] | (number | null)[][];

export interface Affine extends Layer {
  axis: number | number[];
  epsilon: number;
  center: boolean;
  scale: boolean;
  gamma?: LayerVariable | null;
  beta?: LayerVariable | null;
  gammaInitializer: unknown;
  betaInitializer: unknown;
  gammaRegularizer: unknown;
  betaRegularizer: unknown;
  gammaConstraint?: unknown;
  betaConstraint?: unknown;
}

export interface BatchNormalization extends Affine {
  axis: number;
  momentum: number;
  movingMean: LayerVariable;
  movingVariance: LayerVariable;
}

export type LayerClass<L extends Layer = Layer> = {
  new (options?: object): L;
  className: string;
  fromConfig(cls: unknown, config: object): Layer;
  readonly prototype: L;
};

/** The module `@tensorflow/tfjs`, or tfjs-core and tfjs-layers as one object. */
export interface Tf {
  engine(): Engine;
  ready(): Promise<void>;
  getBackend(): string;
  backend(): Backend;
  getKernel(kernelName: string, backendName: string): KernelConfig | undefined;
  registerKernel(config: KernelConfig): void;
  unregisterKernel(kernelName: string, backendName: string): void;
  registerGradient(config: GradientConfig): void;
  unregisterGradient(kernelName: string): void;
  tidy<T>(fn: () => T): T;
  tensor(values: ArrayLike<number>, shape: number[], dtype?: string): Tensor;
  scalar(value: number, dtype?: string): Tensor;
  reshape(x: Tensor, shape: number[]): Tensor;
  transpose(x: Tensor, order: number[]): Tensor;
  moments(x: Tensor, axes: number[], keepDims: boolean): { mean: Tensor; variance: Tensor };
  mean(x: Tensor, axes: number[], keepDims: boolean): Tensor;
  sum(x: Tensor, axes: number[], keepDims: boolean): Tensor;
  square(x: Tensor): Tensor;
  rsqrt(x: Tensor): Tensor;
  sqrt(x: Tensor): Tensor;
  maximum(x: Tensor, other: number): Tensor;
  relu(x: Tensor): Tensor;
  relu6(x: Tensor): Tensor;
  leakyRelu(x: Tensor, slope: number): Tensor;
  sigmoid(x: Tensor): Tensor;
  tanh(x: Tensor): Tensor;
  erf(x: Tensor): Tensor;
  cast(x: Tensor, dtype: string): Tensor;
  add(x: Tensor, other: Tensor | number): Tensor;
  sub(x: Tensor, other: Tensor): Tensor;
  mul(x: Tensor, other: Tensor | number): Tensor;
  div(x: Tensor, other: Tensor | number): Tensor;
  serialization: {
    SerializationMap: { getMap(): { classNameMap: Record<string, [LayerClass, LayerClass["fromConfig"]]> } };
  };
  layers?: { Layer: LayerClass; InputSpec?: unknown };
}
