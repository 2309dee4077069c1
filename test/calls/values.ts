/**
 * Values that a caller may hand in, each made from a short recipe: what fast-check shrinks and prints is the recipe,
 * as the value itself may be detached, lie about itself or do harm when it is read.
 */
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { normal, seeded } from "../cases.js";

/** What a getter does before it answers: `throw` throws, the rest change the world under the call's feet. */
export const pranks = [
  "throw",
  "dispose layer",
  "dispose tensors",
  "detach arrays",
  "replace",
  "grow",
  "reenter",
] as const;
export type Prank = (typeof pranks)[number];
export type Play = (prank: Prank) => void;

const evil = () => {
  throw new Error("from the caller's own code");
};

/** Objects that are nothing a call expects; functions, so that each use gets a fresh one. */
const odd: Record<string, () => unknown> = {
  undefined: () => undefined,
  null: () => null,
  true: () => true,
  '"3"': () => "3",
  '""': () => "",
  "3n": () => 3n,
  symbol: () => Symbol("odd"),
  "-1": () => -1,
  "-0": () => -0,
  "0": () => 0,
  "1": () => 1,
  "0.5": () => 0.5,
  "1e-320": () => 1e-320,
  NaN: () => Number.NaN,
  Infinity: () => Number.POSITIVE_INFINITY,
  "-Infinity": () => Number.NEGATIVE_INFINITY,
  "2**31": () => 2 ** 31,
  "2**32 + 4": () => 2 ** 32 + 4,
  "2**53": () => 2 ** 53,
  "1e300": () => 1e300,
  "new Number(4)": () => new Number(4),
  "{}": () => ({}),
  "Object.create(null)": () => Object.create(null),
  "[]": () => [],
  function: () => () => 4,
  "valueOf throws": () => ({ valueOf: evil, toString: evil, [Symbol.toPrimitive]: evil }),
  "valueOf 4": () => ({ valueOf: () => 4 }),
  "proxy that throws": () =>
    new Proxy(
      {},
      { get: evil, has: evil, ownKeys: evil, getPrototypeOf: evil, getOwnPropertyDescriptor: evil },
    ),
  "revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable([], {});
    revoke();
    return proxy;
  },
  "{ length: 24 }": () => ({ length: 24 }),
  "fake Float32Array": () => Object.create(Float32Array.prototype),
  Float64Array: () => new Float64Array(24),
  Uint8Array: () => new Uint8Array(24),
  DataView: () => new DataView(new ArrayBuffer(96)),
  ArrayBuffer: () => new ArrayBuffer(96),
  "sparse, 2**32 - 1": () => new Array(2 ** 32 - 1),
  "endless iterator": () =>
    Object.assign([2, 3], {
      *[Symbol.iterator]() {
        for (;;) yield 1;
      },
    }),
  "proxy of an array, length 2**53 - 1": () =>
    new Proxy([2, 3], { get: (list, key) => (key === "length" ? 2 ** 53 - 1 : Reflect.get(list, key)) }),
};

export type Odd = keyof typeof odd;
export const anyOdd = fc.record({ odd: fc.constantFrom(...Object.keys(odd)) });
export const oddValue = (name: string): unknown => odd[name]!();

// --------------------------------------------------------------------------------------------------- contents

export const fills = ["normal", "special", "huge", "tiny", "constant"] as const;
export type Fill = (typeof fills)[number];

const specials = [Number.NaN, Infinity, -Infinity, 0, -0, 1e-45, -1e-40, 3.4e38, -3.4e38, 1e-38, 1, 1e7];

export function fill(array: Float32Array, how: Fill, seed: number): void {
  const random = seeded(seed);
  const scale = { normal: 1, huge: 1e38, tiny: 1e-41, constant: 0, special: 1 }[how];
  const length = lengthOf(array);
  for (let i = 0; i < length; i++) {
    array[i] =
      how === "special" && random() < 0.2
        ? specials[Math.floor(random() * specials.length)]!
        : scale * normal(random) + (how === "constant" ? 0.1 : 0);
  }
}

const lengthOf = (array: Float32Array): number =>
  Reflect.get(Object.getPrototypeOf(Float32Array.prototype), "length", array);

// ------------------------------------------------------------------------------------------------------ arrays

/** Says that it is longer than it is, wherever it is asked in JavaScript. */
class Longer extends Float32Array {
  override get length(): number {
    return 1e9;
  }
}

class Shorter extends Float32Array {
  override get length(): number {
    return 1;
  }
}

/** Every method that a copy might go through is the caller's. */
class Hooked extends Float32Array {
  static get [Symbol.species](): Float32ArrayConstructor {
    return Longer;
  }
  override set(): void {
    evil();
  }
  override fill(): this {
    return evil();
  }
  override slice(): Float32Array<ArrayBuffer> {
    return new Longer(3);
  }
  override subarray(): Float32Array<ArrayBuffer> {
    return new Longer(3);
  }
  override [Symbol.iterator](): ArrayIterator<number> {
    return evil();
  }
}

class Species extends Float32Array {
  static get [Symbol.species](): Float32ArrayConstructor {
    return evil();
  }
}

const Foreign = runInNewContext("Float32Array") as Float32ArrayConstructor;
// Node 20 has them, the compiler's library does not
const Resizable = ArrayBuffer as unknown as new (
  bytes: number,
  options: object,
) => ArrayBuffer & { resize(n: number): void };
const Growable = SharedArrayBuffer as unknown as new (bytes: number, options: object) => SharedArrayBuffer;

export const detach = ({ buffer }: Float32Array | Float64Array): void => {
  try {
    if (buffer instanceof ArrayBuffer) structuredClone(buffer, { transfer: [buffer] });
  } catch {
    // linear memory cannot be detached so
  }
};

const makers: Record<string, (n: number) => Float32Array> = {
  plain: (n) => new Float32Array(n),
  offset: (n) => new Float32Array(new ArrayBuffer(4 * n + 12), 4, n),
  shared: (n) => new Float32Array(new SharedArrayBuffer(4 * n)) as unknown as Float32Array,
  growable: (n) =>
    new Float32Array(new Growable(4 * n, { maxByteLength: 4 * n + 64 }) as unknown as ArrayBuffer),
  resizable: (n) => new Float32Array(new Resizable(4 * n, { maxByteLength: 4 * n + 64 })),
  foreign: (n) => new Foreign(n),
  longer: (n) => new Longer(n),
  shorter: (n) => new Shorter(n),
  hooked: (n) => new Hooked(n),
  species: (n) => new Species(n),
};

const broken: Record<string, (n: number) => unknown> = {
  detached: (n) => {
    const array = new Float32Array(n);
    detach(array);
    return array;
  },
  "out of bounds": (n) => {
    const buffer = new Resizable(4 * n + 4, { maxByteLength: 4 * n + 4 });
    const array = new Float32Array(buffer, 4, n);
    buffer.resize(0);
    return array;
  },
  "proxy of one": (n) => new Proxy(new Float32Array(n), {}),
  "one in a prototype": (n) => Object.create(new Float32Array(n)),
  "a Float64Array": (n) => new Float64Array(n),
  "an Array": (n) => new Array(n).fill(0),
};

export const arrayKinds = Object.keys(makers);
export const brokenKinds = Object.keys(broken);

export function makeArray(kind: string, length: number, how: Fill, seed: number): unknown {
  if (kind in broken) return broken[kind]!(length);
  const array = makers[kind]!(length);
  fill(array, how, seed);
  return array;
}
