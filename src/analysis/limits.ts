// What the figures of a report can and cannot say, told for the layers at hand.
import type { KnownLayer } from "./layers.js";
import { isAtLowest } from "./units.js";

const RECTIFIED = /^(relu|relu6|leaky_?relu|leaky-relu|prelu)$/i;

/** Whether the activation lets a positive factor through, so that the next layer's weights can take gamma's place. */
export const isRectified = (activation: string | null): boolean => RECTIFIED.test(activation ?? "");

const plural = (count: number, one: string, many = `${one}s`): string =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** In sentences, each one that applies. */
export function limitsOf(layers: readonly KnownLayer[]): string[] {
  if (layers.length === 0) {
    return [
      "No layer with running statistics: layer and RMS norm have none, and in graph models and fused checkpoints batch norm is folded into the weights.",
    ];
  }
  return [
    "The statistics are the running ones: what evaluation uses. On a minibatch of training the same gamma and beta undo less, as its statistics are others.",
    "The layer does not see the scale of the weights before it: doubled, they double the deviation and the mean, and not the output. So one unit's scale near 1 can come and go without any change of the function: what counts is whether there are more such units than random dealing leaves, with the same deviations.",
    ...rectified(layers),
    ...withoutGamma(layers),
    ...quantized(layers),
    ...unknownKinds(layers),
    "A correlation across units is no cause: gamma and the deviation of a unit may both follow from a third thing, such as how much the unit is used. Its interval takes the units as independent, which they are not quite.",
  ];
}

function rectified(layers: readonly KnownLayer[]): string[] {
  const behind = layers.filter(({ activation }) => isRectified(activation)).length;
  const unknown = layers.filter(({ activation }) => activation === null).length;
  const sentences: string[] = [];
  if (behind > 0) {
    sentences.push(
      `Behind ${plural(behind, "layer")} of ${layers.length} stands a ReLU or its like: a positive factor passes through it into the next weights, so there only beta / gamma shapes the function (ReLU6 up to its cap), and gamma is free to be anything.`,
    );
  }
  if (unknown > 0) {
    sentences.push(
      `For ${plural(unknown, "layer")} of ${layers.length} nothing says which activation follows; behind a ReLU gamma's size is free.`,
    );
  }
  return sentences;
}

function withoutGamma(layers: readonly KnownLayer[]): string[] {
  const without = layers.filter(({ gamma }) => gamma === null).length;
  return without === 0
    ? []
    : [
        `${plural(without, "layer")} of ${layers.length} ${without === 1 ? "has" : "have"} no gamma: the scale is 1 / sigma there, and only beta could undo anything.`,
      ];
}

function quantized(layers: readonly KnownLayer[]): string[] {
  const some = layers.filter(({ levels }) => Object.values(levels).some(Boolean));
  if (some.length === 0) return [];
  let atLowest = 0;
  for (const layer of some) {
    for (let unit = 0; unit < layer.units; unit++) if (isAtLowest(layer, unit)) atLowest++;
  }
  return [
    `${plural(some.length, "layer")} of ${layers.length} ${some.length === 1 ? "is" : "are"} quantized: a value is known to half a step, so units near the tolerance's edge may stand on either side (surely and possibly count them), and ties weaken the correlations.`,
    ...(atLowest > 0
      ? [
          `${plural(atLowest, "unit")} left out: the variance lies at the lowest level of its quantization, which stands for anything that small and measures nothing.`,
        ]
      : []),
  ];
}

function unknownKinds(layers: readonly KnownLayer[]): string[] {
  const unknown = layers.filter(({ kind }) => kind === "unknown").length;
  return unknown === 0
    ? []
    : [
        `For ${plural(unknown, "layer")} of ${layers.length} the weights before it were not found: its kind is unknown.`,
      ];
}
