/**
 * The steps of a normalization as pure functions: statistics, their merging, and the two passes that they finish.
 * Over several workers, machines or accumulation steps: `moments` of each piece, `mergeMoments`, `normalize` each
 * piece; backward, `backwardReduce` each piece, add the sums, `backwardApply` each piece.
 */
export { type AxesOptions, type Moments, mergeMoments, moments } from "./functional/moments.js";
export {
  backwardApply,
  backwardReduce,
  type NormalizeOptions,
  normalize,
  type Sums,
} from "./functional/passes.js";
