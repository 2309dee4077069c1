// npm start: serves on PORT (3000) and HOST (127.0.0.1) rows of FEATURES numbers, with the statistics in STORE; with
// NATS_URL, shares them with the instances of the same GROUP.
import { buildService, LIMITS } from "./service.ts";
import { share } from "./sharing.ts";
import { Standardizer } from "./standardizer.ts";
import { Store } from "./store.ts";

const {
  PORT = "3000",
  HOST = "127.0.0.1",
  STORE = "statistics.db",
  GROUP = "default",
  NATS_URL,
} = process.env;
const features = Number(process.env.FEATURES);
if (!Number.isSafeInteger(features) || features < 1) throw new Error("FEATURES: how many numbers has a row?");

const store = new Store(STORE, features);
const standardizer = new Standardizer(store, features);
const limits = {
  ...LIMITS,
  request: Number(process.env.REQUEST_TIMEOUT ?? LIMITS.request),
  grace: Number(process.env.GRACE ?? LIMITS.grace),
};
const service = await buildService(standardizer, limits);
const unshare = NATS_URL ? await share(NATS_URL, GROUP, standardizer) : async () => {};

let ending = false;
async function end(): Promise<void> {
  if (ending) return;
  ending = true;
  await service.close();
  await unshare();
  store.close();
}
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, end);

console.log(await service.listen({ port: Number(PORT), host: HOST }));
