/**
 * How the learning rates in arms.ts were chosen: every arm on one grid, trained on the first 1,077 training
 * rows, judged on the other 270; the test rows are not looked at. `npx tsx examples/digits/search.ts`, two minutes.
 */
import { readFileSync } from "node:fs";
import Table from "cli-table3";
import { ARMS } from "./arms.ts";
import { parseDigits, pick } from "./data.ts";
import { DEFAULTS, SEEDS, train } from "./train.ts";

const GRID = [0.01, 0.03, 0.1, 0.3, 1];
const HELD_OUT = 270;

const { training } = parseDigits(readFileSync(new URL("digits.csv", import.meta.url), "utf8"));
const rows = Uint32Array.from({ length: training.rows }, (_, row) => row);
const fitted = pick(training, rows.subarray(0, -HELD_OUT));
const heldOut = pick(training, rows.subarray(-HELD_OUT));

const table = new Table({ head: ["arm", ...GRID.map(String)], style: { head: [], border: [] } });
for (const arm of ARMS) {
  const cells = GRID.map((learningRate) => {
    let score = 0;
    for (const seed of SEEDS) {
      for (const at of train(arm, fitted, heldOut, { ...DEFAULTS, seed, learningRate })) {
        if (at.kind === "epoch" && at.epoch === DEFAULTS.epochs) {
          score += (arm.objective === "digits" ? 100 * at.testAccuracy : at.gap!.rms) / SEEDS.length;
        }
      }
    }
    return score.toFixed(arm.objective === "digits" ? 1 : 3);
  });
  table.push([arm.title, ...cells]);
}
console.log("Held-out accuracy in % (control: identity gap after training) by learning rate:");
console.log(table.toString());
