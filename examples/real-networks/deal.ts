// The same layers with each one's pairs of gamma and beta dealt to its units at random: what chance looks like.
import type { NormLayer } from "wasm-norm/analysis";
import { seededRandom, shuffle } from "../digits/random.ts";

export function deal(layers: readonly NormLayer[], seed: number): NormLayer[] {
  const random = seededRandom(seed);
  return layers.map((layer) => {
    const order = Uint32Array.from({ length: layer.mean!.length }, (_, i) => i);
    shuffle(order, random);
    const take = (values: ArrayLike<number> | null) =>
      values && Float64Array.from(order, (unit) => values[unit]!);
    return { ...layer, gamma: take(layer.gamma), beta: take(layer.beta) };
  });
}
