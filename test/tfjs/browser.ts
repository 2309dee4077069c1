/** Vite and Chromium: the page in page/, built with the package as it would be published. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import type { OutgoingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { type Browser, chromium, type Page as Tab } from "playwright-core";
import { build, type PreviewServer, preview } from "vite";
import type { Page } from "./page/page.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const sh = promisify(execFile);

/** Flags for a machine without a display, a sandbox of its own or a way out. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

/** What gives a page shared memory, and with it tfjs's threaded build. */
const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

/** @returns a folder outside the project, in which nothing resolves but the packed package and TensorFlow.js */
async function app(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "wasm-norm-tfjs-"));
  const npm = (...args: string[]) => sh("npm", [...args, "--silent"], { cwd: folder });
  await cp(join(HERE, "page"), folder, { recursive: true });
  await writeFile(
    join(folder, "package.json"),
    JSON.stringify({ name: "app", private: true, type: "module" }),
  );
  await mkdir(join(folder, "packed"));
  await npm("pack", join(HERE, "../.."), "--pack-destination", "packed");
  const [tarball] = await readdir(join(folder, "packed"));
  await npm("install", "--no-audit", "--no-fund", "--offline", join(folder, "packed", tarball!));
  await symlink(join(HERE, "node_modules/@tensorflow"), join(folder, "node_modules/@tensorflow"));
  return folder;
}

export interface Chromium {
  /** Calls a function of the page. */
  call<N extends keyof Page>(name: N, ...args: Parameters<Page[N]>): Promise<Awaited<ReturnType<Page[N]>>>;
  /** Whether the page may share memory. */
  isolated(): Promise<boolean>;
}

/** Builds the page, and opens it twice: as any page, and cross-origin isolated. */
export async function open(): Promise<{ plain: Chromium; isolated: Chromium; close(): Promise<void> }> {
  const folder = await app();
  const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: FLAGS,
  });
  const servers: PreviewServer[] = [];
  const serve = async (outDir: string, minify: boolean, headers: OutgoingHttpHeaders) => {
    const config = { root: folder, logLevel: "error", build: { outDir, minify } } as const;
    await build(config);
    servers.push(await preview({ ...config, preview: { host: "127.0.0.1", port: 0, headers } }));
    return visit(browser, (servers.at(-1)!.httpServer.address() as AddressInfo).port);
  };
  const close = async () => {
    await browser.close();
    await Promise.all(servers.map((server) => server.close()));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const plain = await serve("plain", true, {});
    // tfjs gives its threads its own source, in which minifying renames what they look for: they wait forever.
    return { plain, isolated: await serve("isolated", false, ISOLATED), close };
  } catch (error) {
    await close();
    throw error;
  }
}

async function visit(browser: Browser, port: number): Promise<Chromium> {
  const tab: Tab = await browser.newPage();
  const said: string[] = [];
  tab.on("console", (message) => said.push(message.text()));
  tab.on("pageerror", (error) => said.push(error.message));
  await tab.goto(`http://127.0.0.1:${port}/`);
  return {
    isolated: () => tab.evaluate(() => crossOriginIsolated),
    async call(name, ...args) {
      try {
        return (await tab.evaluate(
          ([name, args]) => {
            const { page } = globalThis as unknown as {
              page: Record<string, (...args: unknown[]) => unknown>;
            };
            return page[name]!(...args);
          },
          [name, args] as const,
        )) as never;
      } catch (error) {
        throw new Error([(error as Error).message, ...said].join("\n"));
      }
    },
  };
}
