/**
 * Statistics beyond one minibatch: a scaler for streams of records, reversible instance normalization of time series, and
 * running statistics taken anew over data.
 */
export {
  type Recalibratable,
  type RecalibrateOptions,
  type RecalibrateProgress,
  recalibrate,
} from "./scaler/recalibrate.js";
export {
  RevIN,
  type RevINOptions,
  type RevINParameter,
  type Window,
  type WindowOptions,
} from "./scaler/revin.js";
export { StandardScaler } from "./scaler/standard-scaler.js";
export type { ScalerState, StandardScalerOptions } from "./scaler/state.js";
export type { Chunks, StreamOptions, StreamProgress } from "./scaler/streams.js";
export type { HalfArray, Matrix, Numbers, TensorLike, Transformed } from "./scaler/values.js";
export type { RowOptions } from "./scaler/weights.js";
