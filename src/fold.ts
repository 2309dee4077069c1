import { checkArray, checkVector, copyOf, lengthOf } from "./arrays.js";
import { brandOf, LAYER } from "./brand.js";
import { foreign, rangeError, read, readFields, typeError } from "./errors.js";
import { BatchNorm } from "./layers/batch-norm.js";

/** The weights of a dense or convolution layer. */
export interface Weights {
  /** [out, ...], in row-major order. */
  weight: Float32Array;
  /** [out]; default zeros. */
  bias?: Float32Array | null | undefined;
}

/**
 * Folds a BatchNorm, as it is in evaluation mode, into the layer before it, whose outputs are its features: with
 * `scale` and `shift` of `toAffine()`, `weight' = scale * weight` and `bias' = scale * bias + shift`, so that the new
 * layer alone gives what the two gave.
 *
 * @returns new arrays; those given are left as they are
 * @throws TypeError, RangeError for wrong weights, or a layer without running statistics
 */
export function foldBatchNorm(
  layer: BatchNorm,
  weights: Weights,
): { weight: Float32Array; bias: Float32Array } {
  const who = "foldBatchNorm";
  if (!read(who, "layer", () => layer instanceof BatchNorm)) {
    if (brandOf(layer, LAYER) === undefined) throw typeError(who, "a BatchNorm", layer);
    throw foreign(who, "a BatchNorm", "a layer", "import both from the same entry");
  }
  const given = readFields(who, weights, { weight: undefined, bias: null });
  const { scale, shift } = layer.affine64(who);
  const out = layer.features;
  const weight = checkArray(who, "weight", given.weight);
  const size = lengthOf(weight);
  if (out === 0 ? size : size % out) {
    throw rangeError(who, `weight to have a multiple of ${out} values`, size);
  }
  const bias = given.bias === null ? null : checkVector(who, "bias", given.bias, out);
  const part = size / out;
  return {
    weight: copyOf(weight).map((w, i) => scale[Math.floor(i / part)]! * w),
    bias: Float32Array.from(shift, (s, c) => scale[c]! * (bias ? bias[c]! : 0) + s),
  };
}
