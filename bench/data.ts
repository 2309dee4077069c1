/** The minibatch of a shape: made from a seed, kept in memory for the check and in files for the contenders. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { InputName } from "./contenders/contender.ts";
import type { Shape } from "./shapes.ts";
import { modulationOf, sizeOf } from "./shapes.ts";

/** What is around a norm is there where something is. */
type AroundName = "z" | "scale" | "shift";
export type Data = Record<Exclude<InputName, AroundName>, Float32Array> &
  Partial<Record<AroundName, Float32Array>>;

/**
 * Channels with means within 2 and standard deviations from 0.5 to 2, running statistics a little off those of
 * the minibatch. The noise is a table of prime length, so that 1 GB of it is made in a second and no two columns
 * or planes are alike.
 */
export function makeData(shape: Shape): Data {
  const random = mulberry32(shape.c * 31 + shape.n);
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const noise = Float32Array.from({ length: Math.min(1_000_003, 2 * sizeOf(shape) + 1) }, normal);
  const perChannel = (value: () => number) => Float32Array.from({ length: shape.c }, value);
  const mu = perChannel(() => 4 * random() - 2);
  const sigma = perChannel(() => 0.5 * 4 ** random());

  const size = sizeOf(shape);
  const plane = shape.layout === "channels-first" ? shape.h * shape.w : 1;
  const x = new Float32Array(size);
  const dy = new Float32Array(size);
  let channel = 0;
  for (let start = 0, k = 0; start < size; start += plane) {
    for (let at = start; at < start + plane; at++) {
      x[at] = mu[channel]! + sigma[channel]! * noise[k]!;
      if (++k === noise.length) k = 0;
      dy[at] = noise[noise.length - 1 - k]!;
    }
    if (++channel === shape.c) channel = 0;
  }
  return {
    x,
    dy,
    gamma: perChannel(() => 0.5 + random()),
    beta: perChannel(() => random() - 0.5),
    mean: mu.map((mean) => mean + 0.1),
    var: sigma.map((s) => s * s * 1.1),
    ...(shape.around && { z: dy.map((_, i) => noise[(i * 7 + 3) % noise.length]!) }),
    ...(shape.around === "modulation" && {
      scale: new Float32Array(modulationOf(shape)).map(() => random() - 0.5),
      shift: new Float32Array(modulationOf(shape)).map(() => random() - 0.5),
    }),
  };
}

export function writeData(data: Data, folder: string): void {
  for (const [name, values] of Object.entries(data)) {
    writeFileSync(join(folder, `${name}.f32`), new Uint8Array(values.buffer));
  }
}

/** Tommy Ettinger's generator: 32 bits of state, good enough for test data, the same everywhere. */
function mulberry32(seed: number): () => number {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
