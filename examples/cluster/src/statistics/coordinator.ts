import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { connectTo } from "../connect.ts";
import { shardsOf } from "./data.ts";
import { Job } from "./job.ts";
import { type Column, decode, mergeAll } from "./partial.ts";

/** Hands the shards of a data set out, waits until each has a result, and merges them in the order of shards. */
export async function collect(
  url: string,
  name: string,
  directory: string,
  progress: (finished: number, shards: number) => void,
  patience = 600_000,
): Promise<Column[]> {
  const connection = await connectTo(url);
  const job = await Job.open(connection, name);
  const files = shardsOf(directory);
  for (const [shard, file] of files.entries()) await job.add({ shard, file: join(directory, file) });
  for (const deadline = Date.now() + patience; ; await sleep(100)) {
    const finished = await job.finished();
    progress(finished, files.length);
    if (finished === files.length) break;
    if (Date.now() > deadline) throw new Error(`${finished} of ${files.length} shards in ${patience} ms`);
  }
  const partials: Column[][] = [];
  for (const shard of files.keys()) partials.push(decode(await job.result(shard)));
  await job.delete();
  await connection.close();
  return mergeAll(partials);
}
