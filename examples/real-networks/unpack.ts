// Reads what keep.ts wrote, in a browser as well.
import type { LayerKind, NormLayer } from "wasm-norm/analysis";

/** An array as it is kept: levels as bytes, or float32, in base64. */
export type KeptArray = { uint8: string; lowest: number; step: number } | { float32: string };

/** A layer as it is kept. */
export interface KeptLayer {
  name: string;
  kind: LayerKind;
  activation: string | null;
  eps: number;
  gamma: KeptArray | null;
  beta: KeptArray | null;
  mean: KeptArray;
  variance: KeptArray;
}

/** A network as it is kept. */
export interface KeptNetwork {
  title: string;
  source: string;
  layers: KeptLayer[];
}

const bytesOf = (base64: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));

function values(array: KeptArray): Float32Array {
  if ("float32" in array) return new Float32Array(bytesOf(array.float32).buffer);
  return Float32Array.from(bytesOf(array.uint8), (level) => level * array.step + array.lowest);
}

const levels = (array: KeptArray | null) =>
  array && "uint8" in array ? { lowest: array.lowest, step: array.step } : null;

/** The layers of a network that was kept. */
export const unpack = ({ layers }: KeptNetwork): NormLayer[] =>
  layers.map(({ gamma, beta, mean, variance, ...layer }) => ({
    ...layer,
    gamma: gamma && values(gamma),
    beta: beta && values(beta),
    mean: values(mean),
    variance: values(variance),
    levels: { gamma: levels(gamma), beta: levels(beta), mean: levels(mean), variance: levels(variance) },
  }));
