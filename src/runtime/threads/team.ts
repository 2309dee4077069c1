/** The calling thread's side: cuts passes into units, does units itself, and does those of workers that are lost. */
import { FIELD, PHASE, STEP } from "../../engine/pass.js";
import type { Runtime, Team as Threads } from "../instance.js";
import { PAGE } from "../memory.js";
import {
  asleepOf,
  CLAIMED,
  DONE,
  FREE,
  goneOf,
  type Job,
  KEPT,
  KIND,
  MOST_UNITS,
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
import { keepUnit, mostBytes, runUnit } from "./unit.js";

/** Values for which another thread is worth waking. */
const SHARE = 32_768;
/** Values of a stage's unit. */
const STAGE = 65_536;
/** The runtime's workspace for what is kept. */
const KEEP_SLOT = 2;

type Stage = "before" | "after" | "beforeBackward" | "afterBackward";

/** Whether this thread may wait: a page's main one may not. */
function canWait(words: Int32Array): boolean {
  try {
    Atomics.wait(words, WORD.pause, 0, 0);
    return true;
  } catch {
    return false;
  }
}

export class Team implements Threads {
  readonly words = new Int32Array(new SharedArrayBuffer(4 * WORDS));
  /** Why there are fewer threads than asked for. */
  reason: string | undefined;
  readonly #held: Runtime;
  readonly #job: Job = newJob();
  readonly #waits: boolean;
  /** By index; undefined where one is lost, and for the caller. */
  readonly #hands: (Hand | undefined)[] = [undefined];
  #alive = 0;
  #sequence = 0;
  /** Calls that are done alone, and how many that is next time. */
  #alone = 0;
  #penalty = 0;
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

  forward(pass: number): boolean {
    return this.#pass(pass, false);
  }

  backward(pass: number): boolean {
    return this.#pass(pass, true);
  }

  around(pass: number, rows: number, stream: boolean, after: boolean): boolean {
    const units = this.#get(pass, FIELD.forwardTiles);
    if (!this.#isWorth(units)) return false;
    const { kernels } = this.#held;
    const job = this.#job;
    const y = this.#get(pass, FIELD.y);
    const read = [FIELD.x, FIELD.residual, FIELD.lateResidual, FIELD.gate, FIELD.added];
    this.#overwrites([
      stream ? this.#get(pass, FIELD.stream) : 0,
      read.some((field) => this.#get(pass, field) === y) ? y : 0,
    ]);
    if (job.base0) this.#layTiles(pass, units, false);
    job.stages = (stream ? 1 : 0) + (after ? 2 : 0);
    job.rows = rows;
    job.unitRows = this.#get(pass, FIELD.tileRows);
    if (!this.#keeps()) return false;
    kernels.begin(pass, PHASE.FORWARD);
    this.#run(KIND.around, pass, units, this.#valuesOf(pass));
    kernels.finish(pass, PHASE.FORWARD);
    return true;
  }

  stage(pass: number, stage: Stage, rows: number): boolean {
    const values = this.#valuesOf(pass);
    const width = values / rows;
    const unitRows = Math.max(1, Math.floor(STAGE / width));
    const units = Math.ceil(rows / unitRows);
    if (!this.#isWorth(units)) return false;
    // Modulation's sums go over rows in order.
    if (stage === "beforeBackward" && this.#get(pass, FIELD.sums) !== 0) return false;
    this.#overwrites(this.#overwrittenBy(pass, stage));
    const job = this.#job;
    job.rows = rows;
    job.unitRows = unitRows;
    job.perExample = units;
    job.blocks = 1;
    job.unitBytes = 4 * unitRows * width;
    job.apart = job.exampleBytes = 4 * values;
    if (!this.#keeps()) return false;
    this.#run(KIND[stage], pass, units, values);
    return true;
  }

  #get(pass: number, field: number): number {
    return this.#held.u32[(pass >>> 2) + field]!;
  }

  #valuesOf(pass: number): number {
    const extents = [FIELD.outer, FIELD.rows, FIELD.groups, FIELD.width, FIELD.length];
    return extents.reduce((values, field) => values * this.#get(pass, field), 1);
  }

  #isWorth(units: number): boolean {
    if (units < 2 || units > MOST_UNITS || this.#alive === 0) return false;
    return this.#alone === 0 || this.#alone-- < 0;
  }

  #pass(pass: number, backward: boolean): boolean {
    const tiles = this.#get(pass, backward ? FIELD.backwardTiles : FIELD.forwardTiles);
    if (!this.#isWorth(tiles)) return false;
    const apply = this.#get(pass, backward ? FIELD.backwardApplyTiles : FIELD.forwardApplyTiles);
    const steps = this.#get(pass, FIELD.steps);
    const first = backward ? PHASE.BACKWARD : PHASE.FORWARD;
    const writes = (steps & STEP.APPLY) !== 0;
    this.#overwrites(writes ? this.#overwritten(pass, backward) : []);
    if (this.#job.base0) this.#layTiles(pass, tiles, apply > 0);
    if (!this.#keeps()) return false;
    const values = this.#valuesOf(pass);
    if (apply === 0) this.#phase(first, pass, tiles, values, true);
    else {
      // The sums alone overwrite nothing.
      if (steps & STEP.REDUCE) this.#phase(first, pass, tiles, values, false);
      if (writes) this.#phase(first + 1, pass, apply, values, true);
    }
    return true;
  }

  #phase(phase: number, pass: number, tiles: number, values: number, writes: boolean): void {
    const { kernels } = this.#held;
    const { keep } = this.#job;
    if (!writes) this.#job.keep = 0;
    kernels.begin(pass, phase);
    this.#run(phase, pass, tiles, values);
    kernels.finish(pass, phase);
    this.#job.keep = keep;
  }

  /** What the kernels write where they also read. */
  #overwritten(pass: number, backward: boolean): number[] {
    const at = (field: number) => this.#get(pass, field);
    const written = backward ? [at(FIELD.dx), at(FIELD.dresidual)] : [at(FIELD.y)];
    const read = backward ? [at(FIELD.dy), at(FIELD.x)] : [at(FIELD.x), at(FIELD.residual)];
    return written.filter((address) => read.includes(address));
  }

  /** What a stage writes where it also reads. */
  #overwrittenBy(pass: number, stage: Stage): number[] {
    const at = (field: number) => this.#get(pass, field);
    if (stage === "before") return [at(FIELD.stream)];
    if (stage === "after") return [at(FIELD.y)];
    if (stage === "afterBackward") return [at(FIELD.dx), at(FIELD.dstream)];
    const read = [at(FIELD.dy), at(FIELD.z), at(FIELD.gate), at(FIELD.lateResidual)];
    return [at(FIELD.dx), at(FIELD.dgate), at(FIELD.dresidual)].filter((address) => read.includes(address));
  }

  #overwrites(addresses: readonly number[]): void {
    const [base0 = 0, base1 = 0, base2 = 0] = [...new Set(addresses)].filter((address) => address !== 0);
    Object.assign(this.#job, { base0, base1, base2 });
  }

  /** Where tiles lie: assembly/pass.ts says it, at `tileRows`. */
  #layTiles(pass: number, tiles: number, split: boolean): void {
    const job = this.#job;
    const at = (field: number) => this.#get(pass, field);
    const row = 4 * at(FIELD.groups) * at(FIELD.width) * at(FIELD.length);
    const example = row * at(FIELD.rows);
    const all = example * at(FIELD.outer);
    const whole = (unitBytes: number) =>
      Object.assign(job, { perExample: tiles, exampleBytes: all, apart: all, blocks: 1, unitBytes });
    const tileRows = at(FIELD.tileRows);
    const tileGroups = at(FIELD.tileGroups);
    const walk = at(FIELD.walk);
    if (walk === 1) whole(row * tileRows);
    else if (walk === 0 && !split) whole(example * tileGroups);
    else if (walk === 2 && tileRows > 1) whole(example * tileRows);
    else {
      const perExample = Math.max(1, tiles / at(FIELD.outer));
      const tileApart = at(FIELD.tileApart);
      const runs = walk === 2;
      Object.assign(job, {
        perExample,
        exampleBytes: example,
        unitBytes: runs ? 4 * tileGroups * at(FIELD.width) * at(FIELD.length) : row * tileRows,
        blocks: runs ? at(FIELD.rows) : tileApart ? 4 : 1,
        apart: runs ? row : tileApart || example,
      });
    }
  }

  /** Room for what is overwritten, where anything is; false if there is none. */
  #keeps(): boolean {
    const job = this.#job;
    job.keep = job.keepBytes = 0;
    if (job.base0 === 0) return true;
    const bases = 1 + Number(job.base1 !== 0) + Number(job.base2 !== 0);
    job.keepBytes = (bases * mostBytes(job) + 63) & ~63;
    try {
      job.keep = this.#held.workspace(job.keepBytes * this.places, KEEP_SLOT);
      job.pages = this.#held.memoryBytes / PAGE;
      return true;
    } catch {
      return false;
    }
  }

  /** Runs a job with as many threads as it is worth. */
  #run(kind: number, pass: number, units: number, values: number): void {
    const { words } = this;
    const job = this.#job;
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
    const start = performance.now();
    for (let i = 0; (i = Atomics.add(words, WORD.next, 1)) < units; ) this.#claim(i);
    const ready = performance.now();
    for (let i = 0; i < units; i++) this.#settle(i);
    this.#judge(ready - start, performance.now() - ready);
    // Not before all others are through.
    const failure = this.#failure;
    this.#failure = undefined;
    if (failure !== undefined) throw failure;
  }

  /**
   * Where the caller waits longer for others than it worked itself, they have no core of their own now, and it does the next calls
   * alone: 16, then twice as many each time (256 x 1024 on two cores that twelve programs want: 0.17 ms alone, 0.4 together).
   */
  #judge(worked: number, waited: number): void {
    this.#penalty =
      waited > worked + LIMITS.patienceMs ? Math.min(1024, this.#penalty * 2 || 16) : this.#penalty >> 1;
    this.#alone = this.#penalty;
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
    try {
      runUnit(this.#held.kernels, this.#job, i, 0);
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
      keepUnit(new Uint8Array(buffer), this.#job, i, worker, true);
    }
    this.#do(i);
  }

  #pause(ms: number): void {
    if (this.#waits) Atomics.wait(this.words, WORD.pause, 0, ms);
  }
}
