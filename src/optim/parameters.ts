import { checkArray, checkSize, fixed, lengthOf, spanOf } from "../arrays.js";
import { checkBoolean, rangeError, read, typeError } from "../errors.js";
import type { Parameter } from "../layers/parameters.js";

/** More than any list of parameters has, so that one which lies about its length is soon seen through. */
export const MOST = 65_536;

/** A parameter and what errors call it. */
export interface Listed {
  name: string;
  parameter: Parameter;
}

/** A parameter's arrays for one call: each of the length that was checked, whatever another thread does. */
export interface Arrays {
  data: Float32Array;
  grad: Float32Array;
  /** Of both, whatever a subclass says of itself. */
  length: number;
  frozen: boolean;
}

/** The items of a caller's list, each an object. @throws TypeError; RangeError for a list of more than `MOST` */
export function readList(who: string, name: string, value: unknown, what: string, least: number): object[] {
  const expected = `${name} to be an array of ${least} or more ${what}`;
  const length = read(who, name, () => (Array.isArray(value) ? value.length : -1));
  if (length < 0) throw typeError(who, expected, value);
  if (length < least) throw rangeError(who, expected, value);
  const items: object[] = [];
  for (let i = 0; i < Math.min(length, MOST); i++) {
    const item = read(who, `${name}[${i}]`, () => (value as unknown[])[i]);
    if (typeof item !== "object" || item === null) {
      throw typeError(who, `${name}[${i}] to have data and grad`, item);
    }
    items.push(item);
  }
  if (length > MOST) throw rangeError(who, `${name} of at most ${MOST}`, length);
  return items;
}

/** @throws RangeError where a parameter is there twice */
function checkOnce(who: string, all: readonly Listed[]): void {
  const seen = new Set<object>();
  for (const { name, parameter } of all) {
    if (seen.has(parameter)) throw rangeError(who, "every parameter once", name);
    seen.add(parameter);
  }
}

/** @throws RangeError where two of the arrays have memory in common, which would be written twice */
function checkApart(who: string, all: readonly Listed[], arrays: readonly Arrays[]): void {
  const spans = new Map<unknown, { name: string; from: number; to: number }[]>();
  arrays.forEach((parameter, i) => {
    for (const part of ["data", "grad"] as const) {
      const { buffer, from, to } = spanOf(parameter[part]);
      if (from === to) continue;
      const others = spans.get(buffer) ?? [];
      spans.set(buffer, others);
      others.push({ name: `${all[i]!.name}.${part}`, from, to });
    }
  });
  for (const group of spans.values()) {
    group.sort((a, b) => a.from - b.from);
    let last = group[0]!;
    for (const next of group.slice(1)) {
      if (next.from < last.to) {
        throw new RangeError(
          `${who}: expected every array in memory of its own, got ${last.name} and ${next.name} over the same`,
        );
      }
      last = next;
    }
  }
}

/** Each parameter's arrays, read once, and judged after the last getter ran. @throws TypeError, RangeError */
function readArrays(who: string, all: readonly Listed[], lengths?: readonly number[]): Arrays[] {
  const given = all.map(({ name, parameter }) => ({
    data: read(who, `${name}.data`, () => parameter.data),
    grad: read(who, `${name}.grad`, () => parameter.grad),
    frozen: read(who, `${name}.frozen`, () => parameter.frozen ?? false),
  }));
  return given.map(({ data, grad, frozen }, i) => {
    const { name } = all[i]!;
    const length = lengthOf(checkArray(who, `${name}.data`, data));
    const gradLength = lengthOf(checkArray(who, `${name}.grad`, grad));
    checkSize(who, `${name}.data`, length, lengths?.[i] ?? length);
    checkSize(who, `${name}.grad`, gradLength, length);
    return {
      data: fixed(data, length),
      grad: fixed(grad, length),
      length,
      frozen: checkBoolean(who, `${name}.frozen`, frozen),
    };
  });
}

/** The arrays of parameters that are there once, and share no memory. @throws TypeError, RangeError */
export function readParameters(who: string, all: readonly Listed[]): Arrays[] {
  checkOnce(who, all);
  const arrays = readArrays(who, all);
  checkApart(who, all, arrays);
  return arrays;
}

/** What an optimizer was given, read anew by each of its calls. */
export class ParameterList {
  readonly lengths: readonly number[];
  readonly #all: readonly Listed[];
  /** The arrays that were found to lie apart: most often they are the same the next time. */
  #apart: readonly Arrays[];

  /** @throws TypeError, RangeError */
  constructor(who: string, all: readonly Listed[]) {
    this.#all = all;
    this.#apart = readParameters(who, all);
    this.lengths = this.#apart.map(({ data }) => lengthOf(data));
  }

  /** The parameters' arrays as they stand, of the lengths that they had at first. @throws TypeError, RangeError */
  read(who: string): Arrays[] {
    const arrays = readArrays(who, this.#all, this.lengths);
    const known = ({ data, grad }: Arrays, i: number) =>
      data === this.#apart[i]!.data && grad === this.#apart[i]!.grad;
    if (!arrays.every(known)) checkApart(who, this.#all, arrays);
    this.#apart = arrays;
    return arrays;
  }
}
