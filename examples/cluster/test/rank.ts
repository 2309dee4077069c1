// A rank as a process of its own: for each "run" that it is sent it normalizes minibatches until it is told to stop or a
// call fails, and says what came of each step.
import { CollectiveError, SyncBatchNorm } from "wasm-norm/collective";
import { natsCollective } from "wasm-norm/nats";
import { connectTo } from "../src/connect.ts";
import { FEATURES, shard } from "./minibatch.ts";

export interface Run {
  epoch: number;
  rank: number;
  size: number;
  deadline: number;
  seed: number;
  steps: number;
}

export type Report =
  | { kind: "ready" }
  | {
      kind: "step";
      epoch: number;
      step: number;
      y: number[];
      dx: number[];
      state: string;
      milliseconds: number;
    }
  | {
      kind: "failed";
      epoch: number;
      step: number;
      code: string;
      ranks: number[];
      milliseconds: number;
      message: string;
    }
  | { kind: "done"; epoch: number };

const say = (report: Report) => process.send!(report);
const connection = await connectTo(process.argv[2]!);

process.on("message", async ({ epoch, rank, size, deadline, seed, steps }: Run) => {
  const collective = natsCollective(connection, { group: "kills", rank, size, deadline, epoch });
  const layer = new SyncBatchNorm(FEATURES, { collective });
  for (let step = 0; step < steps; step++) {
    const { x, dy } = shard(seed, step, rank);
    let start = performance.now();
    try {
      const y = await layer.forward(x);
      start = performance.now();
      const dx = await layer.backward(dy);
      const state = JSON.stringify({ ...layer.stateDict(), grad: layer.gamma!.grad });
      layer.zeroGrad();
      const milliseconds = performance.now() - start;
      say({ kind: "step", epoch, step, y: [...y], dx: [...dx], state, milliseconds });
    } catch (error) {
      const { code, ranks, message } =
        error instanceof CollectiveError ? error : { code: String(error), ranks: [], message: String(error) };
      const milliseconds = performance.now() - start;
      say({ kind: "failed", epoch, step, code, ranks: [...ranks], milliseconds, message });
      break;
    }
  }
  await collective.close();
  layer.dispose();
  say({ kind: "done", epoch });
});
process.on("disconnect", () => process.exit());
say({ kind: "ready" });
