/** TensorFlow.js on these kernels. @module */
export { install, type TensorFlow, type Uninstall } from "./integrations/tfjs/install.js";
export { type KerasLayers, layers } from "./integrations/tfjs/layers.js";
export * from "./integrations/tfjs/operations.js";
