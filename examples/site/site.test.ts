// The site as it is published, in real Chromium. Needs a build.
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { AxeBuilder } from "@axe-core/playwright";
import { type Browser, chromium } from "playwright-core";
import serveHandler from "serve-handler";
import { pages } from "./pages.ts";

const site = fileURLToPath(new URL("../../build/site", import.meta.url));
let server: Server;
let browser: Browser;
let root: string;

before(async () => {
  server = createServer((request, response) => {
    void serveHandler(request, response, { public: site, cleanUrls: false });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  root = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu"],
  });
});
after(async () => {
  await browser.close();
  server.close();
});

async function open(out: string, width: number, colorScheme: "light" | "dark") {
  const context = await browser.newContext({ viewport: { width, height: 1000 }, colorScheme });
  const page = await context.newPage();
  const complaints: string[] = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(root) && !/^(data|blob):/.test(request.url()))
      complaints.push(request.url());
  });
  await page.goto(root + out);
  return { page, complaints };
}

const WIDTHS = [
  [360, "dark"],
  [1600, "light"],
] as const;

for (const { out, title } of pages()) {
  test(`${out}: at 360 and 1600 px, without complaint or sideways scrolling`, async () => {
    for (const [width, scheme] of WIDTHS) {
      const { page, complaints } = await open(out, width, scheme);
      assert.equal(await page.locator("h1").count(), 1);
      assert.equal(await page.locator('nav [aria-current="page"]').count(), title ? 1 : 0);
      const overflow = await page.evaluate(
        () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
      );
      assert.equal(overflow, 0);
      const shown = await page
        .locator("img")
        .evaluateAll((images) => images.every((image) => (image as HTMLImageElement).naturalWidth > 0));
      assert.ok(shown, "every picture is there");
      // Once a page, on the smaller screen: it takes seconds.
      if (width === 360) {
        const { violations } = await new AxeBuilder({ page }).analyze();
        assert.deepEqual(
          violations.map(({ id, nodes }) => `${id}: ${nodes[0]?.html}`),
          [],
        );
      }
      assert.deepEqual(complaints, []);
      await page.context().close();
    }
  });
}

test("the explorable and the reference work where they lie", async () => {
  const explorable = await open("explorable/index.html", 1600, "light");
  await explorable.page.waitForSelector("#unit-chart svg");
  assert.deepEqual(explorable.complaints, []);
  const reference = await open("reference/modules/index.html", 1600, "light");
  assert.ok((await reference.page.title()).includes("wasm-norm"));
  await reference.page.getByRole("link", { name: "BatchNorm", exact: true }).first().click();
  assert.ok(reference.page.url().includes("BatchNorm"));
});
