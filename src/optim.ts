/** Optimizers for layers' parameters, and for anything else with `data` and `grad`. */
export { AdamW, type AdamWOptions } from "./optim/adamw.js";
export { clipGradNorm } from "./optim/clip.js";
export type { Group, ParameterGroup } from "./optim/groups.js";
export { SGD, type SGDOptions } from "./optim/sgd.js";
export type { OptimizerState, SavedState } from "./optim/state.js";
