/**
 * The program of a worker. It is shipped as text and as a file (assembly/build/embed-worker.ts bundles it): a script without
 * imports, which runs in Node's threads and in Web Workers, classic or module.
 *
 * After the first message it never returns to its event loop: it looks for jobs for a short time, then sleeps until it is woken.
 */
import type { Kernels } from "../kernels.js";
import {
  asleepOf,
  CLAIMED,
  DONE,
  FREE,
  goneOf,
  type Job,
  KEPT,
  newJob,
  READY,
  readJob,
  WORD,
  wordOf,
} from "./control.js";
import { keepUnit, runUnit } from "./unit.js";

/** What a worker is sent. */
export interface Start {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
  words: Int32Array;
  /** From 1 on: the caller is 0. */
  worker: number;
  /** How long it looks for another job before it sleeps. */
  spinMs: number;
}

const PAGE = 65_536;
/** Looks at the clock once in so many rounds. */
const ROUNDS = 64;

class Hand {
  readonly #kernels: Kernels;
  readonly #memory: WebAssembly.Memory;
  readonly #words: Int32Array;
  readonly #worker: number;
  readonly #spinMs: number;
  readonly #job: Job = newJob();
  #bytes: Uint8Array;

  constructor({ module, memory, words, worker, spinMs }: Start) {
    const instance = new WebAssembly.Instance(module, { env: { memory } });
    this.#kernels = instance.exports as unknown as Kernels;
    this.#memory = memory;
    this.#words = words;
    this.#worker = worker;
    this.#spinMs = spinMs;
    this.#bytes = new Uint8Array(memory.buffer);
  }

  /** Takes part in jobs until it is told to stop. */
  run(): void {
    const words = this.#words;
    for (let seen = 0; ; ) {
      seen = this.#await(seen);
      if (Atomics.load(words, WORD.stop)) return;
      this.#takePart(seen);
    }
  }

  /** The sequence of the next job. */
  #await(seen: number): number {
    const words = this.#words;
    const asleep = asleepOf(this.#worker);
    const end = performance.now() + this.#spinMs;
    for (let round = 1; ; round++) {
      const now = Atomics.load(words, WORD.sequence);
      if (now !== seen) return now;
      if (round % ROUNDS || performance.now() < end) continue;
      // The caller looks at this word after it has written a sequence: one of both sees the other.
      Atomics.store(words, asleep, 1);
      if (Atomics.load(words, WORD.sequence) === seen) Atomics.wait(words, asleep, 1);
      Atomics.store(words, asleep, 0);
    }
  }

  #takePart(sequence: number): void {
    const words = this.#words;
    const job = this.#job;
    readJob(words, job);
    if (this.#worker >= job.limit) return;
    for (;;) {
      const i = Atomics.add(words, WORD.next, 1);
      if (i < 0 || i >= job.units) return;
      const at = WORD.units + i;
      const free = wordOf(sequence, 0, FREE);
      const claimed = wordOf(sequence, this.#worker, CLAIMED);
      if (Atomics.compareExchange(words, at, free, claimed) !== free) {
        if (Atomics.load(words, WORD.sequence) !== sequence) return;
        continue;
      }
      // A word has 24 bits of a sequence: one that was the same 2^24 jobs ago is told by all 32.
      if (Atomics.load(words, WORD.sequence) !== sequence) {
        Atomics.compareExchange(words, at, claimed, free);
        return;
      }
      const kept = job.keep ? wordOf(sequence, this.#worker, KEPT) : claimed;
      if (job.keep) {
        keepUnit(this.#view(job.pages), job, i, this.#worker, false);
        // Whoever was given up for dead overwrites nothing.
        if (Atomics.compareExchange(words, at, claimed, kept) !== claimed) throw new Error("given up");
      }
      runUnit(this.#kernels, job, i, this.#worker);
      const done = wordOf(sequence, this.#worker, DONE);
      if (Atomics.compareExchange(words, at, kept, done) !== kept) throw new Error("given up");
    }
  }

  /** All of memory, which another thread may have made grow. */
  #view(pages: number): Uint8Array {
    if (this.#bytes.length < pages * PAGE) {
      // Growth by nothing has the engine look at the size anew; it costs 1.1 us.
      this.#memory.grow(0);
      this.#bytes = new Uint8Array(this.#memory.buffer);
    }
    return this.#bytes;
  }
}

/** What there is of Node's worker threads. */
interface Port {
  postMessage(message: unknown): void;
  once(event: "message", listener: (message: Start) => void): void;
}

/** What there is of a Web Worker. */
interface Scope {
  postMessage(message: unknown): void;
  onmessage: ((event: { data: Start }) => void) | null;
  close(): void;
}

function work(start: Start, say: (message: string) => void): void {
  try {
    const hand = new Hand(start);
    say(READY);
    hand.run();
  } catch (error) {
    say(`${error}`);
    throw error;
  } finally {
    Atomics.store(start.words, goneOf(start.worker), 1);
  }
}

const { process } = globalThis as { process?: { getBuiltinModule?: NodeJS.Process["getBuiltinModule"] } };
const port = process?.getBuiltinModule?.("node:worker_threads")?.parentPort as Port | null | undefined;
if (port) {
  port.once("message", (start) => work(start, (message) => port.postMessage(message)));
} else {
  const scope = globalThis as unknown as Scope;
  scope.onmessage = ({ data }) => {
    scope.onmessage = null;
    try {
      work(data, (message) => scope.postMessage(message));
    } finally {
      scope.close();
    }
  };
}
