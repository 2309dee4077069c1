// npm run statistics -- worker nats://host:4222 [job]: one of any number of workers, which may come and go.
import { setTimeout as sleep } from "node:timers/promises";
import { connectTo } from "../connect.ts";
import { Job } from "./job.ts";
import { encode, partialOf } from "./partial.ts";

/** Milliseconds that each shard takes longer: for tests that kill workers in the middle. */
const SLOWER = Number(process.env.SLOWER ?? 0);

export async function work(url: string, name: string, idle = 3000): Promise<number> {
  const connection = await connectTo(url);
  const job = await Job.open(connection, name);
  const done = await job.work(async ({ file }) => {
    if (SLOWER) await sleep(SLOWER);
    return encode(partialOf(file));
  }, idle);
  await connection.close();
  return done;
}

if (process.argv[1] === import.meta.filename) {
  const done = await work(process.argv[2]!, process.argv[3] ?? "statistics");
  console.log(`worker ${process.pid}: ${done} shards`);
}
