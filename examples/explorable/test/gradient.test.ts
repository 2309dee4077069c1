import { afterAll, beforeAll, expect, test } from "vitest";
import { BatchNorm } from "wasm-norm";
import { softmaxCrossEntropy } from "../../digits/network.ts";
import { DEFAULTS, untrained } from "../../digits/train.ts";
import { choose, Explorable, figure, type Opened } from "./browser.ts";
import { arm, digits, training } from "./digits.ts";

let explorable: Explorable;
let opened: Opened;
beforeAll(async () => {
  explorable = await Explorable.serve();
  opened = await explorable.open(1600, "light");
});
afterAll(() => explorable.close());

const SIZES = [2, 4, 8, 16, 32, 64, 128, 256];

/** Rows of the table: batch size, and in percent mean, xhat, rest, measured, rest in evaluation. */
async function table(): Promise<number[][]> {
  const rows = await opened.page.locator("#split-table tr").all();
  return Promise.all(
    rows.map(async (row) =>
      (await row.locator("th, td").allInnerTexts()).map((text) => Number.parseFloat(text)),
    ),
  );
}

/** H and the loss's gradient for the first m digits. */
function fromNetwork(m: number): { h: Float32Array; dy: Float32Array } {
  const network = untrained(arm("learned"), DEFAULTS);
  const { pixels, labels } = digits(0, m);
  network.backward(softmaxCrossEntropy(network.forward(pixels), labels).dlogits);
  return network.hidden.at(-1)!;
}

test("the digits' gradient is split as the package splits it, in training and in evaluation", async () => {
  const { page } = opened;
  await page.getByText("The figures").first().click();
  await choose(page, "dy", "digits");
  const rows = await table();
  expect(rows.map(([m]) => m)).toEqual(SIZES);
  for (const [m, mean, xhat, rest, measured, evaluation] of rows) {
    const { h, dy } = fromNetwork(m!);
    const layer = new BatchNorm(DEFAULTS.hidden.at(-1)!);
    layer.forward(h);
    const { total } = layer.decomposeGradient(dy);
    const { scale: gain } = layer.identityGap();
    const dx = layer.backward(dy);
    let [arrived, sent] = [0, 0];
    for (let i = 0; i < dx.length; i++) {
      arrived += (dx[i]! / gain[i % gain.length]!) ** 2;
      sent += dy[i]! ** 2;
    }
    for (const [got, share] of [
      [mean, total.mean],
      [xhat, total.xhat],
      [rest, total.rest],
      [measured, arrived / sent],
    ]) {
      expect(Math.abs(got! - 100 * share!), `batch size ${m}: ${got} for ${100 * share!}`).toBeLessThan(
        0.011,
      );
    }
    expect(evaluation).toBe(100);
  }
});

test("of a random gradient about (m - 2) / m goes on", async () => {
  await choose(opened.page, "dy", "random");
  for (const [m, , , rest] of await table()) {
    // Three deviations of a share over 64 units.
    const expected = 1 - 2 / m!;
    expect(Math.abs(rest! / 100 - expected)).toBeLessThan(
      3 * Math.sqrt((expected * (2 / m!)) / (64 * m!)) + 0.002,
    );
  }
});

test("the undoing gives back the input and leaves the split", async () => {
  const { page } = opened;
  const before = await table();
  const layer = new BatchNorm(DEFAULTS.hidden.at(-1)!);
  layer.forward(fromNetwork(8).h);
  expect(await figure(page, "forward-gap")).toBeCloseTo(layer.identityGap().rms, 4);
  await choose(page, "at", "undone");
  expect(await figure(page, "forward-gap")).toBeLessThan(1e-5);
  expect(await figure(page, "split-change")).toBeLessThan(1e-6);
  expect(await table()).toEqual(before);
  expect(training.rows).toBeGreaterThan(256);
  await page.waitForFunction(() =>
    document.getElementById("gradient-status")!.textContent!.includes("0.00 standard"),
  );
  expect(opened.complaints).toEqual([]);
});
