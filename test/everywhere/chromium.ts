import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { type Browser, chromium } from "playwright-core";
import type { Proof } from "./case.js";

const TYPES: Record<string, string> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
};

/** Flags for a machine without a display, a sandbox of its own or a way out. */
const FLAGS = [
  ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"],
  ...["--disable-background-networking", "--disable-component-update", "--disable-sync"],
];

let browser: Promise<Browser> | undefined;

const launched = () =>
  (browser ??= chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS }));

export const closeBrowser = async () => (await browser)?.close();

/** Serves `folder` on loopback, every answer with `headers`. */
async function serve(folder: string, headers: Record<string, string>): Promise<Server> {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url!, "http://host").pathname));
    try {
      const body = await readFile(join(folder, path));
      response.writeHead(200, {
        "content-type": TYPES[extname(path)] ?? "application/octet-stream",
        ...headers,
      });
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

export interface Visit {
  folder: string;
  path: string;
  headers?: Record<string, string>;
}

/** Opens a page, whose script sets `result` to a promise of a proof, and awaits that. */
export async function visit({ folder, path, headers = {} }: Visit): Promise<Proof & { isolated: boolean }> {
  const server = await serve(folder, headers);
  const page = await (await launched()).newPage();
  const said: string[] = [];
  page.on("console", (message) => said.push(message.text()));
  page.on("pageerror", (error) => said.push(error.message));
  try {
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/${path}`);
    const proof = await page.evaluate(async () => {
      const { result } = globalThis as unknown as { result?: Promise<Proof> };
      return result && { ...(await result), isolated: crossOriginIsolated };
    });
    if (!proof) throw new Error("the page gave no result");
    return proof;
  } catch (error) {
    throw new Error([(error as Error).message, ...said].join("\n"));
  } finally {
    await page.close();
    server.closeAllConnections();
    server.close();
  }
}
