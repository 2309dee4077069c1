// One rank in a page, or in a worker of one: over the websockets of the same broker.
import { wsconnect } from "@nats-io/nats-core";
import { SyncBatchNorm } from "wasm-norm/collective";
import { natsCollective } from "wasm-norm/nats";

/** What a rank is to do. */
export interface PageJob {
  url: string;
  group: string;
  rank: number;
  size: number;
  deadline: number;
  features: number;
  steps: number;
  x: number[];
  dy: number[];
}

/** What it has after its steps; or what stopped it. */
export type PageResult =
  | { y: number[]; dx: number[]; dgamma: number[]; runningMean: number[]; runningVar: number[] }
  | { code: string; ranks: number[]; milliseconds: number };

async function run(job: PageJob): Promise<PageResult> {
  const { url, group, rank, size, deadline, features, steps } = job;
  const connection = await wsconnect({ servers: url, noEcho: true });
  const collective = natsCollective(connection, { group, rank, size, deadline });
  const layer = new SyncBatchNorm(features, { collective });
  let start = 0;
  try {
    let y: Float32Array = new Float32Array(0);
    let dx: Float32Array = y;
    for (let step = 0; step < steps; step++) {
      layer.zeroGrad();
      start = performance.now();
      y = await layer.forward(Float32Array.from(job.x));
      start = performance.now();
      dx = await layer.backward(Float32Array.from(job.dy));
    }
    return {
      ...{ y: [...y], dx: [...dx], dgamma: [...layer.gamma!.grad] },
      ...{ runningMean: [...layer.runningMean], runningVar: [...layer.runningVar] },
    };
  } catch (error) {
    const { code, ranks } = error as { code: string; ranks: number[] };
    if (code === undefined) throw error;
    return { code, ranks: [...ranks], milliseconds: performance.now() - start };
  } finally {
    await collective.close();
    await connection.close();
  }
}

const scope = globalThis as unknown as { run: typeof run; document?: unknown };
scope.run = run;
if (scope.document === undefined) {
  addEventListener("message", ({ data }) => {
    run(data as PageJob).then((result) => postMessage(result));
  });
}
