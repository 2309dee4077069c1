/** Why a collective call failed. */
export type CollectiveErrorCode =
  /** A rank was not there by the deadline. */
  | "timeout"
  /** A rank came with other features, another shape, step, operation or option. */
  | "mismatch"
  /** A rank speaks another version of the protocol. */
  | "version"
  /** A rank believes the group to be of another size. */
  | "size"
  /** A rank is in a later epoch: this process was left behind. */
  | "epoch"
  /** A second process took a rank within one epoch. */
  | "restarted"
  /** A rank finished a step that another gave up, or with other bytes. */
  | "diverged"
  /** The collective or its connection was closed. */
  | "closed";

/**
 * A call that all ranks make together, and that failed. Those who learn of one failure throw it with the same code and
 * ranks, and no result of that call was given.
 */
export class CollectiveError extends Error {
  /** "CollectiveError". */
  override readonly name = "CollectiveError";
  /** What went wrong. */
  readonly code: CollectiveErrorCode;
  /** The ranks that were missing, or that differ from the others; in ascending order. */
  readonly ranks: readonly number[];
  /** Which call of the epoch it was, from 0; NaN where it was none. */
  readonly step: number;

  constructor(code: CollectiveErrorCode, ranks: readonly number[], step: number, message: string) {
    super(message);
    this.code = code;
    this.ranks = ranks;
    this.step = step;
  }
}

/** `rank 2`, or `ranks 1, 2, 5`. */
export const nameRanks = (ranks: readonly number[]): string =>
  `${ranks.length === 1 ? "rank" : "ranks"} ${ranks.join(", ")}`;

/** The error of a group's call; `mismatch` is for who makes calls of a group's. */
export function failureOf(
  who: string,
  code: CollectiveErrorCode,
  ranks: readonly number[],
  step: number,
  { size, epoch, deadline }: { size: number; epoch: number; deadline: number },
): CollectiveError {
  const whose = ranks.length > 0 ? nameRanks(ranks) : "a rank beyond them";
  const what = {
    timeout: `bytes of all ${size} ranks within ${deadline} ms, got none of ${whose}`,
    mismatch: `the same call on all ${size} ranks, got another of ${whose}`,
    version: `messages of one version, got another's of ${whose}`,
    size: `a group of ${size} ranks, got another size of ${whose}`,
    epoch: `epoch ${epoch} on all ranks, got a later one`,
    restarted: `one process a rank within an epoch, got a second one of ${whose}`,
    diverged: `the same steps done on all ranks, got others of ${whose}`,
    closed: "a group that is open, got one that is closed",
  }[code];
  return new CollectiveError(code, ranks, step, `${who}: expected ${what} (step ${step})`);
}
