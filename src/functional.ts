/**
 * The steps of a normalization as pure functions: statistics, their merging, and the two passes that they finish.
 * Over several workers, machines or accumulation steps: `moments` of each piece, `mergeMoments`, `normalize` each
 * piece; backward, `backwardReduce` each piece, add the sums, `backwardApply` each piece.
 */
export type { Activation } from "./engine/activation.js";
export type { Mask } from "./engine/segments.js";
export type { FunctionalModulation } from "./functional/around.js";
export type { AxesOptions } from "./functional/frame.js";
export { type Moments, mergeMoments, moments } from "./functional/moments.js";
export {
  backwardApply,
  backwardReduce,
  type NormalizeOptions,
  normalize,
  type Sums,
} from "./functional/passes.js";
