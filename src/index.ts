export type { GradientShares, IdentityGap } from "./analysis.js";
export { BatchNorm, type BatchNormOptions, type Layout, type StatisticsSource } from "./layers/batch-norm.js";
export type { Minibatch } from "./layers/call.js";
export type { Activation, Affine, CallOptions, Parameter } from "./layers/layer.js";
export {
  type InitOptions,
  init,
  type RuntimeInfo,
  runtimeInfo,
  type Variant,
  type WasmSource,
} from "./runtime/runtime.js";
export type { StateDict } from "./state.js";
export { Tensor, tensor } from "./tensor.js";
