// npm run latency: forward and backward over NATS on this machine, by ranks and channels, beside a plain allGather of as
// many bytes; and what the model makes of it for 8 to 512 ranks.
import { fork } from "node:child_process";
import { once } from "node:events";
import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { Broker } from "../../../broker.ts";
import { costOf, type Machine } from "./model.ts";

const ROWS = 64;
const ROUNDS = Number(process.env.ROUNDS ?? 400);
const RANKS = [2, 3, 4, 5];
const CHANNELS = [64, 256, 1024];

interface Times {
  forward: number;
  backward: number;
  allGather: number;
}

async function measure(url: string, size: number, channels: number): Promise<Times> {
  const file = fileURLToPath(new URL("rank.ts", import.meta.url));
  const ranks = Array.from({ length: size }, (_, rank) =>
    fork(file, [url, ...[rank, size, channels, ROWS, ROUNDS].map(String)], { execArgv: ["--import", "tsx"] }),
  );
  const ended = Promise.all(ranks.map((rank) => once(rank, "exit")));
  const [times] = (await once(ranks[0]!, "message")) as [Times];
  await ended;
  return times;
}

const fixed = (value: number, digits = 2) => value.toFixed(digits);

const broker = await Broker.start();
console.log(
  `${cpus().length} cores, ${cpus()[0]!.model}; ${ROWS} rows a rank; medians of ${ROUNDS}, milliseconds\n`,
);
console.log("| ranks | channels | forward | backward | allGather of as many bytes |");
console.log("| --- | --- | --- | --- | --- |");
for (const channels of CHANNELS) {
  for (const ranks of RANKS) {
    const { forward, backward, allGather } = await measure(broker.url, ranks, channels);
    console.log(`| ${ranks} | ${channels} | ${fixed(forward)} | ${fixed(backward)} | ${fixed(allGather)} |`);
  }
}
await broker.stop();

/**
 * Ranks on machines of their own, a broker with 10 Gbit/s; a rank takes 1.1 ms for the checksum of a megabyte, and as
 * long for its two copies.
 */
const MACHINE: Machine = {
  latency: 0.3,
  perDelivery: 0.0005,
  perMessage: 0.01,
  perMegabyte: 2.2,
  bandwidth: 1.25,
};
console.log("\n| ranks | rounds | deliveries | rank receives, MB | broker sends, MB | milliseconds |");
console.log("| --- | --- | --- | --- | --- | --- |");
for (const ranks of [8, 16, 32, 64, 128, 256, 512]) {
  const { deliveries, rankIn, brokerOut, time } = costOf(ranks, 256, MACHINE);
  console.log(
    `| ${ranks} | 1 | ${deliveries.toLocaleString("en")} | ${fixed(rankIn, 3)} | ${fixed(brokerOut)} | ${fixed(time)} |`,
  );
}
