import { brandOf, LAYER } from "../brand.js";
import { rangeError, typeError } from "../errors.js";
import type { BatchNorm } from "../layers/batch-norm.js";
import { SyncBatchNorm } from "./sync-batch-norm.js";
import { adopt } from "./sync-layer.js";
import { type Collective, checkCollective } from "./types.js";

const WHO = "convertToSync";

/** What a BatchNorm may have that SyncBatchNorm does not, and its value where it has not. */
const NOT_SYNCHRONIZED: Record<string, unknown> = {
  activation: "none",
  renorm: false,
  virtualBatchSize: null,
};

/** A BatchNorm of this copy of the package or of another; its class is not imported, which would bring all of the engine. */
const isBatchNorm = (layer: unknown): layer is BatchNorm =>
  brandOf(layer, LAYER) !== undefined && typeof (layer as Partial<BatchNorm>).identityGap === "function";

/** Each BatchNorm of a list becomes a SyncBatchNorm, all else stays what it is. */
export type Converted<T extends readonly unknown[]> = {
  -readonly [K in keyof T]: T[K] extends BatchNorm ? SyncBatchNorm : T[K];
};

/**
 * Replaces each BatchNorm of a list by a SyncBatchNorm in the same state. It takes over the very gamma and beta, so that
 * an optimizer that has them goes on; the BatchNorm is left to be disposed of.
 *
 * @throws TypeError for a wrong argument; RangeError for a BatchNorm with an activation, renorm or virtualBatchSize, which
 *   a SyncBatchNorm has not. No layer is replaced then.
 */
export function convertToSync<const T extends readonly unknown[]>(
  layers: T,
  collective: Collective,
): Converted<T> {
  if (!Array.isArray(layers)) throw typeError(WHO, "an array of layers", layers);
  checkCollective(WHO, collective);
  const list = Array.from(layers as T);
  list.forEach((layer, i) => {
    if (!isBatchNorm(layer)) return;
    for (const [name, none] of Object.entries(NOT_SYNCHRONIZED)) {
      const value = (layer as unknown as Record<string, unknown>)[name] ?? none;
      if (value !== none) throw rangeError(WHO, `layers[${i}] without ${name}`, value);
    }
  });
  return list.map((layer) => (isBatchNorm(layer) ? convert(layer, collective) : layer)) as Converted<T>;
}

function convert(layer: BatchNorm, collective: Collective): SyncBatchNorm {
  const { features, eps, momentum, layout, trackRunningStats, runningVariance, gamma, beta } = layer;
  const sync = new SyncBatchNorm(features, {
    ...{ collective, eps, momentum, layout, trackRunningStats, runningVariance },
    affine: { gamma: gamma !== null, beta: beta !== null },
  });
  sync.loadStateDict(layer.stateDict());
  adopt(sync, { gamma, beta });
  return sync.train(layer.training);
}
