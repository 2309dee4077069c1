/** Workers that come to grief in the middle of a tile, as a seed decides. */
import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";

const program = readFileSync(new URL("../../build/threads-worker.js", import.meta.url), "utf8");

/** What happens to a worker: its thread ends, its code throws, or it never comes back. */
export const FATES = ["exits", "throws", "hangs"] as const;
export type Fate = (typeof FATES)[number];

/**
 * A factory of workers that do `tiles` tiles as they should; on the next one fate comes, before or after the tile was written.
 * After that, what was to be overwritten in place is gone.
 */
export function dying(fate: Fate, tiles: () => number, after: () => boolean): () => Worker {
  return () => {
    const prelude = `
      const Real = WebAssembly.Instance;
      let left = ${tiles()};
      const fate = () => {
        const cell = new Int32Array(new SharedArrayBuffer(4));
        if ("${fate}" === "exits") process.exit(0);
        if ("${fate}" === "throws") throw new Error("a trap");
        Atomics.wait(cell, 0, 0);
      };
      WebAssembly.Instance = function (module, imports) {
        const { exports } = new Real(module, imports);
        const tile = (...args) => {
          const last = left-- === 0;
          if (last && !${after()}) fate();
          exports.tile(...args);
          if (last && ${after()}) fate();
        };
        return { exports: { ...exports, tile } };
      };`;
    return new Worker(`${prelude}\n${program}`, { eval: true, execArgv: [], stderr: true });
  };
}
