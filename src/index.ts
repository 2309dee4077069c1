export type { GradientShares, IdentityGap } from "./analysis.js";
export { foldBatchNorm, type Weights } from "./fold.js";
export { BatchNorm, type BatchNormOptions, type StatisticsSource } from "./layers/batch-norm.js";
export type { Minibatch } from "./layers/call.js";
export { GroupNorm, type GroupNormOptions } from "./layers/group-norm.js";
export { InstanceNorm, type InstanceNormOptions } from "./layers/instance-norm.js";
export type { Activation, CallOptions } from "./layers/layer.js";
export { LayerNorm, type LayerNormOptions } from "./layers/layer-norm.js";
export type { Layout } from "./layers/layout.js";
export type { Affine, Parameter } from "./layers/parameters.js";
export { RMSNorm, type RMSNormOptions } from "./layers/rms-norm.js";
export {
  AdamW,
  type AdamWOptions,
  clipGradNorm,
  type Group,
  type OptimizerState,
  type ParameterGroup,
  type SavedState,
  SGD,
  type SGDOptions,
} from "./optim.js";
export {
  type InitOptions,
  init,
  type RuntimeInfo,
  runtimeInfo,
  type Variant,
  type WasmSource,
} from "./runtime/runtime.js";
export type { StateDict } from "./state.js";
export { type DType, type Numbers, Tensor, type TensorOptions, tensor, tidy } from "./tensor.js";
