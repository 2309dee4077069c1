/**
 * The calling thread and its workers: a job's units are claimed by whoever is free, the caller does those of workers that are lost.
 *
 * That a worker has ended cannot be seen before the call returns. So one that has not ended a unit in time is told to end, and given a
 * moment to notice, as engines do at every turn of a loop; what it was about to overwrite is put back, and the caller does the unit.
 * What is not ruled out: a worker that the system has not run for all of that time, amid a turn, ends that turn later. It stores
 * two vectors then: out of place the values that stand there, unless the caller has since used the memory for others.
 */
import type { Runtime } from "../instance.js";
import {
  asleepOf,
  CLAIMED,
  DONE,
  FREE,
  goneOf,
  type Job,
  KEPT,
  newJob,
  ownerOf,
  stateOf,
  WORD,
  WORDS,
  wordOf,
  writeJob,
} from "./control.js";
import { LIMITS } from "./limits.js";
import type { Hand } from "./spawn.js";
import { keepUnit, runUnit } from "./unit.js";

/** Values for which another thread is worth waking. */
const SHARE = 32_768;

/** Whether this thread may wait: a page's main one may not. */
function canWait(words: Int32Array): boolean {
  try {
    Atomics.wait(words, WORD.pause, 0, 0);
    return true;
  } catch {
    return false;
  }
}

export class Crew {
  readonly words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  readonly job: Job = newJob();
  /** Why there are fewer threads than asked for. */
  reason: string | undefined;
  readonly #held: Runtime;
  readonly #waits: boolean;
  /** By index; undefined where one is lost, and for the caller. */
  readonly #hands: (Hand | undefined)[] = [undefined];
  #alive = 0;
  #sequence = 0;
  /** Calls that are done alone, and how many that is next time. */
  #alone = 0;
  #penalty = 0;
  /** Milliseconds that workers saved, and units of the job that the caller did. */
  #balance = 0;
  #own = 0;
  /** What a unit threw. */
  #failure: unknown;

  constructor(held: Runtime) {
    this.#held = held;
    this.#waits = canWait(this.words);
  }

  get threads(): number {
    return 1 + this.#alive;
  }

  /** Threads that may want a part of the workspace: those that are lost keep theirs. */
  get places(): number {
    return this.#hands.length;
  }

  /** A number for a worker that is about to start. */
  reserve(): number {
    return this.#hands.push(undefined) - 1;
  }

  /** Takes in a worker that has reported. */
  add(worker: number, hand: Hand): void {
    this.#hands[worker] = hand;
    this.#alive++;
    hand.onGone(() => this.lose(worker, "a worker ended"));
  }

  /** Has no more to do with a worker. */
  lose(worker: number, why: string): void {
    const hand = this.#hands[worker];
    if (!hand) return;
    this.#hands[worker] = undefined;
    this.#alive--;
    this.reason = why;
    void hand.end();
  }

  /** Ends all workers. */
  async end(): Promise<void> {
    const { words } = this;
    const hands = this.#hands.splice(1);
    this.#alive = 0;
    Atomics.store(words, WORD.stop, 1);
    Atomics.store(words, WORD.sequence, ++this.#sequence | 0);
    for (let worker = 1; worker <= hands.length; worker++) this.#wake(worker);
    await Promise.all(hands.map((hand) => hand?.end()));
  }

  /** Whether a job may be shared now. */
  isReady(): boolean {
    if (this.#alive === 0) return false;
    return this.#alone === 0 || this.#alone-- < 0;
  }

  /** Runs a job with as many threads as it is worth. */
  run(kind: number, pass: number, units: number, values: number): void {
    const { words, job } = this;
    const sequence = (this.#sequence = (this.#sequence + 1) | 0);
    job.kind = kind;
    job.pass = pass;
    job.units = units;
    job.limit = this.#limit(Math.min(units, Math.ceil(values / SHARE)) - 1);
    words.fill(wordOf(sequence, 0, FREE), WORD.units, WORD.units + units);
    writeJob(words, job);
    Atomics.store(words, WORD.next, 0);
    Atomics.store(words, WORD.sequence, sequence);
    for (let worker = 1; worker < job.limit; worker++) this.#wake(worker);
    this.#own = 0;
    const start = performance.now();
    for (let i = 0; (i = Atomics.add(words, WORD.next, 1)) < units; ) this.#claim(i);
    const ready = performance.now();
    for (let i = 0; i < units; i++) this.#settle(i);
    this.#judge(units, ready - start, performance.now() - ready);
    // Not before all others are through.
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /**
   * Keeps account of the time that workers save, against what the caller's own units took, and that it waits for them. Where they
   * have no core of their own it may wait for milliseconds: once more than patience is lost, calls are done alone, 16 and then
   * twice as many each time.
   */
  #judge(units: number, worked: number, waited: number): void {
    const saved = this.#own > 0 ? (worked / this.#own) * (units - this.#own) : 0;
    const { patienceMs } = LIMITS;
    this.#balance = Math.min(patienceMs, this.#balance + saved - waited);
    if (this.#balance === patienceMs) this.#penalty = 0;
    else if (this.#balance < -patienceMs) {
      this.#balance = 0;
      this.#alone = this.#penalty = Math.min(1024, this.#penalty * 2 || 16);
    }
  }

  /** The index behind the last of `wanted` workers. */
  #limit(wanted: number): number {
    let worker = 1;
    for (; worker < this.#hands.length && wanted > 0; worker++) if (this.#hands[worker]) wanted--;
    return worker;
  }

  #wake(worker: number): void {
    const asleep = asleepOf(worker);
    if (Atomics.compareExchange(this.words, asleep, 1, 0) === 1) Atomics.notify(this.words, asleep);
  }

  /** Does a unit, if it is free. */
  #claim(i: number): void {
    const at = WORD.units + i;
    const claimed = wordOf(this.#sequence, 0, CLAIMED);
    const free = wordOf(this.#sequence, 0, FREE);
    if (Atomics.compareExchange(this.words, at, free, claimed) === free) this.#do(i);
  }

  #do(i: number): void {
    this.#own++;
    try {
      runUnit(this.#held.kernels, this.job, i, 0);
    } catch (error) {
      this.#failure ??= error;
    }
    Atomics.store(this.words, WORD.units + i, wordOf(this.#sequence, 0, DONE));
  }

  /** Waits until a unit is done, or does it where its owner is lost. */
  #settle(i: number): void {
    const { words } = this;
    const at = WORD.units + i;
    let word = Atomics.load(words, at);
    if (stateOf(word) === DONE) return;
    const start = performance.now();
    for (let round = 1; stateOf(word) !== DONE; round++) {
      if (stateOf(word) === FREE) this.#claim(i);
      else if (Atomics.load(words, goneOf(ownerOf(word)))) this.#redo(i, word, "a worker ended");
      else if (round % 64 === 0) {
        const waited = performance.now() - start;
        if (waited > LIMITS.claimMs) this.#redo(i, word, "a worker did not end its work");
        else if (waited > LIMITS.lookMs) this.#pause(0.05);
      }
      word = Atomics.load(words, at);
    }
  }

  /** Takes a unit from a worker that is lost, puts back what it may have overwritten, and does it. */
  #redo(i: number, word: number, why: string): void {
    const { words } = this;
    const claimed = wordOf(this.#sequence, 0, CLAIMED);
    // It may just have gone on.
    if (Atomics.compareExchange(words, WORD.units + i, word, claimed) !== word) return;
    const worker = ownerOf(word);
    this.lose(worker, why);
    const end = performance.now() + LIMITS.graceMs;
    while (!Atomics.load(words, goneOf(worker)) && performance.now() < end) this.#pause(1);
    if (stateOf(word) === KEPT) {
      const { buffer } = this.#held.u32;
      keepUnit(new Uint8Array(buffer), this.job, i, worker, true);
    }
    this.#do(i);
  }

  #pause(ms: number): void {
    if (this.#waits) Atomics.wait(this.words, WORD.pause, 0, ms);
  }
}
