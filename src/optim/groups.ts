import { checkFinite, read, readOptions, typeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";
import { type Arrays, type Listed, readList } from "./parameters.js";

/** Parameters with options of their own: what is left out is the optimizer's. */
export type ParameterGroup<O> = { readonly params: readonly Parameter[] } & {
  readonly [K in keyof O]?: O[K];
};

/** A group of an optimizer, for schedules. */
export interface Group {
  /** Its parameters. */
  readonly params: readonly Parameter[];
  /** The group's learning rate, or the optimizer's where it has none of its own; may be set. @throws TypeError, RangeError */
  lr: number;
  /** The same of the weight decay. */
  weightDecay: number;
}

/** One parameter's turn; `t` counts its steps, this one included. */
export type Update = (
  arrays: Arrays,
  memory: readonly Float32Array[],
  lr: number,
  weightDecay: number,
  t: number,
) => void;

/** How parameters move, and the names of the arrays that are kept for each. */
export interface Motion {
  memory: readonly string[];
  update: Update;
}

/** What makes an optimizer one of its kind. */
export interface Rule {
  who: string;
  /** All options, as they are where nobody gives them. */
  defaults: Record<string, unknown>;
  /** What these options make of it. @throws TypeError, RangeError */
  judge(who: string, options: Record<string, unknown>): Motion;
  /** Whether steps are counted. */
  counts: boolean;
}

/** Learning rate and weight decay, of a group or of the whole optimizer, which serve where a group has none. */
export class Rates implements Group {
  readonly params: readonly Parameter[];
  readonly #who: string;
  readonly #whole: Rates | undefined;
  #lr: number | undefined;
  #weightDecay: number | undefined;

  /** @throws TypeError, RangeError */
  constructor(
    who: string,
    params: readonly Parameter[],
    rates: { lr?: unknown; weightDecay?: unknown },
    whole?: Rates,
  ) {
    this.params = params;
    this.#who = who;
    this.#whole = whole;
    if (rates.lr !== undefined || !whole) this.lr = rates.lr as number;
    if (rates.weightDecay !== undefined || !whole) this.weightDecay = rates.weightDecay as number;
  }

  get lr(): number {
    return this.#lr ?? this.#whole!.lr;
  }

  set lr(value: number) {
    this.#lr = checkFinite(this.#who, "lr", value, 0);
  }

  get weightDecay(): number {
    return this.#weightDecay ?? this.#whole!.weightDecay;
  }

  set weightDecay(value: number) {
    this.#weightDecay = checkFinite(this.#who, "weightDecay", value, 0);
  }
}

/** A group as it was read. */
interface Read {
  rates: Rates;
  motion: Motion;
  listed: Listed[];
}

const listedAs = (name: string, items: readonly object[]): Listed[] =>
  items.map((parameter, i) => ({ name: `${name}[${i}]`, parameter: parameter as Parameter }));

/**
 * Reads a list of parameters, which is one group, or of groups.
 *
 * @param own the optimizer's options, and `whole` its rates @throws TypeError, RangeError
 */
export function readGroups(rule: Rule, value: unknown, own: Record<string, unknown>, whole: Rates): Read[] {
  const { who, defaults } = rule;
  const items = readList(who, "parameters", value, "parameters or groups", 1);
  const grouped = items.map((item, i) => read(who, `parameters[${i}]`, () => "params" in item));
  if (!grouped.includes(true)) {
    const rates = new Rates(who, Object.freeze(items) as readonly Parameter[], {}, whole);
    return [{ rates, motion: rule.judge(who, own), listed: listedAs("parameters", items) }];
  }
  const none = Object.fromEntries(Object.keys(defaults).map((key) => [key, undefined]));
  return items.map((item, g) => {
    const name = `parameters[${g}]`;
    if (!grouped[g]) throw typeError(who, `${name} to be a group with params, as others are`, item);
    const called = `${who}: ${name}`;
    const { params, ...given } = readOptions<string>(called, item, { params: undefined, ...none });
    const members = readList(who, `${name}.params`, params, "parameters", 0);
    const set = Object.fromEntries(Object.entries(given).filter(([, option]) => option !== undefined));
    const rates = new Rates(called, Object.freeze(members) as readonly Parameter[], given, whole);
    return {
      rates,
      motion: rule.judge(called, { ...own, ...set }),
      listed: listedAs(`${name}.params`, members),
    };
  });
}
