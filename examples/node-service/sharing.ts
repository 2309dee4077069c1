// Several instances over NATS: each says its own statistics when they have changed, when another asks, and every now and
// then, since a message may be lost.
import { connect } from "@nats-io/transport-node";
import type { Standardizer } from "./standardizer.ts";
import { readScaler } from "./store.ts";

const EVERY = 1000;
/** Changes that come within as many milliseconds are said together. */
const TOGETHER = 20;

/** Shares a standardizer's statistics; returns what ends it. */
export async function share(
  url: string,
  group: string,
  standardizer: Standardizer,
): Promise<() => Promise<void>> {
  const connection = await connect({
    servers: url,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    waitOnFirstConnect: true,
    noEcho: true,
  });
  const subject = `wasm-norm.standardizer.${group}`;
  let soon: NodeJS.Timeout | undefined;
  const say = () => {
    const { instance, version, scaler } = standardizer.own;
    soon = undefined;
    if (version > 0) connection.publish(subject, JSON.stringify({ instance, version, scaler }));
  };
  standardizer.onChange = () => {
    soon ??= setTimeout(say, TOGETHER);
  };
  connection.subscribe(subject, {
    callback: (error, message) => {
      if (error) return;
      try {
        const { instance, version, scaler } = message.json<Record<string, unknown>>();
        if (typeof instance !== "string" || typeof version !== "number" || !Number.isSafeInteger(version))
          return;
        standardizer.hear({ instance, version, scaler: readScaler(scaler, standardizer.features) });
      } catch {
        // Not one of this service's messages, or of another number of features: nothing changes.
      }
    },
  });
  connection.subscribe(`${subject}.ask`, { callback: say });
  connection.publish(`${subject}.ask`);
  const often = setInterval(say, EVERY);
  return async () => {
    clearInterval(often);
    clearTimeout(soon);
    say();
    await connection.drain();
  };
}
