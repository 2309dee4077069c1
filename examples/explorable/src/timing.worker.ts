// Times forward and backward away from the page, so that the page stays at hand and does not disturb.
import { expose } from "comlink";
import { BatchNorm, runtimeInfo, tensor } from "wasm-norm";
import { seededRandom } from "../../digits/random.ts";
import { backward, forward, saved } from "./plain-loops.ts";

export type Contender = "wasm-norm" | "plain loops" | "copy";
export type Pass = "forward" | "backward";

export interface Timing {
  pass: Pass;
  contender: Contender;
  /** The median over the rounds. */
  seconds: number;
  /** What has to be moved at the least. */
  bytes: number;
}

const ROUNDS = 9;
/** Backward is timed many times for one forward. */
const RETAIN = { retain: true };
/** A browser's clock may tick in steps of 0.1 ms where pages are not isolated: what is timed takes far longer. */
const LEAST_SECONDS = 0.012;

const timer = {
  variant: (): string => runtimeInfo().variant,

  /** Training passes of [rows, units], the contenders by turns. */
  measure(rows: number, units: number): Timing[] {
    const size = rows * units;
    const random = seededRandom(1);
    const values = () => Float32Array.from({ length: size }, () => 2 * random() - 1);
    const [x, dy, y, dx] = [values(), values(), new Float32Array(size), new Float32Array(size)];
    const [tx, tdy, ty, tdx] = [x, dy, y, dx].map((data) => tensor([rows, units], data)) as [T, T, T, T];
    const layer = new BatchNorm(units);
    const gamma = layer.gamma!.data.slice();
    const beta = layer.beta!.data.slice();
    const kept = saved(units);

    const tasks: { pass: Pass; contender: Contender; arrays: number; run: () => void }[] = [
      { pass: "forward", contender: "wasm-norm", arrays: 2, run: () => layer.forwardInto(tx, ty) },
      { pass: "forward", contender: "plain loops", arrays: 2, run: () => forward(x, y, gamma, beta, kept) },
      { pass: "forward", contender: "copy", arrays: 2, run: () => y.set(x) },
      {
        pass: "backward",
        contender: "wasm-norm",
        arrays: 3,
        run: () => layer.backwardInto(tdy, tdx, RETAIN),
      },
      { pass: "backward", contender: "plain loops", arrays: 3, run: () => backward(x, dy, dx, gamma, kept) },
    ];
    const seconds = (run: () => void, times: number) => {
      const start = performance.now();
      for (let i = 0; i < times; i++) run();
      return (performance.now() - start) / 1000;
    };
    try {
      // The first calls also compile.
      const times = tasks.map(({ run }) => {
        let count = 1;
        while (seconds(run, count) < LEAST_SECONDS) count *= 2;
        return count;
      });
      const rounds = Array.from({ length: ROUNDS }, () =>
        tasks.map(({ run }, i) => seconds(run, times[i]!) / times[i]!),
      );
      return tasks.map(({ pass, contender, arrays }, i) => ({
        ...{ pass, contender },
        seconds: median(rounds.map((round) => round[i]!)),
        bytes: 4 * size * arrays,
      }));
    } finally {
      for (const held of [layer, tx, tdy, ty, tdx]) held.dispose();
    }
  },
};
type T = ReturnType<typeof tensor>;

function median(values: number[]): number {
  return values.sort((a, b) => a - b)[values.length >> 1]!;
}

export type Timer = typeof timer;
expose(timer);
