import { isUint8Array } from "../arrays.js";
import { rangeError, read, readFields, typeError } from "../errors.js";
import { Group } from "./group.js";
import type { GroupOptions, Transport } from "./types.js";

/** What there is of a MessagePort or a BroadcastChannel, a page's, a worker's or Node's. */
export interface Port {
  /** Sends. */
  postMessage(message: Uint8Array): void;
  /** Listens. */
  addEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  /** Listens no longer. */
  removeEventListener(type: "message", listener: (event: { data: unknown }) => void): void;
  /** Of a MessagePort, which delivers nothing before. */
  start?(): void;
  /** Ends it. */
  close(): void;
}

function transportOf(ports: readonly Port[]): Transport {
  let heard: ((event: { data: unknown }) => void) | undefined;
  return {
    send(message) {
      for (const port of ports) port.postMessage(message);
    },
    listen(listener) {
      heard = ({ data }) => {
        if (isUint8Array(data)) listener(data);
      };
      for (const port of ports) {
        port.addEventListener("message", heard);
        port.start?.();
      }
    },
    close() {
      for (const port of ports) {
        port.removeEventListener("message", heard!);
        port.close();
      }
    },
  };
}

/**
 * A collective between worker threads, or a page's workers.
 *
 * @param ports a list with a MessagePort to each other rank, in the order of ranks and null in this rank's own place, as
 *   `meshPorts` makes them; or one BroadcastChannel that all have opened by the same name. They are the collective's from
 *   then on: `close()` closes them
 * @throws TypeError, RangeError for a wrong argument
 */
export function portCollective(ports: readonly (Port | null)[] | Port, options: GroupOptions): Group {
  const who = "portCollective";
  const list = read(who, "ports", () => (Array.isArray(ports) ? (Array.from(ports) as unknown[]) : [ports]));
  const { rank, size } = readFields(who, options, { rank: undefined, size: undefined });
  if (Array.isArray(ports) && list.length !== size) {
    throw rangeError(who, `${size} ports, this rank's own null,`, ports);
  }
  const others = list.filter((_, at) => !Array.isArray(ports) || at !== rank);
  for (const port of others) {
    if (typeof (port as Port | null)?.addEventListener !== "function") {
      throw typeError(who, "a MessagePort for each other rank, or a BroadcastChannel", port);
    }
  }
  return new Group(who, transportOf(others as Port[]), options);
}

/**
 * A channel between each two of `size` ranks: the ports of each rank, to transfer to its worker and give to
 * `portCollective` there.
 */
export function meshPorts(size: number): (MessagePort | null)[][] {
  const ports = Array.from({ length: size }, () => new Array<MessagePort | null>(size).fill(null));
  for (let a = 0; a < size; a++) {
    for (let b = 0; b < a; b++) {
      const { port1, port2 } = new MessageChannel();
      ports[a]![b] = port1;
      ports[b]![a] = port2;
    }
  }
  return ports;
}
