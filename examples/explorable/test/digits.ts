// The digits and the first hidden layer's pre-activations, found in Node as the page finds them in the browser.
import { readFileSync } from "node:fs";
import { ARMS, type Arm } from "../../digits/arms.ts";
import { parseDigits, pick } from "../../digits/data.ts";
import { seededRandom, shuffle } from "../../digits/random.ts";
import { DEFAULTS } from "../../digits/train.ts";

export const { training, test } = parseDigits(
  readFileSync(new URL("../../digits/digits.csv", import.meta.url), "utf8"),
);

export const arm = (id: Arm["id"]): Arm => ARMS.find((one) => one.id === id)!;

const order = Uint32Array.from({ length: training.rows }, (_, row) => row);
shuffle(order, seededRandom(DEFAULTS.seed));

/** Training digits `from` to `to` in the page's order. */
export const digits = (from: number, to: number) => pick(training, order.subarray(from, to));
