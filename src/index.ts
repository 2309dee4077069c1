export type { GradientShares, IdentityGap } from "./analysis/gap.js";
export type { Activation } from "./engine/activation.js";
export { noGrad } from "./engine/context.js";
export type { Minibatch } from "./engine/operand.js";
export type { Mask } from "./engine/segments.js";
export { foldBatchNorm, type Weights } from "./fold.js";
export { BatchNorm, type BatchNormOptions, type StatisticsSource } from "./layers/batch-norm.js";
export type { ForwardContext } from "./layers/context.js";
export { GroupNorm, type GroupNormOptions } from "./layers/group-norm.js";
export { InstanceNorm, type InstanceNormOptions } from "./layers/instance-norm.js";
export { Layer } from "./layers/layer.js";
export { LayerNorm, type LayerNormOptions } from "./layers/layer-norm.js";
export type { Layout } from "./layers/layout.js";
export type { BackwardOptions, CallOptions, ForwardOptions, Modulation } from "./layers/options.js";
export type { Affine, Parameter } from "./layers/parameters.js";
export type { Renorm, RenormOptions } from "./layers/renorm.js";
export { RMSNorm, type RMSNormOptions } from "./layers/rms-norm.js";
export type { RunningVariance } from "./layers/running.js";
export type { TrackingOptions } from "./layers/tracking.js";
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
  type AnyWorker,
  type InitOptions,
  init,
  type NodeWorker,
  type RuntimeInfo,
  runtimeInfo,
  shutdown,
  type Variant,
  type WasmSource,
  type WebWorker,
  type WorkerSource,
} from "./runtime/runtime.js";
export type { LoadResult, StateDict, StateEntry, StateSource } from "./state.js";
export {
  type DataOf,
  type DType,
  type HalfArray,
  type Numbers,
  Tensor,
  type TensorOptions,
  tensor,
  tidy,
} from "./tensor.js";
