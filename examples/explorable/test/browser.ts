// The built page in real Chromium, from a server of its own: what a reader gets.
import { existsSync } from "node:fs";
import { type Browser, chromium, type Page } from "playwright-core";
import { type PreviewServer, preview } from "vite";

/** Debian's package, or where CHROMIUM says. */
const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";

export interface Opened {
  page: Page;
  /** Errors and warnings of the console, and exceptions nobody caught. */
  complaints: string[];
  /** Addresses asked for that are not the server's own. */
  outside: string[];
}

export class Explorable {
  private constructor(
    readonly url: string,
    private readonly server: PreviewServer,
    private readonly browser: Browser,
  ) {}

  static async serve(): Promise<Explorable> {
    if (!existsSync(executablePath))
      throw new Error(`expected Chromium at ${executablePath} (or in CHROMIUM)`);
    const server = await preview({
      root: new URL("..", import.meta.url).pathname,
      // Not at the root: the built page must work under any path.
      base: "/some/path/",
      preview: { port: 0, open: false },
      logLevel: "warn",
    });
    const browser = await chromium.launch({
      executablePath,
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
    });
    return new Explorable(server.resolvedUrls!.local[0]!, server, browser);
  }

  /** `address`: a query or anchor behind the page's own. */
  async open(
    width: number,
    colorScheme: "light" | "dark",
    reducedMotion = false,
    address = "",
  ): Promise<Opened> {
    const context = await this.browser.newContext({
      viewport: { width, height: width < 500 ? 800 : 1000 },
      colorScheme,
      reducedMotion: reducedMotion ? "reduce" : "no-preference",
    });
    const page = await context.newPage();
    const complaints: string[] = [];
    const outside: string[] = [];
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("request", (request) => {
      const address = request.url();
      if (!address.startsWith(this.url) && !/^(data|blob):/.test(address)) outside.push(address);
    });
    await page.goto(this.url + address);
    await page.waitForSelector("#scatter-chart svg");
    await page.waitForSelector("#timing-chart svg");
    await page.waitForSelector("#dealt-chart circle:nth-of-type(2)", { state: "attached" });
    return { page, complaints, outside };
  }

  async close(): Promise<void> {
    await this.browser.close();
    await this.server.close();
  }
}

/** A figure of the text as the page holds it, not as it rounds it. */
export async function figure(page: Page, id: string): Promise<number> {
  return Number(await page.locator(`#${id}`).getAttribute("value"));
}

/** Chooses a radio button by the keyboard, as its label is read. */
export async function choose(page: Page, name: string, value: string): Promise<void> {
  await page.locator(`input[name="${name}"][value="${value}"]`).focus();
  await page.keyboard.press("Space");
}
