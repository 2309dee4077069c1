/** Part 4, networks that others trained: its figures against the package's in Node, and a checkpoint of one's own. */
import { readFileSync } from "node:fs";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { BatchNorm } from "wasm-norm";
import { identityReport } from "wasm-norm/analysis";
import { saveSafetensors } from "wasm-norm/safetensors";
import { unpack } from "../../real-networks/unpack.ts";
import { Explorable, type Opened } from "./browser.ts";

let explorable: Explorable;
let opened: Opened;
let page: Page;
beforeAll(async () => {
  explorable = await Explorable.serve();
  opened = await explorable.open(360, "dark");
  page = opened.page;
  await page.waitForSelector("#trained-chart svg circle");
});
afterAll(() => explorable.close());

const value = async (id: string) => Number(await page.locator(`#${id}`).getAttribute("value"));
const results = (id: string) =>
  JSON.parse(readFileSync(new URL(`../../real-networks/results/${id}.layers.json`, import.meta.url), "utf8"));

describe("networks that others trained", () => {
  test("show the package's own figures, layer by layer from the keyboard", async () => {
    const { all, layers } = identityReport(unpack(results("mobilenet_v2")));
    expect(await value("real-all")).toBe(all.within);
    expect(await value("real-all-dealt")).toBe(all.dealt.mean);
    await page.locator("#layer").focus();
    await page.keyboard.press("Home");
    await page.keyboard.press("ArrowRight");
    expect(await value("real-units")).toBe(layers[1]!.measured);
    expect(await value("real-dealt")).toBe(layers[1]!.dealt.mean);
    await expect.poll(() => page.locator("#trained-chart circle").count()).toBe(layers[1]!.measured + 1);
    expect(await page.locator("#dealt-chart circle").count()).toBe(layers[1]!.measured + 1);
  });

  test("another network, played through its depth to the end", async () => {
    await page.locator("#network").selectOption("SSD MobileNetV1");
    await expect.poll(() => value("real-all")).toBe(10);
    await page.locator("#layer").press("End");
    await page.locator("#layer").press("ArrowLeft");
    await page.locator("#play").click();
    await expect.poll(() => page.locator("#layer").inputValue()).toBe("12");
    await expect.poll(() => page.locator("#play").textContent()).toBe("Play");
  });

  test("a checkpoint of one's own is read here, and what cannot be read says why", async () => {
    const layer = new BatchNorm(4);
    layer.recoverIdentity("running");
    const file = (buffer: Uint8Array) => ({
      name: "own.safetensors",
      mimeType: "application/octet-stream",
      buffer: Buffer.from(buffer),
    });
    const state = Object.entries(layer.stateDict()).map(([key, entry]) => [`bn1.${key}`, entry]);
    await page.locator("#checkpoint").setInputFiles(file(saveSafetensors(Object.fromEntries(state))));
    await expect.poll(() => value("real-all-units")).toBe(4);
    expect(await value("real-all")).toBe(4);
    expect(await page.locator("#layer-name").textContent()).toContain("bn1");
    await page.locator("#checkpoint").setInputFiles(file(new Uint8Array(3)));
    await expect.poll(() => page.locator("#real-limits").textContent()).toMatch(/expected a file of 8 bytes/);
    expect(opened.outside).toEqual([]);
    expect(opened.complaints).toEqual([]);
  });
});
