/**
 * What the calling thread and its workers share beside linear memory: a buffer of 32-bit words, of its own, so that no stray write
 * through a Tensor's view reaches it.
 *
 *      0 │ sequence: which job this is                            │
 *      8 │ the job: see `Job`                                     │
 *     32 │ next: the unit that is likely free                     │
 *     64 │ worker 0: asleep, gone │ worker 1 …   a cache line each │
 *   1088 │ unit 0 │ unit 1 │ …    `sequence << 8 | owner << 2 | state`
 *
 * The caller writes all units anew, then the job, then the sequence. Whoever wants a unit changes its word from free to claimed
 * with a single compareExchange, which fails unless the job is the one that was read.
 */

/** Threads at most, the caller included: an owner has six bits. */
export const MOST_THREADS = 64;

/** Units of a job at most: tiles have some 64 k values, and memory 2^30. */
export const MOST_UNITS = 32_768;

/** What a worker says once it is about to look for jobs. */
export const READY = "wasm-norm: ready";

/** Word offsets. */
export const WORD = {
  sequence: 0,
  /** Not 0: workers are to end. */
  stop: 1,
  /** Always 0: who waits for it only passes time. */
  pause: 2,
  job: 8,
  next: 32,
  workers: 64,
  units: 64 + 16 * MOST_THREADS,
} as const;

/** Words of a worker. */
const PER_WORKER = 16;
/** 1 while it sleeps. */
export const asleepOf = (worker: number): number => WORD.workers + PER_WORKER * worker;
/** 1 once it has ended by itself. */
export const goneOf = (worker: number): number => asleepOf(worker) + 1;

/** States of a unit. */
export const FREE = 0;
/** Its owner has not yet overwritten anything that another would need. */
export const CLAIMED = 1;
/** What its owner overwrites is kept: see unit.ts. */
export const KEPT = 2;
export const DONE = 3;

/** A unit's word. The caller is owner 0. */
export const wordOf = (sequence: number, owner: number, state: number): number =>
  (sequence << 8) | (owner << 2) | state;
export const stateOf = (word: number): number => word & 3;
export const ownerOf = (word: number): number => (word >>> 2) & 63;

/** Words of the buffer. */
export const WORDS = WORD.units + MOST_UNITS;

/** What a job does: a phase of the kernels (0 to 3), a stage, or whole rows' tiles with the stages around them. */
export const KIND = { before: 4, after: 5, beforeBackward: 6, afterBackward: 7, around: 8 } as const;

/** A job, in the order of its words. */
const FIELDS = [
  "kind",
  "pass",
  "units",
  /** Workers from this index on do not join. */
  "limit",
  /** Of stages: all rows, and those of a unit. */
  "rows",
  "unitRows",
  /** Around tiles: 1 with a stream before, 2 with stages after. */
  "stages",
  /** Where what is overwritten is kept, so many bytes for each thread; 0: nothing has to be. */
  "keep",
  "keepBytes",
  /** Of linear memory: a worker's view may be older. */
  "pages",
  /** Up to three minibatches that are overwritten; 0: none. */
  "base0",
  "base1",
  "base2",
  /** Where a unit lies in them: see `piecesOf` in unit.ts. */
  "perExample",
  "exampleBytes",
  "unitBytes",
  "blocks",
  "apart",
] as const;

export type Job = { [name in (typeof FIELDS)[number]]: number };

export const newJob = (): Job => Object.fromEntries(FIELDS.map((name) => [name, 0])) as Job;

export function writeJob(words: Int32Array, job: Job): void {
  for (let i = 0; i < FIELDS.length; i++) words[WORD.job + i] = job[FIELDS[i]!];
}

/** All are addresses, bytes and counts: none is negative. */
export function readJob(words: Int32Array, job: Job): void {
  for (let i = 0; i < FIELDS.length; i++) job[FIELDS[i]!] = words[WORD.job + i]! >>> 0;
}
