import { afterAll, beforeAll, expect, test } from "vitest";
import { BatchNorm } from "wasm-norm";
import type { Network } from "../../digits/network.ts";
import { DEFAULTS, train, untrained } from "../../digits/train.ts";
import { choose, Explorable, figure, type Opened } from "./browser.ts";
import { arm, digits, test as testDigits, training } from "./digits.ts";

let explorable: Explorable;
let opened: Opened;
beforeAll(async () => {
  explorable = await Explorable.serve();
  opened = await explorable.open(1600, "light");
});
afterAll(() => explorable.close());

const UNIT = 17;

/** The unit's n-th minibatch. */
function column(network: Network, n: number): Float32Array {
  const h = network.hidden[0]!.dense.forward(
    digits(n * DEFAULTS.batchSize, (n + 1) * DEFAULTS.batchSize).pixels,
  );
  const units = DEFAULTS.hidden[0]!;
  return h.filter((_, i) => i % units === UNIT);
}

/** One minibatch under this gamma and beta: output, gap, and where they would undo. */
function through(h: Float32Array, gamma: number, beta: number) {
  const layer = new BatchNorm(1);
  layer.forward(h);
  layer.recoverIdentity();
  const undoing = { gamma: layer.gamma!.data[0]!, beta: layer.beta!.data[0]! };
  layer.gamma!.data[0] = gamma;
  layer.beta!.data[0] = beta;
  return { y: layer.forward(h), gap: layer.identityGap().rms, undoing };
}

/** The squared correlation of z and sigmoid(z). */
function linearity(z: Float32Array): number {
  const a = Array.from(z, (v) => 1 / (1 + Math.exp(-v)));
  const mean = (values: ArrayLike<number>) => Array.from(values).reduce((s, v) => s + v, 0) / values.length;
  const [zm, am] = [mean(z), mean(a)];
  let [zz, aa, za] = [0, 0, 0];
  for (let i = 0; i < z.length; i++) {
    zz += (z[i]! - zm) ** 2;
    aa += (a[i]! - am) ** 2;
    za += (z[i]! - zm) * (a[i]! - am);
  }
  return za ** 2 / (zz * aa);
}

const close = (got: number, expected: number, within: number) =>
  expect(Math.abs(got - expected), `${got} for ${expected}`).toBeLessThanOrEqual(
    within * Math.max(1, Math.abs(expected)),
  );

test("sliders, a second batch and Undo show what the package computes", async () => {
  const { page } = opened;
  const network = untrained(arm("plain"), DEFAULTS);
  const [first, second] = [column(network, 0), column(network, 1)];

  await page.selectOption("#unit", { value: String(UNIT) });
  await page.locator("#gamma").fill("2.5");
  await page.locator("#beta").fill("-1.25");
  const moved = through(first, 2.5, -1.25);
  close(await figure(page, "undo-gamma"), moved.undoing.gamma, 1e-6);
  close(await figure(page, "undo-beta"), moved.undoing.beta, 1e-6);
  close(await figure(page, "unit-gap"), moved.gap, 1e-5);
  close(await figure(page, "unit-r2"), linearity(moved.y), 1e-5);
  close(await figure(page, "normalized-r2"), linearity(through(first, 1, 0).y), 1e-5);
  expect(await page.locator("#second-sentence").isHidden()).toBe(true);

  await page.getByRole("button", { name: "Draw a second batch" }).click();
  close(await figure(page, "second-gap"), through(second, 2.5, -1.25).gap, 1e-5);

  // The page's clock stands still, so that a busy machine cannot miss the way.
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 60_000);
  await page.getByRole("button", { name: "Undo" }).focus();
  await page.keyboard.press("Enter");
  await page.clock.runFor(450);
  expect(Number(await page.locator("#gamma").inputValue()), "on the way").toBeLessThan(2.4);
  expect(await figure(page, "unit-gap"), "on the way").toBeGreaterThan(0.01);
  await page.clock.runFor(1000);
  expect(await figure(page, "unit-gap")).toBeLessThan(1e-5);
  await page.clock.resume();
  const { gamma, beta } = moved.undoing;
  close(Number(await page.locator("#gamma").inputValue()), gamma, 1e-6);
  close(Number(await page.locator("#beta").inputValue()), beta, 1e-6);
  close(await figure(page, "unit-r2"), linearity(first), 1e-5);
  const left = through(second, gamma, beta).gap;
  expect(left, "the second batch is not undone").toBeGreaterThan(0.01);
  close(await figure(page, "second-gap"), left, 1e-5);

  await page.waitForFunction(() =>
    document.getElementById("one-unit-status")!.textContent!.includes("second batch"),
  );
  await page.getByRole("button", { name: "Reset" }).click();
  close(await figure(page, "unit-gap"), through(first, 1, 0).gap, 1e-5);
});

test("a network trained without normalization lends its unit", async () => {
  const { page } = opened;
  await choose(page, "weights", "trained");
  const before = await figure(page, "undo-gamma");
  const network = untrained(arm("plain"), DEFAULTS);
  for (const _ of train(arm("plain"), training, testDigits, DEFAULTS, network));
  const { undoing } = through(column(network, 0), 1, 0);
  await page.waitForFunction(
    (old) => Number((document.getElementById("undo-gamma") as HTMLDataElement).value) !== old,
    before,
  );
  close(await figure(page, "undo-gamma"), undoing.gamma, 1e-4);
  close(await figure(page, "undo-beta"), undoing.beta, 1e-4);
  expect(opened.complaints).toEqual([]);
});

test("where motion is unwelcome Undo is there at once", async () => {
  const { page } = await explorable.open(1600, "light", true);
  await page.click("#undo");
  await page.evaluate(() => new Promise(requestAnimationFrame));
  expect(await figure(page, "unit-gap")).toBeLessThan(1e-5);
});
