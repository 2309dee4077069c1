import { afterAll, beforeAll, expect, test } from "vitest";
import { DEFAULTS, type Epoch, type Settings, train } from "../../digits/train.ts";
import { choose, Explorable, figure, type Opened } from "./browser.ts";
import { arm, test as testDigits, training } from "./digits.ts";

let explorable: Explorable;
let opened: Opened;
beforeAll(async () => {
  explorable = await Explorable.serve();
  opened = await explorable.open(1600, "dark");
});
afterAll(() => explorable.close());

function epochIn(id: Parameters<typeof arm>[0], epoch: number, settings: Partial<Settings>): Epoch {
  for (const at of train(arm(id), training, testDigits, { ...DEFAULTS, ...settings })) {
    if (at.kind === "epoch" && at.epoch === epoch) return at;
  }
  throw new Error(`expected an epoch ${epoch}`);
}

/** The two engines round differently (fused multiply-add or not), and training carries that on. */
const close = (got: number, expected: number) =>
  expect(Math.abs(got - expected), `${got} for ${expected}`).toBeLessThanOrEqual(0.01 * expected);

const shown = async () => ({
  epoch: await figure(opened.page, "epochs-done"),
  gap: await figure(opened.page, "gap"),
  gapUnmoved: await figure(opened.page, "gap-unmoved"),
});
const waitForEpoch = (least: number) =>
  opened.page.waitForFunction(
    (epoch) => Number((document.getElementById("epochs-done") as HTMLDataElement).value) >= epoch,
    least,
  );

test("starts, pauses, and has come where the same training in Node comes", async () => {
  const { page } = opened;
  await page.selectOption("#rate", "0.1");
  await page.selectOption("#batch", "32");
  await page.locator("#training").getByRole("button", { name: "Start", exact: true }).click();
  await waitForEpoch(3);
  await page.locator("#training").getByRole("button", { name: "Pause" }).click();
  await page.waitForTimeout(400);
  const paused = await shown();
  await page.waitForTimeout(400);
  expect(await shown(), "a pause lasts").toEqual(paused);

  const expected = epochIn("learned", paused.epoch, { learningRate: 0.1, batchSize: 32 });
  close(paused.gap, expected.gap!.rms);
  close(paused.gapUnmoved, expected.gap!.rmsUnmoved);
  expect(await page.locator("#epoch").textContent()).toMatch(
    new RegExp(`^epoch ${paused.epoch} of ${DEFAULTS.epochs}`),
  );
  expect(await page.locator("#scatter-chart g[aria-label=dot]").first().locator("path").count()).toBe(192);

  await page.locator("#training").getByRole("button", { name: "Restart" }).click();
  await page.waitForFunction(() => (document.getElementById("epochs-done") as HTMLDataElement).value === "0");
  close((await shown()).gap, epochIn("learned", 0, {}).gap!.rms);
});

test("in the control the units travel to the undoing", async () => {
  const { page } = opened;
  await choose(page, "arm", "control");
  await page.waitForFunction(() => document.getElementById("loss-title")!.textContent!.includes("squared"));
  expect(await page.locator("#rate").inputValue()).toBe(String(arm("control").learningRate));
  await page.selectOption("#batch", "64");
  await page.locator("#training").getByRole("button", { name: "Start", exact: true }).click();
  await page.locator("#training").getByRole("button", { name: "Run again" }).waitFor();
  const { epoch, gap } = await shown();
  expect(epoch).toBe(DEFAULTS.epochs);
  expect(gap).toBeLessThan(0.1);
  close(gap, epochIn("control", epoch, {}).gap!.rms);
  await page.waitForFunction(() =>
    document.getElementById("training-status")!.textContent!.startsWith("control, epoch 30"),
  );
});

test("without normalization there is no unit to show, and a finished run is kept", async () => {
  const { page } = opened;
  const nothing = page.locator("#no-gap-sentence");
  await choose(page, "arm", "plain");
  await nothing.waitFor();
  expect(await page.locator("#gap-sentence").isHidden()).toBe(true);
  await choose(page, "arm", "control");
  await nothing.waitFor({ state: "hidden" });
  expect(await page.locator("#epoch").textContent()).toMatch(/^epoch 30 of 30/);
  expect(opened.complaints).toEqual([]);
});
