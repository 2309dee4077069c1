/** What a refused call has to look like: a typed error in words, and nothing changed. */
import { expect } from "vitest";
import type { Library, Subject } from "./cases.js";

export type AnyLayer = ReturnType<typeof import("./cases.js").build>;

/** Everything of a layer that a caller can see, copied. */
export function snapshot(layer: AnyLayer): unknown {
  const copy = (array: ArrayLike<number> | null | undefined) => array && Array.from(array);
  const batch = "runningMean" in layer ? layer : null;
  return {
    gamma: copy(layer.gamma?.data),
    gammaGrad: copy(layer.gamma?.grad),
    beta: copy(layer.beta?.data),
    betaGrad: copy(layer.beta?.grad),
    training: layer.training,
    runningMean: copy(batch?.runningMean),
    runningVar: copy(batch?.runningVar),
    batchesTracked: Number(batch?.batchesTracked),
    batchMean: copy(batch?.batchMean),
    batchVar: copy(batch?.batchVar),
    skippedUpdates: batch?.skippedUpdates,
  };
}

/** The error of a call that has to throw. */
export function refusal(call: () => unknown): Error {
  try {
    call();
  } catch (error) {
    expect(error).toBeInstanceOf(Error);
    return error as Error;
  }
  throw new Error(`nothing was thrown by ${call}`);
}

/** A message that says who refuses first, as in `BatchNorm(4).forward: expected ...`, and then mentions the rest. */
export const naming = (who: string, mention = ""): RegExp => new RegExp(`^${who}\\b[^:]*: .*${mention}`);

/** A TypeError or RangeError that names who refuses, what was expected, and the given. */
export function expectRefused(who: string, call: () => unknown, ...mentions: Array<string | RegExp>): Error {
  const error = refusal(call);
  const kind = error instanceof TypeError || error instanceof RangeError;
  expect(kind, `${call} threw ${error.name}: ${error.message}`).toBe(true);
  expect(error.message).toMatch(naming(who));
  for (const mention of mentions) expect(error.message).toMatch(mention);
  // a trap or an engine's own complaint would be no answer of the package's
  expect(error).not.toBeInstanceOf(WebAssembly.RuntimeError);
  return error;
}

/** The same of a layer, which has to be afterwards what it was before. */
export function expectRefusedUnchanged(
  who: string,
  layer: AnyLayer,
  call: () => unknown,
  ...mentions: Array<string | RegExp>
): Error {
  const before = snapshot(layer);
  const error = expectRefused(who, call, ...mentions);
  expect(snapshot(layer)).toEqual(before);
  return error;
}

export const nameOf: Record<Subject["family"], string> = {
  batch: "BatchNorm",
  layer: "LayerNorm",
  rms: "RMSNorm",
  group: "GroupNorm",
  instance: "InstanceNorm",
};

/** A layer of each family with an input that suits it. */
export function oneOfEach(library: Library) {
  return [
    { who: "BatchNorm", layer: new library.BatchNorm(4), shape: [6, 4] },
    {
      who: "BatchNorm",
      layer: new library.BatchNorm(4, { layout: "channels-first" }),
      shape: [3, 4, 2],
    },
    { who: "LayerNorm", layer: new library.LayerNorm([3, 4]), shape: [2, 3, 4] },
    { who: "RMSNorm", layer: new library.RMSNorm(4), shape: [6, 4] },
    { who: "GroupNorm", layer: new library.GroupNorm(2, 4), shape: [2, 4, 3] },
    {
      who: "InstanceNorm",
      layer: new library.InstanceNorm(4, { affine: true }),
      shape: [2, 4, 3],
    },
  ];
}
