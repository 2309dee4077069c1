/**
 * Measures one shape: every contender is checked, then they are timed in turns, round by round, so that what
 * disturbs the machine disturbs all of them alike.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Check, Checker } from "./check.ts";
import { AroundChecker } from "./check-around.ts";
import type { Op, OutputName } from "./contenders/contender.ts";
import { Unsupported } from "./contenders/contender.ts";
import type { Entry } from "./contenders/index.ts";
import { makeData, writeData } from "./data.ts";
import { ContenderProcess, Missing } from "./process.ts";
import type { Shape } from "./shapes.ts";
import { sizeOf } from "./shapes.ts";
import { median } from "./statistics.ts";

/** What one contender took for one operation on one shape. */
export interface Measurement {
  contender: string;
  op: Op;
  /** Nanoseconds a call in each round (the median of the round's samples); empty where only checked. */
  rounds: number[];
  /** The largest error in units of the numerics contract. */
  error: number;
}

export interface Outcome {
  measurements: Measurement[];
  /** Contender and reason. */
  unsupported: Record<string, string>;
  failures: string[];
}

/** Adds what a later sitting measured. */
export function pool(into: Outcome, { measurements, unsupported, failures }: Outcome): void {
  for (const later of measurements) {
    const same = into.measurements.find(
      ({ contender, op }) => contender === later.contender && op === later.op,
    );
    if (same) {
      same.rounds.push(...later.rounds);
      same.error = Math.max(same.error, later.error);
    } else into.measurements.push(later);
  }
  Object.assign(into.unsupported, unsupported);
  into.failures.push(...failures);
}

/** The contenders' processes of one sitting: started at first use, and the missing ones with their reasons. */
export class Field {
  readonly missing = new Map<string, string>();
  readonly #running = new Map<string, ContenderProcess>();
  readonly #node: string;

  constructor(node: string) {
    this.#node = node;
  }

  async get(entry: Entry): Promise<ContenderProcess | null> {
    if (this.missing.has(entry.name)) return null;
    const running = this.#running.get(entry.name);
    if (running) return running;
    try {
      const started = await ContenderProcess.start(entry.command(this.#node));
      this.#running.set(entry.name, started);
      return started;
    } catch (error) {
      if (error instanceof Unsupported || (error instanceof Missing && entry.kind !== "ours")) {
        this.missing.set(entry.name, error.message);
        return null;
      }
      throw new Error(`does not start: ${(error as Error).message}`); // ours is never missing
    }
  }

  stop(): void {
    for (const running of this.#running.values()) running.stop();
    this.#running.clear();
  }

  drop(entry: Entry): void {
    this.#running.get(entry.name)?.stop();
    this.#running.delete(entry.name);
  }
}

interface Options {
  field: Field;
  folder: string;
  /** 0 checks only. */
  rounds: number;
  /** Called as the work goes on, with the share of a group's work that was done. */
  onVisit(share: number): void;
}

interface Pace {
  /** Calls a sample. */
  calls: number;
  /** Samples a visit. */
  samples: number;
  /** In how many rounds it takes part. */
  rounds: number;
}

/** One operation of one contender, ready to be timed. */
interface Timed extends Pace {
  process: ContenderProcess;
  measurement: Measurement;
}

/**
 * @param groups the contenders that are timed in turns; of several groups each has the machine's memory to itself
 */
export async function measure(shape: Shape, groups: Entry[][], options: Options): Promise<Outcome> {
  const data = makeData(shape);
  writeData(data, options.folder);
  const checker = shape.around ? new AroundChecker(shape, data) : new Checker(shape, data);
  const outcome: Outcome = { measurements: [], unsupported: {}, failures: [] };
  for (const group of groups) {
    if (groups.length > 1) options.field.stop();
    await measureGroup(group, shape, checker, options, outcome);
  }
  if (groups.length > 1) options.field.stop();
  return outcome;
}

async function measureGroup(
  group: Entry[],
  shape: Shape,
  checker: Check,
  { field, folder, rounds, onVisit }: Options,
  outcome: Outcome,
): Promise<void> {
  const timed: Timed[] = [];
  const prepared: ContenderProcess[] = [];
  const fail = (name: string, error: unknown) =>
    outcome.failures.push(`${shape.name}: ${name}: ${(error as Error).message}`);
  for (const entry of group) {
    onVisit(1 / (rounds + 1) / group.length);
    try {
      const process = await field.get(entry);
      if (!process) continue;
      if (sizeOf(shape) > entry.upTo) throw new Unsupported("takes seconds a call at this size: left out");
      const ops = await process.prepare(shape, folder);
      prepared.push(process);
      for (const op of ops) {
        const outputs = readOutputs(folder, await process.check(op));
        const error = checker.verify(op, outputs, entry.kind === "ours" ? "to the contract" : "loosely");
        const measurement: Measurement = { contender: entry.name, op, rounds: [], error };
        outcome.measurements.push(measurement);
        if (rounds) timed.push({ process, measurement, ...(await calibrate(process, op, rounds)) });
      }
    } catch (error) {
      if (error instanceof Unsupported) outcome.unsupported[entry.name] = error.message;
      else fail(entry.name, error);
      if (error instanceof Missing) field.drop(entry);
    }
  }
  for (let round = 0; round < rounds; round++) {
    for (const item of rotated(timed, round)) {
      if (round >= item.rounds) continue;
      try {
        item.measurement.rounds.push(await sample(item));
      } catch (error) {
        item.rounds = 0;
        fail(item.measurement.contender, error);
      }
    }
    onVisit(1 / (rounds + 1));
  }
  for (const process of prepared) await process.close().catch(() => {});
}

function readOutputs(folder: string, names: OutputName[]): Partial<Record<OutputName, Float32Array>> {
  const read = (name: string) => {
    const { buffer, byteOffset, byteLength } = readFileSync(join(folder, `${name}.f32`));
    return new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
  };
  return Object.fromEntries(names.map((name) => [name, read(name)]));
}

/** A sample is at least 50 us (the clock's and the loop's own cost vanish), a visit about 6 ms. */
const sampleNs = 50e3;
const visitNs = 6e6;
/** Warming up: compilers have their time, and at least three calls were made. */
const warmUpNs = 40e6;
/** A slow operation takes part in as many rounds as this holds, in one at least. */
const slowNs = 2e9;

async function calibrate(process: ContenderProcess, op: Op, rounds: number): Promise<Pace> {
  let ns = Infinity;
  let spent = 0;
  for (let made = 0, calls = 1; (spent < warmUpNs || made < 3) && spent < slowNs / 4; made++) {
    const [took] = await process.time(op, 1, calls);
    ns = Math.min(ns, took!);
    spent += took! * calls;
    calls = Math.max(1, Math.ceil(Math.min(calls * 8, warmUpNs / 8 / ns)));
  }
  const calls = Math.max(1, Math.ceil(sampleNs / ns));
  const samples = clamp(Math.floor(visitNs / (ns * calls)), 1, 9);
  return { calls, samples, rounds: clamp(Math.floor(slowNs / (ns * calls * samples)), 1, rounds) };
}

function clamp(value: number, low: number, high: number): number {
  return Math.max(low, Math.min(high, value));
}

/** Above this a call does not feel what the last contender left in the caches, and needs no call before it. */
const coldNs = 20e6;

async function sample({ process, measurement, calls, samples }: Timed): Promise<number> {
  const last = measurement.rounds.at(-1) ?? 0;
  if (last < coldNs) await process.time(measurement.op, 1, calls);
  return median(await process.time(measurement.op, samples, calls));
}

function rotated<T>(items: T[], by: number): T[] {
  const start = items.length ? (by * 7) % items.length : 0;
  return [...items.slice(start), ...items.slice(0, start)];
}
