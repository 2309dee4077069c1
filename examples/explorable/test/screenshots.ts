// Pictures of the parts as a reader may leave them: `npm run screenshots` those kept in screenshots/, and with a
// folder's name every part at both widths and in both themes.
import { mkdirSync } from "node:fs";
import type { Page } from "playwright-core";
import { choose, Explorable } from "./browser.ts";

const WIDTHS = [360, 1600];
const THEMES = ["light", "dark"] as const;
const PARTS = ["one-unit", "training", "gradient", "lab", "timing"];
const KEPT = [
  "one-unit-1600-light",
  "one-unit-360-dark",
  "training-1600-dark",
  "training-360-light",
  "gradient-1600-light",
  "timing-1600-dark",
];
const MARGIN = 24;

const folder = process.argv[2];
mkdirSync(folder ?? "screenshots", { recursive: true });

async function play(page: Page): Promise<void> {
  await choose(page, "weights", "trained");
  await page.locator("#weights-progress").waitFor();
  await page.locator("#weights-progress").waitFor({ state: "hidden" });
  await page.click("#second");
  await page.click("#undo");
  await choose(page, "arm", "control");
  await page.locator("#training").getByRole("button", { name: "Start", exact: true }).click();
  await page.locator("#training").getByRole("button", { name: "Run again" }).waitFor();
  await choose(page, "at", "undone");
  await page.locator("#timing-chart").scrollIntoViewIfNeeded();
  await page.locator("#timing-sentence").waitFor();
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  await page.waitForTimeout(300);
}

/** The part's heading, picture and text, with a margin. */
async function shoot(page: Page, part: string, path: string): Promise<void> {
  const clip = await page.evaluate(
    ([id, margin]) => {
      const boxes = [...document.querySelectorAll(`#${id} > :is(h2, figure, p:not(.sr-only))`)].map(
        (element) => element.getBoundingClientRect(),
      );
      const left = Math.max(0, Math.floor(Math.min(...boxes.map((box) => box.left))) - margin);
      const top = Math.floor(Math.min(...boxes.map((box) => box.top))) - margin;
      const right = Math.min(innerWidth, Math.max(...boxes.map((box) => box.right)) + margin);
      const bottom = Math.floor(Math.max(...boxes.map((box) => box.bottom))) + margin;
      return { x: left, y: top + scrollY, width: right - left, height: bottom - top };
    },
    [part, MARGIN] as const,
  );
  await page.screenshot({ path, clip, fullPage: true });
}

const explorable = await Explorable.serve();
try {
  for (const width of WIDTHS) {
    for (const theme of THEMES) {
      const { page, complaints } = await explorable.open(width, theme, true);
      await play(page);
      if (folder) await page.screenshot({ path: `${folder}/all-${width}-${theme}.png`, fullPage: true });
      for (const part of PARTS) {
        const name = `${part}-${width}-${theme}`;
        if (folder || KEPT.includes(name)) await shoot(page, part, `${folder ?? "screenshots"}/${name}.png`);
      }
      for (const complaint of complaints) console.error(width, theme, complaint);
      await page.context().close();
    }
  }
} finally {
  await explorable.close();
}
