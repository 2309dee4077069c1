// Pictures of every part at both widths and in both themes: `npm run screenshots [folder]`.
import { mkdirSync } from "node:fs";
import { Explorable } from "./browser.ts";

const folder = process.argv[2] ?? "screenshots";
mkdirSync(folder, { recursive: true });

const explorable = await Explorable.serve();
try {
  for (const width of [360, 1600]) {
    for (const theme of ["light", "dark"] as const) {
      const { page, complaints } = await explorable.open(width, theme, true);
      await page.click("#second");
      await page.locator("#gamma").fill("2.4");
      await page.selectOption("#rate", "0.3");
      await page.click("#run");
      await page.getByText("epoch 30 of 30").waitFor({ timeout: 60_000 });
      await page.locator("#timing-chart").scrollIntoViewIfNeeded();
      await page.locator("#timing-sentence").waitFor({ timeout: 60_000 });
      await page.waitForTimeout(300);
      for (const part of ["header", "#one-unit", "#training", "#gradient", "#timing"]) {
        await page
          .locator(part)
          .screenshot({ path: `${folder}/${part.replace("#", "")}-${width}-${theme}.png` });
      }
      if (complaints.length) console.log(width, theme, complaints);
      await page.context().close();
    }
  }
} finally {
  await explorable.close();
}
