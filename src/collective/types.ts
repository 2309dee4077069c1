import { checkInteger, rangeError, readFields, typeError } from "../errors.js";

/** A group of processes, threads or pages that make the same calls in the same order. */
export interface Collective {
  /** Which of them this is, from 0. */
  readonly rank: number;
  /** How many there are. */
  readonly size: number;
  /** Gives every rank the bytes of every rank, in the order of ranks; all of them call it. */
  allGather(bytes: Uint8Array): Promise<Uint8Array[]>;
}

/** A way to reach all other ranks. Messages may be lost, repeated, damaged or out of order. */
export interface Transport {
  /** Sends a message to all other ranks. @throws where that will never be possible again */
  send(message: Uint8Array): void;
  /** Has `listener` called with each message; called once. It may be one of this rank's own. */
  listen(listener: (message: Uint8Array) => void): void;
  /** Stops listening. */
  close(): void;
  /** The longest message that fits; default unlimited. */
  readonly maxBytes?: number;
}

/** Who this is in which group. */
export interface GroupOptions {
  /** Which of the ranks this is, from 0. */
  rank: number;
  /** How many ranks there are. */
  size: number;
  /** Milliseconds after which a call fails that a rank does not answer; default 10,000. */
  deadline?: number | undefined;
  /**
   * Which run of the group this is, the same on all ranks; default 0. A process that was started again cannot go on
   * where the one before it ended: all ranks then begin a new, higher epoch.
   */
  epoch?: number | undefined;
}

/** @throws TypeError, RangeError unless `value` can be used as a collective */
export function checkCollective(who: string, value: unknown): Collective {
  const o = readFields(who, value, { rank: undefined, size: undefined, allGather: undefined });
  if (typeof o.allGather !== "function")
    throw typeError(who, "collective with rank, size and allGather", value);
  const size = checkInteger(who, "collective.size", o.size, 1);
  const rank = checkInteger(who, "collective.rank", o.rank, 0);
  if (rank >= size) throw rangeError(who, `collective.rank below its size ${size}`, rank);
  return value as Collective;
}
