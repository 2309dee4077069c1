/** nsfwjs's networks, and pictures for them. */
import { createRequire } from "node:module";
import { dirname } from "node:path";
import * as tf from "@tensorflow/tfjs";
import { setWasmPaths } from "@tensorflow/tfjs-backend-wasm";
import { load } from "nsfwjs/core";
import { InceptionV3Model } from "nsfwjs/models/inception_v3";
import { MobileNetV2Model } from "nsfwjs/models/mobilenet_v2";

export const NETWORKS = ["MobileNetV2", "InceptionV3"] as const;

export async function start(): Promise<void> {
  setWasmPaths(`${dirname(createRequire(import.meta.url).resolve("@tensorflow/tfjs-backend-wasm"))}/`);
  if (!(await tf.setBackend("wasm"))) throw new Error("expected tfjs's wasm backend, got none");
}

export const network = (name: (typeof NETWORKS)[number]) =>
  load(name, {
    modelDefinitions: [MobileNetV2Model, InceptionV3Model],
    size: name === "InceptionV3" ? 299 : 224,
  });

/** A picture of soft bands of colour, another one for each seed. */
export function picture(seed: number, size = 224): tf.Tensor3D {
  const values = new Int32Array(size * size * 3);
  for (let i = 0; i < values.length; i++) {
    const channel = i % 3;
    const x = Math.floor(i / 3) % size;
    const y = Math.floor(i / 3 / size);
    const wave = Math.sin((x * (seed + 1 + channel) + y * (2 * seed + channel)) / 40 + seed);
    values[i] = Math.round(127.5 + 127 * wave);
  }
  return tf.tensor3d(values, [size, size, 3], "int32");
}
