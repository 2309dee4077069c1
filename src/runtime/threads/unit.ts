/** A unit of a job: how it is run, which bytes it overwrites, and how they are kept. */
import type { Kernels } from "../kernels.js";
import { type Job, KIND } from "./control.js";

/** Runs unit `i` of a job in `worker`'s part of the workspace. */
export function runUnit(kernels: Kernels, job: Job, i: number, worker: number): void {
  const { kind, pass } = job;
  if (kind < KIND.before) {
    kernels.tile(pass, kind, i, worker);
    return;
  }
  const from = i * job.unitRows;
  const to = Math.min(from + job.unitRows, job.rows);
  if (kind === KIND.around) {
    if (job.stages & 1) kernels.before(pass, from, to);
    kernels.tile(pass, 0, i, worker);
    if (job.stages & 2) kernels.after(pass, from, to, worker);
  } else if (kind === KIND.before) kernels.before(pass, from, to);
  else if (kind === KIND.after) kernels.after(pass, from, to, worker);
  else if (kind === KIND.beforeBackward) kernels.beforeBackward(pass, from, to, worker);
  else kernels.afterBackward(pass, from, to);
}

/**
 * The bytes of unit `i` within a minibatch, as `visit` is told them: `blocks` blocks, `apart` bytes from one to the next, and for an
 * example's last unit what comes behind all of them.
 *
 *   ├─ unit 0 ─┼─ unit 1 ─┤  ├─ unit 0 ─┼─ unit 1 ─┤  ├─ rest: unit 1 ─┤
 *   ├──────── apart ─────────┤
 */
export function piecesOf(job: Job, i: number, visit: (offset: number, bytes: number) => void): void {
  const { perExample, exampleBytes, unitBytes, blocks, apart } = job;
  const example = Math.floor(i / perExample) * exampleBytes;
  const at = i % perExample;
  const isLast = at === perExample - 1;
  const from = at * unitBytes;
  const bytes = isLast ? apart - from : unitBytes;
  for (let block = 0; block < blocks; block++) visit(example + block * apart + from, bytes);
  const rest = exampleBytes - blocks * apart;
  if (isLast && rest > 0) visit(example + blocks * apart, rest);
}

/** Bytes that keeping a unit takes at most, for one minibatch. */
export function mostBytes(job: Job): number {
  let most = 0;
  for (const i of [0, job.perExample - 1]) {
    let bytes = 0;
    piecesOf(job, i, (_, more) => {
      bytes += more;
    });
    most = Math.max(most, bytes);
  }
  return most;
}

/** Keeps what unit `i` is about to overwrite, or puts it back. */
export function keepUnit(memory: Uint8Array, job: Job, i: number, worker: number, back: boolean): void {
  let kept = job.keep + worker * job.keepBytes;
  for (const base of [job.base0, job.base1, job.base2]) {
    if (base === 0) continue;
    piecesOf(job, i, (offset, bytes) => {
      const at = base + offset;
      if (back) memory.copyWithin(at, kept, kept + bytes);
      else memory.copyWithin(kept, at, at + bytes);
      kept += bytes;
    });
  }
}
