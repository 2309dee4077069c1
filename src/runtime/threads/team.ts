/** Passes as jobs: how they fall into units, where units lie, and what they overwrite. */
import { FIELD, PHASE, STEP } from "../../engine/pass.js";
import type { Runtime, Team as Threads } from "../instance.js";
import { PAGE } from "../memory.js";
import { KIND, MOST_UNITS } from "./control.js";
import { Crew } from "./crew.js";
import { mostBytes } from "./unit.js";

/** Values of a stage's unit. */
const STAGE = 65_536;
/** The runtime's workspace for what is kept. */
const KEEP_SLOT = 2;

type Stage = "before" | "after" | "beforeBackward" | "afterBackward";

export class Team extends Crew implements Threads {
  readonly #held: Runtime;

  constructor(held: Runtime) {
    super(held);
    this.#held = held;
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
    const job = this.job;
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
    this.run(KIND.around, pass, units, this.#valuesOf(pass));
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
    const job = this.job;
    job.rows = rows;
    job.unitRows = unitRows;
    job.perExample = units;
    job.blocks = 1;
    job.unitBytes = 4 * unitRows * width;
    job.apart = job.exampleBytes = 4 * values;
    if (!this.#keeps()) return false;
    this.run(KIND[stage], pass, units, values);
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
    return units > 1 && units <= MOST_UNITS && this.isReady();
  }

  #pass(pass: number, backward: boolean): boolean {
    const tiles = this.#get(pass, backward ? FIELD.backwardTiles : FIELD.forwardTiles);
    if (!this.#isWorth(tiles)) return false;
    const apply = this.#get(pass, backward ? FIELD.backwardApplyTiles : FIELD.forwardApplyTiles);
    const steps = this.#get(pass, FIELD.steps);
    const first = backward ? PHASE.BACKWARD : PHASE.FORWARD;
    const writes = (steps & STEP.APPLY) !== 0;
    this.#overwrites(writes ? this.#overwritten(pass, backward) : []);
    if (this.job.base0) this.#layTiles(pass, tiles, apply > 0);
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
    const { keep } = this.job;
    if (!writes) this.job.keep = 0;
    kernels.begin(pass, phase);
    this.run(phase, pass, tiles, values);
    kernels.finish(pass, phase);
    this.job.keep = keep;
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
    Object.assign(this.job, { base0, base1, base2 });
  }

  /** Where tiles lie: assembly/pass.ts says it, at `tileRows`. */
  #layTiles(pass: number, tiles: number, split: boolean): void {
    const job = this.job;
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
    const job = this.job;
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
}
