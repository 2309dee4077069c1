import { app } from "./app.js";
import { ISOLATED } from "./browsers.js";
import { bundled, bundlerNames } from "./bundlers.js";
import type { Case, Proof } from "./case.js";
import { visit } from "./chromium.js";
import { installed, sh } from "./shell.js";

/** Runs programs/proof.js in mode "threads"; `reason` is why there is one thread, where there is. */
const threads = (where: string, what: string, prove: () => Promise<Proof>, reason?: RegExp): Case => ({
  where,
  what: `threads, ${what}`,
  async run() {
    const { threads, threadsReason = "" } = await prove();
    const got = `${threads} threads, ${threadsReason || "no reason"}`;
    if (threads !== (reason ? 1 : 3) || !(reason ?? /^$/).test(threadsReason))
      throw new Error(`${reason ? "one thread and why" : "three threads"} expected, got ${got}`);
    return reason ? "one thread, says why" : "three threads";
  },
});

const parse = (output: string): Proof => JSON.parse(output.trim());
const DENO = ["run", "--quiet", "--no-remote", "--node-modules-dir=manual", "--allow-read"];

const servers = [
  ...[20, 22, 24, 26].map((version) => [`Node ${version}`, `node-${version}/bin/node`, []] as const),
  ["Deno", "@deno/linux-x64-glibc/deno", DENO] as const,
  ["Bun", "@oven/bun-linux-x64/bin/bun", []] as const,
].flatMap(([where, program, options]) =>
  ["main thread", "worker"].map((thread) =>
    threads(where, thread, async () =>
      parse(await sh(installed(program), [...options, "node.js", "threads", thread], await app())),
    ),
  ),
);

const pages = ["page", "worker"].flatMap((realm) => {
  const prove = (headers?: Record<string, string>) => async () =>
    visit({ folder: await app(), path: `${realm}.html?mode=threads`, ...(headers && { headers }) });
  return [
    threads("Chromium", `${realm}, cross-origin isolated`, prove(ISOLATED)),
    threads("Chromium", `${realm}, not isolated`, prove(), /not cross-origin isolated/),
  ];
});

const bundles = bundlerNames.map((where) =>
  threads(where, "default configuration, isolated page in Chromium", async () =>
    visit({ folder: await bundled(where), path: "index.html?mode=threads", headers: ISOLATED }),
  ),
);

/** Several threads on everything that has any. */
export const threaded: Case[] = [...servers, ...pages, ...bundles];
