/** `wasm-norm/collective`: what several processes, threads or machines compute together. */
export { type Converted, convertToSync } from "./collective/convert.js";
export { CollectiveError, type CollectiveErrorCode } from "./collective/error.js";
export { Group } from "./collective/group.js";
export type { Layout } from "./collective/minibatch.js";
export { meshPorts, type Port, portCollective } from "./collective/ports.js";
export type { Numbers } from "./collective/running.js";
export type { StateDifference } from "./collective/state.js";
export { SyncBatchNorm, type SyncForwardOptions } from "./collective/sync-batch-norm.js";
export { type SyncGradientsOptions, syncGradients } from "./collective/sync-gradients.js";
export type { SyncBatchNormOptions } from "./collective/sync-layer.js";
export type { Collective, GroupOptions, Transport } from "./collective/types.js";
