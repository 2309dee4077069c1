/** Recipes of whole arguments, and what they give in a world: minibatches, shapes, options, states. */
import fc from "fast-check";
import {
  anyOdd,
  arrayKinds,
  brokenKinds,
  type Fill,
  fills,
  makeArray,
  type Odd,
  oddValue,
  type Prank,
  pranks,
} from "./values.js";
import { type Held, SLOTS, type World } from "./world.js";

export const anySlot = fc.nat(SLOTS - 1);
export const anySeed = fc.nat(0xffff);

// ------------------------------------------------------------------------------------------------ where it fits

/** What a call works on: a layer's extents decide what fits. */
export interface Setting {
  world: World;
  held: Held | undefined;
  rows: number;
  positions: number;
  /** The shape itself, where it is known. */
  shape?: number[] | undefined;
  /** Recorded where a value runs code of the caller's that changes the world. */
  pranks: Prank[];
}

export const shapeIn = ({ held, rows, positions, shape }: Setting): number[] =>
  shape ? [...shape] : held ? held.shape(rows, positions) : [rows, positions];
export const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

// -------------------------------------------------------------------------------------------------- minibatches

export type MinibatchRecipe =
  | { array: string; how: Fill; seed: number; more: number }
  | { tensor: true; how: Fill; seed: number }
  | { slot: "tensor" | "array" | "view" | "linear memory"; at: number }
  | { alien: true }
  | { odd: Odd };

const often = <T>(weight: number, arbitrary: fc.Arbitrary<T>) => ({ weight, arbitrary });

export const anyMinibatch: fc.Arbitrary<MinibatchRecipe> = fc.oneof(
  often(
    8,
    fc.record({
      array: fc.oneof(
        often(3, fc.constant("plain")),
        often(3, fc.constantFrom(...arrayKinds)),
        often(1, fc.constantFrom(...brokenKinds)),
      ),
      how: fc.constantFrom(...fills),
      seed: anySeed,
      more: fc.oneof(often(12, fc.constant(0)), often(1, fc.integer({ min: -2, max: 300 }))),
    }),
  ),
  often(6, fc.record({ tensor: fc.constant(true as const), how: fc.constantFrom(...fills), seed: anySeed })),
  often(
    4,
    fc.record({
      slot: fc.constantFrom(
        "tensor" as const,
        "tensor" as const,
        "array" as const,
        "view" as const,
        "linear memory" as const,
      ),
      at: anySlot,
    }),
  ),
  often(1, fc.constant({ alien: true as const })),
  often(1, anyOdd),
);

/** A minibatch of the setting's size, or something else; a new Tensor takes the next slot. */
export function minibatch(setting: Setting, recipe: MinibatchRecipe): unknown {
  const { world } = setting;
  if ("odd" in recipe) return oddValue(recipe.odd);
  if ("alien" in recipe) return world.alien;
  if ("slot" in recipe) {
    if (recipe.slot === "array") return world.arrays[recipe.at];
    const { tensor, disposed } = world.tensors[recipe.at]!;
    if (recipe.slot === "tensor" || disposed) return tensor;
    const given = recipe.slot === "view" ? tensor.data : new Float32Array(tensor.data.buffer);
    world.borrowed.add(given);
    return given;
  }
  const shape = shapeIn(setting);
  if ("tensor" in recipe) {
    const slot = recipe.seed % SLOTS;
    const values = makeArray("plain", sizeOf(shape), recipe.how, recipe.seed) as Float32Array;
    const kept = world.tensors[slot]!;
    if (!kept.disposed && String(kept.tensor.shape) === String(shape)) kept.tensor.set(values);
    else world.addTensor(slot, world.library.tensor(shape, values));
    return world.tensors[slot]!.tensor;
  }
  const array = makeArray(recipe.array, Math.max(0, sizeOf(shape) + recipe.more), recipe.how, recipe.seed);
  if (recipe.array === "plain") world.arrays[recipe.seed % SLOTS] = array as Float32Array;
  return array;
}

// ------------------------------------------------------------------------------------------------------- shapes

export type ShapeRecipe =
  | { fits: true }
  | { extents: number[] }
  | { odd: Odd }
  | { lying: number[]; at: number; prank: Prank };

const anyExtent = fc.oneof(
  often(6, fc.integer({ min: 0, max: 6 })),
  often(1, fc.constantFrom(-1, 0.5, Number.NaN, Infinity, -0, 2 ** 30, 2 ** 32, 2 ** 52, 2 ** 53, 1e300)),
);

export const anyShape: fc.Arbitrary<ShapeRecipe> = fc.oneof(
  often(10, fc.constant({ fits: true as const })),
  often(2, fc.record({ extents: fc.array(anyExtent, { maxLength: 9 }) })),
  often(
    1,
    fc.record({
      lying: fc.array(anyExtent, { minLength: 1, maxLength: 3 }),
      at: fc.nat(2),
      prank: fc.constantFrom(...pranks),
    }),
  ),
  often(1, anyOdd),
);

export function shape(setting: Setting, recipe: ShapeRecipe): unknown {
  if ("odd" in recipe) return oddValue(recipe.odd);
  if ("fits" in recipe) return shapeIn(setting);
  if ("extents" in recipe) return [...recipe.extents];
  // an element that does harm when it is read, in the right shape or a wrong one
  const list = recipe.lying[0]! > 2 ? shapeIn(setting) : [...recipe.lying];
  return withPrank(setting, list, Math.min(recipe.at, list.length - 1), recipe.prank);
}

/** Turns a property into a getter that does harm and then answers as the property did. */
function withPrank<T extends object>(setting: Setting, object: T, key: PropertyKey, prank: Prank): T {
  const value = Reflect.get(object, key);
  setting.pranks.push(prank);
  const play = setting.world.play(setting.held);
  Object.defineProperty(object, key, {
    configurable: true,
    enumerable: true,
    get: () => {
      play(prank);
      return value;
    },
  });
  return object;
}

// ------------------------------------------------------------------------------------------------------ options

/** An object of options: its prototype, and for each key a recipe or nothing; one key may be a getter that does harm. */
export interface OptionsRecipe<T> {
  fields: Partial<T>;
  bare: boolean;
  prank: Prank | undefined;
}

export function anyOptions<T extends object>(
  fields: { [K in keyof T]: fc.Arbitrary<T[K]> },
): fc.Arbitrary<OptionsRecipe<T> | { odd: Odd } | undefined> {
  return fc.oneof(
    often(3, fc.constant(undefined)),
    often(
      10,
      fc.record({
        fields: fc.record(fields, { requiredKeys: [] }) as unknown as fc.Arbitrary<Partial<T>>,
        bare: fc.boolean(),
        prank: fc.oneof(often(12, fc.constant(undefined)), often(1, fc.constantFrom(...pranks))),
      }),
    ),
    often(1, anyOdd),
  );
}

export function options<T extends object>(
  setting: Setting,
  recipe: OptionsRecipe<T> | { odd: Odd } | undefined,
  make: { [K in keyof T]: (field: T[K]) => unknown },
): unknown {
  if (!recipe) return undefined;
  if ("odd" in recipe) return oddValue(recipe.odd);
  const made: Record<string, unknown> = recipe.bare ? Object.create(null) : {};
  const keys = Object.keys(recipe.fields) as Array<keyof T & string>;
  for (const key of keys) made[key] = make[key](recipe.fields[key]!);
  if (recipe.prank && keys.length) withPrank(setting, made, keys.at(-1)!, recipe.prank);
  return made;
}

// ------------------------------------------------------------------------------------- numbers, flags, anything

export type PlainRecipe = { is: unknown } | { odd: Odd };
/** One of the values that belong there, or something odd. */
export const anyOf = (...values: unknown[]): fc.Arbitrary<PlainRecipe> =>
  fc.oneof(often(12, fc.record({ is: fc.constantFrom(...values) })), often(1, anyOdd));
export const plainValue = (recipe: PlainRecipe): unknown =>
  "odd" in recipe ? oddValue(recipe.odd) : recipe.is;

// ------------------------------------------------------------------------------------------------------ vectors

export type VectorRecipe =
  | { array: string; length: number; how: Fill; seed: number }
  | { view: number }
  | { odd: Odd };
/** A vector for a parameter: of `length` 0 where it fits, else so much longer or shorter. */
export const anyVector: fc.Arbitrary<VectorRecipe> = fc.oneof(
  often(
    8,
    fc.record({
      array: fc.oneof(often(4, fc.constantFrom(...arrayKinds)), often(1, fc.constantFrom(...brokenKinds))),
      length: fc.oneof(often(6, fc.constant(0)), often(1, fc.integer({ min: -3, max: 1000 }))),
      how: fc.constantFrom(...fills),
      seed: anySeed,
    }),
  ),
  often(1, fc.record({ view: anySlot })),
  often(1, anyOdd),
);

export function vector({ world }: Setting, recipe: VectorRecipe, fits: number): unknown {
  if ("odd" in recipe) return oddValue(recipe.odd);
  if ("view" in recipe) {
    const { tensor, disposed } = world.tensors[recipe.view]!;
    if (disposed) return tensor;
    const view = (tensor.data as Float32Array).subarray(0, fits);
    world.views.add(view);
    return view;
  }
  return makeArray(recipe.array, Math.max(0, fits + recipe.length), recipe.how, recipe.seed);
}

// ------------------------------------------------------------------------------------------------------- states

/** A state dict: what the thing itself gives, with entries that are changed, left out or added. */
export interface StateRecipe {
  entry: number;
  with: VectorRecipe | "remove" | "add" | "list" | "getter" | "json" | "proxy";
  prank: Prank;
}
export const anyState: fc.Arbitrary<StateRecipe | { odd: Odd }> = fc.oneof(
  often(
    8,
    fc.record({
      entry: fc.nat(4),
      with: fc.oneof(
        often(3, anyVector),
        often(
          4,
          fc.constantFrom(
            "remove" as const,
            "add" as const,
            "list" as const,
            "getter" as const,
            "json" as const,
            "proxy" as const,
          ),
        ),
      ),
      prank: fc.constantFrom(...pranks),
    }),
  ),
  often(1, anyOdd),
);

export function state(
  setting: Setting,
  recipe: StateRecipe | { odd: Odd },
  own: Record<string, Float32Array | Float64Array>,
): unknown {
  if ("odd" in recipe) return oddValue(recipe.odd);
  const dict: Record<string, unknown> = own;
  const names = Object.keys(dict);
  const name = names[recipe.entry % Math.max(1, names.length)] ?? "weight";
  const was = own[name] ?? new Float32Array(1);
  switch (recipe.with) {
    case "remove":
      delete dict[name];
      return dict;
    case "add":
      return { ...dict, extra: was };
    case "list":
      return { ...dict, [name]: Array.from(was, (value, i) => (i === recipe.entry ? value * 2 : value)) };
    case "getter":
      return withPrank(setting, dict, name, recipe.prank);
    case "json":
      return JSON.parse(
        JSON.stringify(Object.fromEntries(names.map((each) => [each, Array.from(own[each]!)]))),
      );
    case "proxy": {
      setting.pranks.push(recipe.prank);
      const play = setting.world.play(setting.held);
      return new Proxy(dict, {
        ownKeys: (target) => {
          play(recipe.prank);
          return Reflect.ownKeys(target);
        },
      });
    }
    default:
      return { ...dict, [name]: vector(setting, recipe.with, was.length) };
  }
}
