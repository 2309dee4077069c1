/** Copies of the package with threads, for tests: who takes which unit does not depend on how fast anyone runs. */
import { WORD } from "../../src/runtime/threads/control.js";
import { type Library, load, type Variant } from "../cases.js";

type Team = import("../../src/runtime/threads/team.js").Team;

export interface Threaded {
  library: Library;
  /** Has callers wait for the workers of a team that init started since. */
  follow(): void;
  /** Units that were not the caller's, so far. */
  joined(): number;
}

const add = Atomics.add;
/** Words of teams whose callers let others go first. */
const patient = new Map<Int32Array, { joined: number; seen: number; waitMs: number }>();

/** How long workers are waited for; no test asks whether it was long. */
const MOST_MS = 60_000;

/** Before the caller takes a job's first unit, others have taken half of them. */
Atomics.add = ((words: Int32Array, at: number, value: number) => {
  const team = at === WORD.next ? patient.get(words) : undefined;
  if (team && team.seen !== words[WORD.sequence]) {
    team.seen = words[WORD.sequence]!;
    // Of a job: kind, pass, units, limit.
    const units = words[WORD.job + 2]!;
    const half = words[WORD.job + 3]! > 1 ? Math.ceil(units / 2) : 0;
    const end = performance.now() + team.waitMs;
    while (Atomics.load(words, WORD.next) < half && performance.now() < end)
      Atomics.wait(words, WORD.pause, 0, 0.05);
    team.joined += Math.min(units, Atomics.load(words, WORD.next));
  }
  return add(words as Int32Array<ArrayBuffer>, at, value);
}) as typeof Atomics.add;

/** A fresh copy of the package, on `threads` threads; callers give workers `waitMs` to come first, and `claimMs` to end. */
export async function loadThreaded(
  variant: Variant,
  threads: number,
  options: object = {},
  claimMs = MOST_MS,
  waitMs = MOST_MS,
): Promise<Threaded> {
  const library = await load();
  const { LIMITS: limits } = await import("../../src/runtime/threads/limits.js");
  Object.assign(limits, { startMs: MOST_MS, claimMs, patienceMs: Number.POSITIVE_INFINITY });
  await library.init({ variant, threads, ...options });
  const { runtime } = await import("../../src/runtime/runtime.js");
  const count = { joined: 0, seen: 0, waitMs };
  const follow = () => {
    const { team } = runtime();
    if (team) patient.set((team as Team).words, count);
  };
  follow();
  return { library, follow, joined: () => count.joined };
}
