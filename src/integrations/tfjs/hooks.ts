/**
 * tfjs-layers' own two layers. Their classes stay what they are, for names, saved files and `instanceof`; only `call`, which
 * makes each of a dozen generic operations, is another.
 */
import { sizeOf } from "../../arrays.js";
import type { Activation } from "../../engine/activation.js";
import { fromFront, ofBatch, ofLayer } from "./geometry.js";
import { fits, isServed, normalize, serves, type Vectors, vectorsOf } from "./normalize.js";
import { KERNEL } from "./registry.js";
import type { Affine, BatchNormalization, CallOptions, Layer, LayerClass, Tensor, Tf } from "./types.js";

type Inputs = Tensor | Tensor[];

/** The one input; undefined where there are more, which the layer refuses itself. */
const only = (inputs: Inputs): Tensor | undefined =>
  Array.isArray(inputs) ? (inputs.length === 1 ? inputs[0] : undefined) : inputs;

/**
 * Whether to use the minibatch's statistics. A model runs its layers on arrays of inputs and passes on what it does itself;
 * a layer that was put into it with `apply(x, { training })` has that said for good, as in Keras. Where a layer stands in a
 * model more than once, that holds if all its places say the same.
 */
function isTraining(layer: Layer, inputs: Inputs, options: CallOptions | undefined): boolean {
  if (Array.isArray(inputs) && layer.inboundNodes.length) {
    const [first, ...others] = layer.inboundNodes.map(({ callArgs }) => callArgs?.training);
    if (first != null && others.every((said) => said === first)) return first;
  }
  return options?.training ?? false;
}

function batch(tf: Tf, layer: BatchNormalization, x: Tensor, training: boolean): Tensor | undefined {
  const vectors = vectorsOf(layer);
  const mean = layer.movingMean.read();
  const variance = layer.movingVariance.read();
  if (!serves(tf, x, [vectors.gamma, vectors.beta, mean, variance])) return undefined;
  // A model that was converted may have a list of one, which tfjs takes for a number.
  const axes = [layer.axis].flat();
  const axis = fromFront(axes[0]!, x.rank);
  if (axes.length > 1 || x.shape[axis] !== mean.size) return undefined;
  const geometry = ofBatch(x.shape, axis);
  const given = training ? undefined : { mean, variance };
  const [y, statistics] = normalize(tf, x, { ...vectors, geometry, eps: layer.epsilon, given });
  if (training) {
    const attributes = { geometry, momentum: layer.momentum };
    const moved = tf.engine().runKernel(KERNEL.TRACK, [statistics, mean, variance], attributes) as Tensor[];
    layer.movingMean.write(moved[0]!);
    layer.movingVariance.write(moved[1]!);
  }
  return y;
}

function layerNorm(tf: Tf, layer: Affine, x: Tensor): Tensor | undefined {
  const vectors = vectorsOf(layer);
  if (!serves(tf, x, [vectors.gamma, vectors.beta])) return undefined;
  // From `build` on it is an array of axes from the front.
  return overAxes(tf, x, layer.axis as number[], layer.epsilon, false, vectors);
}

/** Layer or RMS norm over any axes: where they are not the last ones, x is brought into that order and y back. */
export function overAxes(
  tf: Tf,
  x: Tensor,
  axes: readonly number[],
  eps: number,
  rms: boolean,
  { gamma, beta, activation }: Vectors & { activation?: Activation | undefined },
): Tensor | undefined {
  const others = x.shape.map((_, axis) => axis).filter((axis) => !axes.includes(axis));
  const lead = others.length;
  const order = [...others, ...[...axes].sort((a, b) => a - b)];
  const shape = order.map((axis) => x.shape[axis]!);
  const geometry = ofLayer(shape, lead, rms);
  const call = { gamma, beta, geometry, eps, activation };
  if (!fits(geometry, call)) return undefined;
  if (order.every((axis, i) => axis === i)) return normalize(tf, x, call)[0];
  // Nothing to move, and tfjs's transpose refuses it.
  const empty = sizeOf(shape) === 0;
  const moved = empty ? tf.reshape(x, shape) : tf.transpose(x, order);
  const [y] = normalize(tf, moved, call);
  return empty
    ? tf.reshape(y, x.shape)
    : tf.transpose(
        y,
        x.shape.map((_, axis) => order.indexOf(axis)),
      );
}

/** Puts `call` in the place of a class's own. @returns what takes it back */
function patch<L extends Layer>(
  cls: LayerClass<L>,
  call: (stock: L["call"], layer: L, inputs: Inputs, options: CallOptions | undefined) => Tensor,
): () => void {
  const { prototype } = cls;
  const stock = prototype.call;
  let active = true;
  const patched = function (this: L, inputs: Inputs, options?: CallOptions): Tensor {
    return active ? call(stock, this, inputs, options) : stock.call(this, inputs, options);
  };
  prototype.call = patched;
  return () => {
    active = false;
    // Who patched it after us calls ours, which then does nothing.
    if (prototype.call === patched) prototype.call = stock;
  };
}

/** Has the layers of tfjs-layers, where it is there, use the kernels. @returns what takes it back */
export function hookLayers(tf: Tf): () => void {
  const classes = tf.serialization.SerializationMap.getMap().classNameMap;
  const undo: (() => void)[] = [];
  const BN = classes.BatchNormalization?.[0] as LayerClass<BatchNormalization> | undefined;
  const LN = classes.LayerNormalization?.[0] as LayerClass<Affine> | undefined;
  if (BN) {
    const call = (stock: Layer["call"], layer: BatchNormalization, inputs: Inputs, options?: CallOptions) => {
      const x = only(inputs);
      if (!x || !isServed(tf)) return stock.call(layer, inputs, options);
      const training = isTraining(layer, inputs, options);
      return tf.tidy(
        () => batch(tf, layer, x, training) ?? stock.call(layer, inputs, { ...options, training }),
      );
    };
    undo.push(patch(BN, call));
  }
  if (LN) {
    const call = (stock: Layer["call"], layer: Affine, inputs: Inputs, options?: CallOptions) => {
      const x = only(inputs);
      if (!x || !isServed(tf)) return stock.call(layer, inputs, options);
      return tf.tidy(() => layerNorm(tf, layer, x) ?? stock.call(layer, inputs, options));
    };
    undo.push(patch(LN, call));
  }
  return () => {
    for (const step of undo) step();
  };
}
