// One of the processes that train: it is given the broker, the group, its rank and how many there are.
import { readFileSync } from "node:fs";
import { natsCollective } from "wasm-norm/nats";
import { parseDigits } from "../../../digits/data.ts";
import { connectTo } from "../connect.ts";
import { train } from "./network.ts";

const [url, group, rank, size] = process.argv.slice(2) as [string, string, string, string];
const connection = await connectTo(url);
const collective = natsCollective(connection, {
  group,
  rank: Number(rank),
  size: Number(size),
  deadline: 10_000,
});
const csv = readFileSync(new URL("../../../digits/digits.csv", import.meta.url), "utf8");
for await (const step of train(collective, parseDigits(csv).training)) process.send?.(step);
await collective.close();
await connection.close();
process.disconnect?.();
