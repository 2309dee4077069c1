/** `wasm-norm/collective`: what several processes, threads or machines compute together. */
export { CollectiveError, type CollectiveErrorCode } from "./collective/error.js";
export { Group } from "./collective/group.js";
export { meshPorts, type Port, portCollective } from "./collective/ports.js";
export type { Collective, GroupOptions, Transport } from "./collective/types.js";
