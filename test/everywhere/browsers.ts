import { app } from "./app.js";
import { type Case, proofs } from "./case.js";
import { visit } from "./chromium.js";

/** Headers of a page that may share memory. */
export const ISOLATED = {
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-embedder-policy": "require-corp",
};

const allowing = (sources: string) => ({
  "content-security-policy": `default-src 'self'; script-src ${sources}`,
});

const SURROUNDINGS: [string, Record<string, string>][] = [
  ["plain", {}],
  ["cross-origin isolated", ISOLATED],
  ["CSP with wasm-unsafe-eval", allowing("'self' 'wasm-unsafe-eval'")],
];

const shown = SURROUNDINGS.flatMap(([name, headers]) =>
  ["page", "worker"].map((realm) =>
    proofs("Chromium", `${realm}, ${name}`, async (mode) => {
      const proof = await visit({ folder: await app(), path: `${realm}.html?mode=${mode}`, headers });
      if (proof.isolated !== (headers === ISOLATED))
        throw new Error(`crossOriginIsolated is ${proof.isolated}`);
      return proof;
    }),
  ),
);

const hosted = proofs("Chromium", "page, binary fetched and given to init", async (mode) =>
  visit({ folder: await app(), path: `page.html?mode=${mode}&hosted` }),
);

/** Its global scope has no TextDecoder, URL, fetch, Response or performance. */
const worklet = proofs("Chromium", "AudioWorklet", async (mode) =>
  visit({ folder: await app(), path: `worklet.html?mode=${mode}` }),
);

const refused: Case[] = ["page", "worker"].map((realm) => ({
  where: "Chromium",
  what: `${realm}, CSP without wasm-unsafe-eval`,
  async run() {
    const proof = visit({
      folder: await app(),
      path: `${realm}.html?mode=plain`,
      headers: allowing("'self'"),
    });
    const message = await proof.then(
      () => "nothing was refused",
      (error: Error) => error.message,
    );
    if (
      !/compiling WebAssembly is forbidden here.*'wasm-unsafe-eval'.*Content-Security-Policy/.test(message)
    ) {
      throw new Error(`an error that says what to allow was expected, got: ${message}`);
    }
    return "clear error";
  },
}));

/** Chromium, without a bundler. */
export const browsers: Case[] = [...shown, hosted, worklet, ...refused];
