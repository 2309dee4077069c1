import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readFile, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";
import { basename, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { EdgeRuntime } from "edge-runtime";
import { build } from "esbuild";
import { app } from "./app.js";
import { type Case, type Mode, type Proof, proofs } from "./case.js";
import { installed } from "./shell.js";

const WASM = ["simd.wasm", "relaxed-simd.wasm"];

/** Bundles `entry` as the platforms' own tools do: for `condition`, with .wasm files left as modules beside it. */
async function bundle(folder: string, entry: string, condition: string, external: (file: string) => string) {
  await build({
    absWorkingDir: folder,
    entryPoints: [entry],
    outfile: join(folder, "bundled.js"),
    bundle: true,
    format: "esm",
    conditions: [condition],
    plugins: [
      {
        name: "wasm-modules",
        setup({ onResolve }) {
          onResolve({ filter: /\.wasm(\?module)?$/ }, ({ path }) => ({
            path: external(basename(path)),
            external: true,
          }));
        },
      },
    ],
  });
  for (const file of WASM)
    await cp(join(folder, "node_modules/wasm-norm/dist/wasm", file), join(folder, file));
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

const config = (port: number, date: string) => `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .worker)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")]
);
const worker :Workerd.Worker = (
  modules = [
    (name = "bundled.js", esModule = embed "bundled.js"),
${WASM.map((file) => `    (name = "${file}", wasm = embed "${file}"),`).join("\n")}
  ],
  compatibilityDate = "${date}"
);
`;

/** A Worker keeps the globals of its compatibility date: FinalizationRegistry, for one, came in 2025. */
const DATES = ["2023-01-01", "2024-01-01", "2025-01-01", "2026-01-01"];
const NEWEST = DATES.at(-1)!;

async function workerd(
  condition: string,
  mode: Mode,
  date = NEWEST,
): Promise<{ proof?: Proof; message?: string }> {
  const folder = await app();
  await bundle(folder, "workerd.js", condition, (file) => `./${file}`);
  const port = await freePort();
  await writeFile(join(folder, "config.capnp"), config(port, date));
  const server = spawn(installed("@cloudflare/workerd-linux-64/bin/workerd"), ["serve", "config.capnp"], {
    cwd: folder,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const ended = once(server, "exit");
  try {
    for (let tries = 0; ; tries++) {
      try {
        return (await (await fetch(`http://127.0.0.1:${port}/?mode=${mode}`)).json()) as { proof: Proof };
      } catch (error) {
        if (tries === 100 || server.exitCode !== null) throw error;
        await sleep(100);
      }
    }
  } finally {
    server.kill();
    await ended;
  }
}

const proved = DATES.map((date) =>
  proofs("workerd", `workerd entry, precompiled, compatibility date ${date}`, async (mode) => {
    const { proof, message } = await workerd("workerd", mode, date);
    if (!proof) throw new Error(message);
    return proof;
  }),
);

/** Without the condition the worker gets the default entry, whose bytes workerd does not compile. */
const refused: Case = {
  where: "workerd",
  what: "default entry",
  async run() {
    const { message = "nothing was refused" } = await workerd("import", "plain");
    if (!/compiling WebAssembly is forbidden here.*give init a WebAssembly.Module/.test(message)) {
      throw new Error(`an error that says what to do was expected, got: ${message}`);
    }
    return "clear error";
  },
};

/** The bundle runs in the Edge Runtime's own globals; what its host makes of `?module` imports is made here. */
const edge = proofs("Edge Runtime", "edge-light entry, precompiled", async (mode) => {
  const folder = await app({
    "edge.js": `import * as wasmNorm from "wasm-norm";
import * as functional from "wasm-norm/functional";
import { prove } from "./proof.js";
addEventListener("fetch", (event) => event.respondWith(prove(wasmNorm, functional, "${mode}").then((proof) => Response.json(proof))));`,
  });
  await bundle(folder, "edge.js", "edge-light", (file) => file);
  const code = (await readFile(join(folder, "bundled.js"), "utf8")).replace(
    /import (\w+) from "(simd\.wasm)\?module";/,
    (_, name, file) => `const ${name} = modules["${file}"];`,
  );
  const bytes = await readFile(join(folder, "simd.wasm"));
  const runtime = new EdgeRuntime({
    extend: (context) => Object.assign(context, { modules: { "simd.wasm": new WebAssembly.Module(bytes) } }),
    initialCode: code,
  });
  return (await (await runtime.dispatchFetch("http://host/")).json()) as Proof;
});

/** The runtimes at a network's edge, which compile .wasm files before they start. */
export const edges: Case[] = [...proved, refused, edge];
