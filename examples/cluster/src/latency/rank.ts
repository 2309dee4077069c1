// A rank of the measurement: forward, backward and a plain allGather of as many bytes, in turn; rank 0 reports.
import { SyncBatchNorm } from "wasm-norm/collective";
import { natsCollective } from "wasm-norm/nats";
import { seededRandom } from "../../../digits/random.ts";
import { connectTo } from "../connect.ts";

const [url, rank, size, channels, rows, rounds] = process.argv
  .slice(2)
  .map((text, i) => (i ? Number(text) : text)) as [string, ...number[]];
const WARM_UP = 100;

const connection = await connectTo(url as string);
const group = `latency-${size}-${channels}`;
const collective = natsCollective(connection, { group, rank: rank!, size: size!, deadline: 20_000 });
const layer = new SyncBatchNorm(channels!, { collective });
const random = seededRandom(rank!);
const x = Float32Array.from({ length: rows! * channels! }, () => random());
const bytes = new Uint8Array(8 * (1 + 2 * channels!));
const times: Record<"forward" | "backward" | "allGather", number[]> = {
  forward: [],
  backward: [],
  allGather: [],
};

for (let round = 0; round < WARM_UP + rounds!; round++) {
  const start = performance.now();
  await layer.forward(x);
  const forward = performance.now();
  await layer.backward(x);
  const backward = performance.now();
  await collective.allGather(bytes);
  const end = performance.now();
  if (round < WARM_UP) continue;
  times.forward.push(forward - start);
  times.backward.push(backward - forward);
  times.allGather.push(end - backward);
}
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
const { forward, backward, allGather } = times;
if (rank === 0) {
  process.send!({ forward: median(forward), backward: median(backward), allGather: median(allGather) });
}
await collective.close();
await connection.close();
process.disconnect?.();
