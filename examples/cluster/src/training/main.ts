// npm run train [processes]: the digits network, data-parallel over processes, beside one process with BatchNorm.
import { fork } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Broker } from "../../../broker.ts";
import { ARMS } from "../../../digits/arms.ts";
import { parseDigits } from "../../../digits/data.ts";
import { train as trainAlone } from "../../../digits/train.ts";
import { SETTINGS } from "./network.ts";

/** The losses of all steps, of so many processes, by rank. */
export async function trainTogether(url: string, group: string, processes: number): Promise<number[][]> {
  const file = fileURLToPath(new URL("rank.ts", import.meta.url));
  return Promise.all(
    Array.from({ length: processes }, async (_, rank) => {
      const child = fork(file, [url, group, String(rank), String(processes)], {
        execArgv: ["--import", "tsx"],
      });
      const losses: number[] = [];
      child.on("message", ({ loss }: { loss: number }) => losses.push(loss));
      const [code] = await once(child, "exit");
      if (code !== 0) throw new Error(`rank ${rank} ended with ${code}`);
      return losses;
    }),
  );
}

/** The same of examples/digits' own training, with BatchNorm in one process. */
export function trainInOne(): number[] {
  const csv = readFileSync(new URL("../../../digits/digits.csv", import.meta.url), "utf8");
  const { training, test } = parseDigits(csv);
  const arm = ARMS.find(({ id }) => id === "learned")!;
  const losses: number[] = [];
  for (const step of trainAlone(arm, training, test, SETTINGS))
    if (step.kind === "step") losses.push(step.loss);
  return losses;
}

if (process.argv[1] === import.meta.filename) {
  const processes = Number(process.argv[2] ?? 3);
  const broker = await Broker.start();
  const together = await trainTogether(broker.url, "training", processes);
  await broker.stop();
  const alone = trainInOne();
  const perEpoch = alone.length / SETTINGS.epochs;
  console.log(`step   one process   ${processes} processes`);
  for (let step = 0; step < alone.length; step += Math.floor(perEpoch / 3)) {
    const [a, b] = [alone[step]!, together[0]![step]!];
    console.log(`${String(step).padStart(4)}   ${a.toFixed(8).padStart(11)}   ${b.toFixed(8)}`);
  }
  const apart = Math.max(...alone.map((loss, step) => Math.abs(loss - together[0]![step]!)));
  console.log(`largest difference over ${alone.length} steps: ${apart.toExponential(1)}`);
}
