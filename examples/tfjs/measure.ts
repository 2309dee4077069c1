/** Stock and installed in turns, so that what else the machine does falls on both. */

import * as tf from "@tensorflow/tfjs";
import type { SingleBar } from "cli-progress";
import { install } from "wasm-norm/tfjs";

export interface Pair<T> {
  stock: T;
  installed: T;
}

/** The result and the median time, in ms, of `work` with and without the kernels. */
export async function both<T>(
  rounds: number,
  bar: SingleBar,
  work: () => Promise<T> | T,
): Promise<Pair<{ result: T; ms: number }>> {
  const times = { stock: [] as number[], installed: [] as number[] };
  const results = {} as Pair<T>;
  for (let round = 0; round <= rounds; round++) {
    for (const side of ["stock", "installed"] as const) {
      const uninstall = side === "installed" ? await install(tf) : undefined;
      const start = performance.now();
      results[side] = await work();
      // The first round warms up.
      if (round) times[side].push(performance.now() - start);
      uninstall?.();
      bar.increment();
    }
  }
  const median = (list: number[]) => list.sort((a, b) => a - b)[list.length >> 1]!;
  return {
    stock: { result: results.stock, ms: median(times.stock) },
    installed: { result: results.installed, ms: median(times.installed) },
  };
}
