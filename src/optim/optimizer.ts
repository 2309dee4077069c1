import { clear } from "../arrays.js";
import { readOptions } from "../errors.js";
import { type Entry, readState } from "../state.js";
import { type Group, type Motion, Rates, type Rule, readGroups } from "./groups.js";
import { ParameterList } from "./parameters.js";
import type { OptimizerState, SavedState } from "./state.js";

/** A parameter's group, and what is kept for it: arrays in the order of the motion's names. */
interface Slot {
  rates: Rates;
  motion: Motion;
  memory: readonly Float32Array[];
}

const STEP = "step";

/** What SGD and AdamW share: parameters in groups, their rates, and the state that a resumed run needs. */
export abstract class Optimizer {
  /**
   * The groups that were given, or one of all parameters. `lr` and `weightDecay` of each may be set, and are the optimizer's
   * as long as the group has none of its own.
   */
  readonly groups: readonly Group[];
  readonly #who: string;
  readonly #rates: Rates;
  readonly #list: ParameterList;
  readonly #slots: readonly Slot[];
  readonly #counts: boolean;
  #step = 0;
  /** The steps in which each parameter moved: fewer where it was frozen. */
  readonly #steps: number[];

  protected constructor(rule: Rule, parameters: unknown, options: unknown) {
    const own = readOptions(rule.who, options, rule.defaults);
    this.#who = rule.who;
    this.#counts = rule.counts;
    this.#rates = new Rates(rule.who, [], own);
    const groups = readGroups(rule, parameters, own, this.#rates);
    this.groups = Object.freeze(groups.map(({ rates }) => rates));
    this.#list = new ParameterList(
      rule.who,
      groups.flatMap(({ listed }) => listed),
    );
    const { lengths } = this.#list;
    this.#slots = groups
      .flatMap(({ rates, motion, listed }) => listed.map(() => ({ rates, motion })))
      .map((slot, k) => ({ ...slot, memory: slot.motion.memory.map(() => new Float32Array(lengths[k]!)) }));
    this.#steps = lengths.map(() => 0);
  }

  /** The learning rate of all groups without one of their own. May be set between steps. @throws TypeError, RangeError */
  get lr(): number {
    return this.#rates.lr;
  }

  set lr(value: number) {
    this.#rates.lr = value;
  }

  /** The weight decay of all groups without one of their own. May be set between steps. @throws TypeError, RangeError */
  get weightDecay(): number {
    return this.#rates.weightDecay;
  }

  set weightDecay(value: number) {
    this.#rates.weightDecay = value;
  }

  /**
   * Moves every parameter's `data` by its `grad`, in place. Both are read anew at each step, and so is `frozen`: a frozen
   * parameter stays as it is, and so does what is remembered of it.
   *
   * @throws TypeError, RangeError if they are no longer Float32Arrays of the first length; nothing has changed then
   */
  step(): void {
    const all = this.#list.read(`${this.#who}.step`);
    this.#step++;
    all.forEach((arrays, k) => {
      if (arrays.frozen) return;
      const { rates, motion, memory } = this.#slots[k]!;
      const t = ++this.#steps[k]!;
      motion.update(arrays, memory, rates.lr, rates.weightDecay, t);
    });
  }

  /** Sets every parameter's `grad` to zero. @throws as `step` */
  zeroGrad(): void {
    for (const { grad } of this.#list.read(`${this.#who}.zeroGrad`)) clear(grad);
  }

  /**
   * A copy of what the optimizer remembers, under PyTorch's names after the parameter's index, counted through all groups:
   * `0.momentum_buffer`; `0.exp_avg`, `0.exp_avg_sq` and `step`, the number of steps as a Float64Array, with `0.step` where a
   * parameter that was frozen took part in fewer. Options are not in it. With the parameters' data and the same options a
   * resumed run goes on bit for bit.
   */
  stateDict(): OptimizerState {
    const state: OptimizerState = {};
    this.#slots.forEach(({ motion, memory }, k) => {
      motion.memory.forEach((name, i) => {
        state[`${k}.${name}`] = memory[i]!.slice();
      });
      const steps = this.#steps[k]!;
      if (this.#counts && steps !== this.#step) state[`${k}.${STEP}`] = Float64Array.of(steps);
    });
    if (this.#counts) state[STEP] = Float64Array.of(this.#step);
    return state;
  }

  /**
   * Takes a state: the entries of `stateDict()` and no others, in each form that a layer's `loadStateDict` takes.
   *
   * @throws TypeError, RangeError naming the entry; nothing has changed then
   */
  loadStateDict(dict: SavedState): void {
    const spec: Record<string, Entry> = {};
    const count: Entry = { length: 1, least: 0, whole: true, wide: true };
    if (this.#counts) spec[STEP] = count;
    this.#slots.forEach(({ motion, memory }, k) => {
      motion.memory.forEach((name, i) => {
        const { length } = memory[i]!;
        spec[`${k}.${name}`] = name.endsWith("_sq") ? { length, least: 0 } : { length };
      });
      if (this.#counts) spec[`${k}.${STEP}`] = { ...count, optional: true };
    });
    const { state } = readState(`${this.#who}.loadStateDict`, dict, spec);
    if (this.#counts) this.#step = state[STEP]![0]!;
    this.#slots.forEach(({ motion, memory }, k) => {
      motion.memory.forEach((name, i) => {
        memory[i]!.set(state[`${k}.${name}`]!);
      });
      this.#steps[k] = state[`${k}.${STEP}`]?.[0] ?? this.#step;
    });
  }
}
