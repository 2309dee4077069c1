import { afterAll, beforeAll, expect, test } from "vitest";
import { BatchNorm } from "wasm-norm";
import { seededRandom } from "../../digits/random.ts";
import { backward, forward, saved } from "../src/plain-loops.ts";
import { Explorable, figure, type Opened } from "./browser.ts";

let explorable: Explorable;
let opened: Opened;
beforeAll(async () => {
  explorable = await Explorable.serve();
  opened = await explorable.open(1600, "light");
});
afterAll(() => explorable.close());

test("the plain loops compute what the package computes", () => {
  const [rows, units] = [37, 19];
  const random = seededRandom(3);
  const values = (n: number) => Float32Array.from({ length: n }, () => 6 * random() - 2);
  const [x, dy, gamma, beta] = [values(rows * units), values(rows * units), values(units), values(units)];
  const layer = new BatchNorm(units);
  layer.gamma!.data.set(gamma);
  layer.beta!.data.set(beta);
  const y = layer.forward(x);
  const dx = layer.backward(dy);
  const [plainY, plainDx, s] = [new Float32Array(x.length), new Float32Array(x.length), saved(units)];
  forward(x, plainY, gamma, beta, s);
  backward(x, dy, plainDx, gamma, s);
  for (let i = 0; i < x.length; i++) {
    expect(plainY[i]).toBeCloseTo(y[i]!, 4);
    expect(plainDx[i]).toBeCloseTo(dx[i]!, 4);
  }
  s.dgamma.forEach((value, c) => {
    expect(value).toBeCloseTo(layer.gamma!.grad[c]!, 3);
  });
});

test("measures once in view, again for another minibatch, and its figures agree with one another", async () => {
  const { page } = opened;
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
  await page.locator("#timing-chart").scrollIntoViewIfNeeded();
  await page.locator("#timing-sentence").waitFor();
  await page.getByText("The figures").last().click();
  for (const shape of ["256 × 256", "64 × 64"]) {
    await page.selectOption("#shape", { label: shape });
    await page.getByText("measuring…").waitFor();
    await page.getByText("measuring…").waitFor({ state: "hidden" });
    const rows = await Promise.all(
      (await page.locator("#timing-table tr").all()).map((row) => row.locator("th, td").allInnerTexts()),
    );
    const [m, units] = shape.split(" × ").map(Number);
    const seconds = new Map<string, number>();
    for (const [what, time, gbs] of rows) {
      const value = Number.parseFloat(time!) * (time!.endsWith("ms") ? 1e-3 : 1e-6);
      seconds.set(what!, value);
      const bytes = 4 * m! * units! * (what!.startsWith("forward") ? 2 : 3);
      expect(bytes / value / 1e9 / Number(gbs), `${what}: ${time}, ${gbs} GB/s`).toBeCloseTo(1, 1);
    }
    // What the engine of this browser validates: relaxed SIMD since Chrome 114.
    const ours = (pass: string) => seconds.get(`${pass}, wasm-norm (relaxed-simd)`)!;
    for (const pass of ["forward", "backward"]) {
      const ratio = seconds.get(`${pass}, plain JavaScript loops`)! / ours(pass);
      expect((await figure(page, `${pass}-ratio`)) / ratio).toBeCloseTo(1, 1);
      expect(ratio, pass).toBeGreaterThan(1);
    }
  }
  expect(await page.locator("#variant").textContent()).toBe("relaxed-simd");
  expect(opened.complaints).toEqual([]);
});
