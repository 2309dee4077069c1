/** `wasm-norm/nats`: a collective over NATS, whose client is the caller's. */

import { Group } from "./collective/group.js";
import type { GroupOptions, Transport } from "./collective/types.js";
import { rangeError, read, readOptions, typeError } from "./errors.js";

export { CollectiveError, type CollectiveErrorCode } from "./collective/error.js";
export type { Group } from "./collective/group.js";
export type { Collective, GroupOptions } from "./collective/types.js";

/** What is used of a connection of `@nats-io/transport-node`, of `wsconnect` in a page, or of another client like them. */
export interface NatsConnectionLike {
  /** Sends a message to all who have subscribed to `subject`. */
  publish(subject: string, payload?: Uint8Array): void;
  /** Has `callback` called with each message to `subject`. */
  subscribe(
    subject: string,
    options: { callback: (error: Error | null, message: { data: Uint8Array }) => void },
  ): NatsSubscriptionLike;
  /** What the server said of itself, its limit for a message in bytes among it. */
  readonly info?: NatsServerInfoLike | undefined;
}

/** What is used of a subscription. */
export interface NatsSubscriptionLike {
  /** Ends it. */
  unsubscribe(): void;
}

/** What is used of what a server says of itself. */
export interface NatsServerInfoLike {
  /** The longest message that it takes, in bytes. */
  max_payload: number;
}

/** Which group, and who this is in it. */
export interface NatsCollectiveOptions extends GroupOptions {
  /** The name that all ranks share: letters, digits, `-`, `_`, and `.` between them. */
  group: string;
}

/** A server's limit, as it is unless set otherwise. */
const MAX_PAYLOAD = 1 << 20;

/**
 * A collective over NATS: all ranks publish and listen on the subject `wasm-norm.collective.<group>`. JetStream is not
 * needed. While the client reconnects calls wait, up to their deadline.
 *
 * @param connection stays the caller's, who closes it after `close()` of the collective
 * @throws TypeError, RangeError for a wrong argument
 */
export function natsCollective(connection: NatsConnectionLike, options: NatsCollectiveOptions): Group {
  const who = "natsCollective";
  const { group, ...rest } = readOptions(who, options, {
    group: undefined,
    rank: undefined,
    size: undefined,
    deadline: undefined,
    epoch: undefined,
  });
  if (typeof group !== "string") throw typeError(who, "group to be a string", group);
  if (!/^[\w-]+(\.[\w-]+)*$/.test(group)) {
    throw rangeError(who, "group to be of letters, digits, - and _, with dots between", group);
  }
  const usable = read(
    who,
    "connection",
    () => typeof connection.publish === "function" && typeof connection.subscribe === "function",
  );
  if (!usable) throw typeError(who, "a NATS connection", connection);
  const subject = `wasm-norm.collective.${group}`;
  let subscription: NatsSubscriptionLike | undefined;
  const transport: Transport = {
    send: (message) => connection.publish(subject, message),
    listen(listener) {
      subscription = connection.subscribe(subject, {
        callback: (error, message) => {
          if (!error) listener(message.data);
        },
      });
    },
    close: () => subscription?.unsubscribe(),
    get maxBytes() {
      return connection.info?.max_payload ?? MAX_PAYLOAD;
    },
  };
  return new Group(who, transport, rest as unknown as GroupOptions);
}
