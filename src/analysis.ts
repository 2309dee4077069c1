/**
 * Trained networks, looked at: do gamma and beta undo the normalization, what in its layers is odd, and where a
 * checkpoint keeps them. Pure functions; no WebAssembly is loaded.
 */
export {
  type Checkpoint,
  type CheckpointOptions,
  checkpointLayers,
  type GraphLayer,
} from "./analysis/checkpoint.js";
export { type Folding, healthReport, type LayerHealth } from "./analysis/health.js";
export type { ArrayName, LayerKind, Levels, NormLayer } from "./analysis/layers.js";
export { type Correlation, type Median, spearman } from "./analysis/rank.js";
export {
  type Dealt,
  type GroupReport,
  type IdentityReport,
  identityReport,
  type LayerReport,
  type ReportOptions,
  type UnitFigures,
} from "./analysis/report.js";
export { openTfjsModel } from "./analysis/tfjs-model.js";
export { verdict } from "./analysis/verdict.js";
