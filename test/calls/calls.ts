/** Every call of the public interface, with arguments at random: a recipe that fast-check makes, and how to make the call. */
import { types } from "node:util";
import fc from "fast-check";
import type { Library } from "../cases.js";
import type { AnyLayer } from "../refusal.js";
import {
  anyMinibatch,
  anyOf,
  anyOptions,
  anySeed,
  anyShape,
  anySlot,
  anyState,
  anyVector,
  type MinibatchRecipe,
  minibatch,
  options,
  type PlainRecipe,
  plainValue,
  type Setting,
  type ShapeRecipe,
  shape,
  shapeIn,
  sizeOf,
  state,
  type VectorRecipe,
  vector,
} from "./arguments.js";
import { anyOdd, type Odd, oddValue, type Prank } from "./values.js";
import { type Held, PROPERTIES, SLOTS, trueLength, type World } from "./world.js";

// biome-ignore lint/suspicious/noExplicitAny: wrong values are the point, so the compiler is told to look away
type Any = any;

/** A call that is ready to be made: its arguments exist. */
export interface Call {
  /** Makes it; what it returns is dealt with by `done`. */
  go: () => unknown;
  /** The layer whose saved forward a throw must leave alone. */
  target?: Held | undefined;
  /** What may change if it returns: names of things in the world. */
  changes: string[];
  done?: (result: Any) => void;
  pranks: Prank[];
}

export interface Kind {
  /** Recipes of arguments. */
  arguments: fc.Arbitrary<unknown>;
  prepare: (world: World, recipe: Any) => Call;
}

const kind = <R>(recipe: fc.Arbitrary<R>, prepare: (world: World, recipe: R) => Call): Kind => ({
  arguments: recipe,
  prepare,
});

// ------------------------------------------------------------------------------------------------------- layers

const anyPlace = { at: anySlot, rows: fc.nat(9), positions: fc.integer({ min: 1, max: 5 }) };

function settingOf(
  world: World,
  { at, rows, positions }: { at: number; rows: number; positions: number },
): Setting {
  return { world, held: world.layers[at], rows, positions, pranks: [] };
}

interface Mask {
  mask: number;
  more: number;
  as: "bytes" | "flags" | "species" | "endless";
}
const anyMask: fc.Arbitrary<Mask | { odd: Odd }> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      mask: anySeed,
      more: fc.constantFrom(0, 0, 0, 0, 1, -1),
      as: fc.constantFrom("bytes" as const, "flags" as const, "species" as const, "endless" as const),
    }),
  },
  { weight: 1, arbitrary: anyOdd },
);

class Bytes extends Uint8Array {
  static get [Symbol.species](): Uint8ArrayConstructor {
    throw new Error("from the caller's own code");
  }
  override slice(): Uint8Array<ArrayBuffer> {
    return new Uint8Array(1e6);
  }
  override get length(): number {
    return 7;
  }
}

function mask(setting: Setting, recipe: Mask | { odd: Odd }): unknown {
  if ("odd" in recipe) return oddValue(recipe.odd);
  const length = Math.max(
    0,
    Math.floor(sizeOf(shapeIn(setting)) / (setting.held?.parameters || 1)) + recipe.more,
  );
  const flags = Array.from({ length }, (_, i) => (recipe.mask >> (i % 16)) % 2 === 1);
  if (recipe.as === "flags") return flags;
  if (recipe.as === "bytes") return Uint8Array.from(flags, Number);
  if (recipe.as === "species") return new Bytes(length).fill(1);
  return Object.assign(flags, {
    *[Symbol.iterator]() {
      for (;;) yield true;
    },
  });
}

interface ForwardOptions {
  shape: ShapeRecipe;
  residual: MinibatchRecipe;
  mask: Mask | { odd: Odd };
}

const sometimes = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 2, nil: undefined });
const anyForward = fc.oneof(
  { weight: 5, arbitrary: fc.record({ list: anyShape }) },
  {
    weight: 5,
    arbitrary: fc.record({
      options: anyOptions<ForwardOptions>({ shape: anyShape, residual: anyMinibatch, mask: anyMask }),
    }),
  },
);
type Forward = typeof anyForward extends fc.Arbitrary<infer R> ? R : never;

const forwardOptions = (setting: Setting, recipe: Forward): unknown =>
  "list" in recipe
    ? shape(setting, recipe.list)
    : options<ForwardOptions>(setting, recipe.options, {
        shape: (field) => shape(setting, field),
        residual: (field) => minibatch(setting, field),
        mask: (field) => mask(setting, field),
      });

/** The things of the world that an output is, or lies in. */
function owners({ tensors, arrays }: World, out: unknown): string[] {
  const names: string[] = [];
  tensors.forEach(({ tensor, disposed }, i) => {
    const within = !disposed && ArrayBuffer.isView(out) && out.buffer === tensor.data.buffer;
    if (out === tensor || within) names.push(`tensor ${i}`);
  });
  arrays.forEach((array, i) => {
    if (out === array) names.push(`array ${i}`);
  });
  return names;
}

/** What the last forward was called on, for the backward that follows. */
function remember(setting: Setting, x: Any): void {
  const held = setting.held!;
  const shape = shapeIn(setting);
  held.last = size(x);
  held.lastShape = x.shape ? [...x.shape] : sizeOf(shape) === held.last ? shape : undefined;
}

/** The setting of a backward: mostly the last forward's shape. */
const backwards = (world: World, place: { at: number; rows: number; positions: number }): Setting => ({
  ...settingOf(world, place),
  shape: place.rows > 0 ? world.layers[place.at]!.lastShape : undefined,
});

/** A property's value, without running what may be a getter. */
const peek = (object: object | undefined, name: string): unknown =>
  object && Object.getOwnPropertyDescriptor(object, name)?.value;

/** Keeps a Tensor that came back in a slot, so that its memory is accounted for. */
function keep(world: World, slot: number, result: unknown): void {
  if (result instanceof world.library.Tensor) world.addTensor(slot, result);
}

const memory = ["bytesInUse", "tensors in use"];
const size = (value: Any): number => (types.isFloat32Array(value) ? trueLength(value) : value.size);

const layerKinds: Record<string, Kind> = {
  forward: kind(fc.record({ ...anyPlace, x: anyMinibatch, how: anyForward }), (world, recipe) => {
    const setting = settingOf(world, recipe);
    const target = setting.held!;
    const x = minibatch(setting, recipe.x) as Any;
    const how = forwardOptions(setting, recipe.how) as Any;
    return {
      target,
      go: () => target.layer.forward(x, how),
      changes: [`layer ${recipe.at}`, ...memory],
      done: (y) => {
        remember(setting, x);
        keep(world, (recipe.at + 1) % SLOTS, y);
      },
      pranks: setting.pranks,
    };
  }),

  forwardInto: kind(
    fc.record({ ...anyPlace, x: anyMinibatch, out: sometimes(anyMinibatch), how: anyForward }),
    (world, recipe) => {
      const setting = settingOf(world, recipe);
      const target = setting.held!;
      const x = minibatch(setting, recipe.x) as Any;
      const out = recipe.out ? (minibatch(setting, recipe.out) as Any) : x;
      const how = forwardOptions(setting, recipe.how) as Any;
      return {
        target,
        go: () => target.layer.forwardInto(x, out, how),
        changes: [`layer ${recipe.at}`, "bytesInUse", ...owners(world, out)],
        done: () => {
          remember(setting, x);
        },
        pranks: setting.pranks,
      };
    },
  ),

  backward: kind(fc.record({ ...anyPlace, dy: anyMinibatch }), (world, recipe) => {
    const setting = backwards(world, recipe);
    const target = setting.held!;
    const dy = minibatch(setting, recipe.dy) as Any;
    return {
      target,
      go: () => target.layer.backward(dy),
      changes: [`layer ${recipe.at}`, ...memory],
      done: (dx) => {
        keep(world, (recipe.at + 2) % SLOTS, dx);
        const { residualGrad } = target.layer;
        if (residualGrad && "dispose" in residualGrad) residualGrad.dispose();
      },
      pranks: [],
    };
  }),

  backwardInto: kind(
    fc.record({
      ...anyPlace,
      dy: anyMinibatch,
      dx: sometimes(anyMinibatch),
      options: anyOptions<{ residualGrad: MinibatchRecipe }>({ residualGrad: anyMinibatch }),
    }),
    (world, recipe) => {
      const setting = backwards(world, recipe);
      const target = setting.held!;
      const dy = minibatch(setting, recipe.dy) as Any;
      const dx = recipe.dx ? (minibatch(setting, recipe.dx) as Any) : dy;
      const how = options<{ residualGrad: MinibatchRecipe }>(setting, recipe.options, {
        residualGrad: (field) => minibatch(setting, field),
      }) as Any;
      const residualGrad = recipe.options && "odd" in recipe.options ? undefined : peek(how, "residualGrad");
      return {
        target,
        go: () => target.layer.backwardInto(dy, dx, how),
        changes: [`layer ${recipe.at}`, "bytesInUse", ...owners(world, dx), ...owners(world, residualGrad)],
        pranks: setting.pranks,
      };
    },
  ),

  question: kind(
    fc.record({
      ...anyPlace,
      ask: fc.constantFrom(
        "recoverIdentity",
        "identityGap",
        "decomposeGradient",
        "toAffine",
        "foldBatchNorm",
      ),
      from: anyOf("batch", "running", undefined),
      dy: anyMinibatch,
      weight: anyVector,
      bias: anyVector,
    }),
    (world, recipe) => {
      const setting = backwards(world, recipe);
      const target = setting.held!;
      const layer = target.layer as InstanceType<Library["BatchNorm"]>;
      const from = plainValue(recipe.from) as Any;
      const dy = minibatch(setting, recipe.dy) as Any;
      const weight = vector(setting, recipe.weight, 3 * target.parameters);
      const bias = vector(setting, recipe.bias, target.parameters);
      const fits = layer instanceof world.library.BatchNorm;
      const asks: Record<string, () => unknown> = {
        recoverIdentity: () => layer.recoverIdentity(from),
        identityGap: () => layer.identityGap(from),
        decomposeGradient: () => layer.decomposeGradient(dy),
        toAffine: () => layer.toAffine(),
        foldBatchNorm: () => world.library.foldBatchNorm(layer, { weight, bias } as Any),
      };
      return {
        target,
        go: () => (fits || recipe.ask === "foldBatchNorm" ? asks[recipe.ask]!() : undefined),
        changes: recipe.ask === "recoverIdentity" ? [`layer ${recipe.at}`] : [],
        pranks: [],
      };
    },
  ),

  mode: kind(
    fc.record({
      at: anySlot,
      method: fc.constantFrom("train", "train", "eval", "zeroGrad", "parameters", "stateDict", "toString"),
    }),
    (world, { at, method }) => {
      const target = world.layers[at]!;
      return { target, go: () => (target.layer as Any)[method](), changes: [`layer ${at}`], pranks: [] };
    },
  ),

  "dispose layer": kind(
    fc.record({ at: anySlot, by: fc.constantFrom("dispose" as const, Symbol.dispose), really: fc.nat(3) }),
    (world, { at, by, really }) => {
      const target = world.layers[at]!;
      return {
        go: () => {
          if (really > 0) return;
          target.layer[by]();
          target.disposed = true;
        },
        changes: [`layer ${at}`, "bytesInUse"],
        pranks: [],
      };
    },
  ),

  loadStateDict: kind(fc.record({ at: anySlot, state: anyState }), (world, recipe) => {
    const setting = settingOf(world, { at: recipe.at, rows: 2, positions: 2 });
    const target = setting.held!;
    let own: ReturnType<AnyLayer["stateDict"]> = {};
    try {
      own = target.layer.stateDict();
    } catch {
      // a disposed layer, or one with a wrong gamma, has none
    }
    const dict = state(setting, recipe.state, own) as Any;
    return {
      target,
      go: () => target.layer.loadStateDict(dict),
      changes: [`layer ${recipe.at}`],
      pranks: setting.pranks,
    };
  }),

  "set a property": kind(
    fc.record({ at: anySlot, name: fc.constantFrom(...PROPERTIES), to: fc.oneof(anyOdd, anyVector) }),
    (world, recipe) => {
      const target = world.layers[recipe.at]!;
      const to = vector(
        settingOf(world, { at: recipe.at, rows: 2, positions: 2 }),
        recipe.to as VectorRecipe,
        target.parameters,
      );
      return {
        target,
        go: () => assign(target.layer, recipe.name, to),
        changes: [`layer ${recipe.at}`],
        pranks: [],
      };
    },
  ),

  "replace a parameter": kind(
    fc.record({
      at: anySlot,
      which: fc.constantFrom("gamma" as const, "beta" as const),
      part: fc.constantFrom("data" as const, "grad" as const),
      how: fc.constantFrom("value", "value", "value", "getter"),
      to: anyVector,
    }),
    (world, { at, which, part, how, to }) => {
      const target = world.layers[at]!;
      const value = vector(settingOf(world, { at, rows: 2, positions: 2 }), to, target.parameters);
      return {
        go: () => {
          const parameter = target.disposed ? null : (target.layer[which] as Any);
          if (!parameter) return;
          if (how === "value") parameter[part] = value;
          else {
            // fits when it is first asked for, and is something else from then on
            let asked = 0;
            target.unstable = true;
            const fits = new Float32Array(target.parameters);
            Object.defineProperty(parameter, part, {
              configurable: true,
              get: () => (asked++ % 2 ? value : fits),
              set: () => {},
            });
          }
        },
        changes: [`layer ${at}`],
        pranks: how === "getter" ? ["replace"] : [],
      };
    },
  ),
};

/** An assignment that is refused is as good as one that is ignored or harmless. */
function assign(object: object, name: string, value: unknown): void {
  try {
    (object as Any)[name] = value;
  } catch (error) {
    if (error instanceof TypeError && /only a getter|read only|not extensible/.test(error.message)) return;
    throw error;
  }
}

// ------------------------------------------------------------------------------------------------ constructors

const flag = anyOf(true, false, undefined);
const extent = anyOf(1, 2, 3, 4, 4, 5, 8, 17, 33);
interface LayerOptions {
  eps: PlainRecipe;
  momentum: PlainRecipe;
  affine: PlainRecipe;
  trackRunningStats: PlainRecipe;
  layout: PlainRecipe;
  activation: PlainRecipe;
}
const anyLayerOptions = anyOptions<LayerOptions>({
  eps: anyOf(0, 1e-5, 1e-12, 1e300, 5e-324),
  momentum: anyOf(0, 0.1, 1, null),
  affine: anyOf(true, false, { gamma: true, beta: false }, { gamma: false, beta: true }, { gamma: "yes" }),
  trackRunningStats: flag,
  layout: anyOf("channels-last", "channels-first"),
  activation: anyOf("none", "relu"),
});

const constructorKinds: Record<string, Kind> = {
  "new layer": kind(
    fc.record({
      at: anySlot,
      family: fc.constantFrom("BatchNorm", "BatchNorm", "LayerNorm", "RMSNorm", "GroupNorm", "InstanceNorm"),
      size: fc.oneof({ weight: 4, arbitrary: extent }, { weight: 1, arbitrary: anyShape }),
      groups: anyOf(1, 2, 2, 4),
      options: anyLayerOptions,
    }),
    (world, { at, family, size: given, groups: parts, options: recipe }) => {
      const setting: Setting = { world, held: undefined, rows: 3, positions: 2, pranks: [] };
      const size = "is" in given || "odd" in given ? plainValue(given) : shape(setting, given as ShapeRecipe);
      const groups = plainValue(parts);
      const how = options<LayerOptions>(setting, recipe, {
        eps: plainValue,
        momentum: plainValue,
        affine: plainValue,
        trackRunningStats: plainValue,
        layout: plainValue,
        activation: plainValue,
      });
      const layers = world.library as Any;
      return {
        go: () =>
          family === "GroupNorm" ? new layers.GroupNorm(groups, size, how) : new layers[family](size, how),
        changes: [`layer ${at}`, "bytesInUse"],
        done: (layer: AnyLayer) => {
          // what could only be made at great cost is let go again
          const { shape: fits, parameters } = fitting(world.library, layer);
          world.addLayer(at, layer, fits, parameters);
        },
        pranks: setting.pranks,
      };
    },
  ),

  // Most of the above leaves nothing that works; these do, so that what follows gets somewhere.
  "sound layer": kind(
    fc.record({
      at: anySlot,
      which: fc.nat(8),
      rows: fc.integer({ min: 2, max: 9 }),
      as: fc.boolean(),
      how: fc.nat(3),
    }),
    (world, { at, which, rows, as, how }) => {
      const { BatchNorm, LayerNorm, RMSNorm, GroupNorm, InstanceNorm, tensor } = world.library;
      const layer = [
        () => new BatchNorm(5),
        () => new BatchNorm(4, { activation: "relu" }),
        () => new BatchNorm(3, { layout: "channels-first", momentum: null }),
        () => new LayerNorm([2, 3]),
        () => new RMSNorm(7, { activation: "relu" }),
        () => new GroupNorm(2, 4, { layout: "channels-last" }),
        () => new InstanceNorm(3, { affine: true }),
        () => new BatchNorm(4, { renorm: { rMax: 2, dMax: 1 } }),
        () => new BatchNorm(4, { virtualBatchSize: rows }),
      ][which]!();
      const { shape: fits, parameters } = fitting(world.library, layer);
      world.addLayer(at, layer, fits, parameters);
      const setting = settingOf(world, { at, rows, positions: 4 });
      const shape = shapeIn(setting);
      const values = minibatch(setting, {
        array: "plain",
        more: 0,
        how: "normal",
        seed: rows,
      }) as Float32Array;
      const x = as ? tensor(shape, values) : values;
      if (x !== values) keep(world, (at + 1) % SLOTS, x);
      const residual = how === 0 && layer instanceof BatchNorm ? values : undefined;
      return {
        go: () =>
          layer.forwardInto(x, new Float32Array(values.length), { shape, ...(residual && { residual }) }),
        changes: [`layer ${at}`, "bytesInUse"],
        done: () => remember(setting, x),
        pranks: [],
      };
    },
  ),

  tensor: kind(
    fc.record({ slot: anySlot, shape: anyShape, data: fc.option(anyMinibatch, { freq: 2, nil: undefined }) }),
    (world, recipe) => {
      const setting: Setting = { world, held: undefined, rows: 4, positions: 4, pranks: [] };
      const data = recipe.data && (minibatch(setting, recipe.data) as Any);
      const extents = shape(setting, recipe.shape) as Any;
      return {
        go: () => world.library.tensor(extents, data),
        changes: [`tensor ${recipe.slot}`, ...memory],
        done: (tensor) => world.addTensor(recipe.slot, tensor),
        pranks: setting.pranks,
      };
    },
  ),

  "use a tensor": kind(
    fc.record({
      slot: anySlot,
      use: fc.constantFrom("set", "set", "toArray", "data", "dispose", "assign"),
      value: anyMinibatch,
    }),
    (world, { slot, use, value: recipe }) => {
      const kept = world.tensors[slot]!;
      const { tensor } = kept;
      const given = minibatch({ world, held: undefined, rows: 4, positions: 4, pranks: [] }, recipe) as Any;
      // making the value may have replaced the Tensor
      if (world.tensors[slot] !== kept) return { go: () => {}, changes: [], pranks: [] };
      const uses: Record<string, () => unknown> = {
        set: () => tensor.set(given),
        toArray: () => tensor.toArray(),
        data: () => (tensor.data as Float32Array).fill(3),
        dispose: () => {
          tensor.dispose();
          kept.disposed = true;
        },
        assign: () => {
          for (const name of ["shape", "size", "data"]) assign(tensor, name, given);
          try {
            (tensor.shape as number[])[0] = 1e6;
          } catch (error) {
            if (!/read only/.test((error as Error).message)) throw error;
          }
        },
      };
      const dispose = use === "dispose";
      return {
        go: () => uses[use]!(),
        changes: use === "toArray" || use === "assign" ? [] : [`tensor ${slot}`, ...(dispose ? memory : [])],
        pranks: [],
      };
    },
  ),
};

/** The most axes that a shape may have. */
const MAX_RANK = 8;

/** What fits a layer, by what it says of itself when it is new. */
function fitting(library: Library, layer: AnyLayer): Pick<Held, "shape" | "parameters"> {
  if (layer instanceof library.LayerNorm || layer instanceof library.RMSNorm) {
    const normalized = [...layer.normalizedShape];
    const deep = normalized.length === MAX_RANK;
    return { shape: (n) => (deep ? [...normalized] : [n, ...normalized]), parameters: sizeOf(normalized) };
  }
  const channels =
    layer instanceof library.BatchNorm ? layer.features : Number(/(\d+)\)$/.exec((layer as Any).who)![1]);
  const first = layer.layout === "channels-first";
  return {
    shape: (n, positions) => (first ? [n, channels, positions] : [n, positions, channels]),
    parameters: channels,
  };
}

// -------------------------------------------------------------------------------------------------- optimizers

interface OptimizerOptions {
  lr: PlainRecipe;
  momentum: PlainRecipe;
  weightDecay: PlainRecipe;
  nesterov: PlainRecipe;
  betas: PlainRecipe;
  eps: PlainRecipe;
}
const anyOptimizerOptions = anyOptions<OptimizerOptions>({
  lr: anyOf(0, 0.1, 1e-3, 1e300),
  momentum: anyOf(0, 0.9),
  weightDecay: anyOf(0, 0.01),
  nesterov: flag,
  betas: anyOf([0.9, 0.999], [0, 0], [1, 1], [0.9]),
  eps: anyOf(0, 1e-8),
});

const optimizerKinds: Record<string, Kind> = {
  "new optimizer": kind(
    fc.record({
      slot: anySlot,
      rule: fc.constantFrom("SGD" as const, "AdamW" as const),
      of: fc.oneof(
        { weight: 6, arbitrary: fc.record({ layer: anySlot }) },
        { weight: 1, arbitrary: anyOdd },
        { weight: 2, arbitrary: fc.record({ data: anyVector, grad: anyVector }) },
      ),
      options: anyOptimizerOptions,
    }),
    (world, { slot, rule, of, options: recipe }) => {
      const setting: Setting = { world, held: undefined, rows: 2, positions: 2, pranks: [] };
      const own = {
        data: "data" in of && vector(setting, of.data, 4),
        grad: "grad" in of && vector(setting, of.grad, 4),
      };
      const how = options<OptimizerOptions>(setting, recipe, {
        lr: plainValue,
        momentum: plainValue,
        weightDecay: plainValue,
        nesterov: plainValue,
        betas: plainValue,
        eps: plainValue,
      }) as Any;
      const parameters = () =>
        "odd" in of ? oddValue(of.odd) : "layer" in of ? world.layers[of.layer]!.layer.parameters() : [own];
      return {
        go: () => new world.library[rule](parameters() as Any, how),
        changes: [`optimizer ${slot}`],
        done: (optimizer) => {
          world.optimizers[slot] = optimizer;
        },
        pranks: setting.pranks,
      };
    },
  ),

  "use an optimizer": kind(
    fc.record({
      slot: anySlot,
      use: fc.constantFrom("step", "step", "zeroGrad", "stateDict", "loadStateDict", "lr", "state"),
      state: anyState,
      value: anyOf(0, 0.01, 1),
    }),
    (world, { slot, use, state: recipe, value }) => {
      const optimizer = world.optimizers[slot]!;
      const setting: Setting = { world, held: undefined, rows: 2, positions: 2, pranks: [] };
      const dict =
        use === "loadStateDict" ? (state(setting, recipe, optimizer.stateDict()) as Any) : undefined;
      const given = plainValue(value) as Any;
      const uses: Record<string, () => unknown> = {
        step: () => optimizer.step(),
        zeroGrad: () => optimizer.zeroGrad(),
        stateDict: () => optimizer.stateDict(),
        loadStateDict: () => optimizer.loadStateDict(dict),
        lr: () => {
          optimizer.lr = given;
        },
        state: () => assign(optimizer, "state", given),
      };
      return {
        go: () => uses[use]!(),
        // the parameters of some layer, perhaps one that is in no slot any more, or a Tensor's view
        changes: [`optimizer ${slot}`, "layer", "tensor "],
        pranks: setting.pranks,
      };
    },
  ),
};

// -------------------------------------------------------------------------------------------------- functional

interface Axes {
  axes: PlainRecipe;
  eps: PlainRecipe;
  gamma: VectorRecipe;
  beta: VectorRecipe;
  parameterAxes: PlainRecipe;
}
const axes = anyOf([0], [0], [1], [0, 1], [-1], [], [2], [0, 0], [0.5]);
const anyAxes = anyOptions<Axes>({
  axes,
  eps: anyOf(0, 1e-5),
  gamma: anyVector,
  beta: anyVector,
  parameterAxes: anyOf([1], [1], [0], []),
});

class Sums extends Float64Array {
  override get length(): number {
    return 4;
  }
}

const anySums = fc.record({
  length: fc.constantFrom(4, 4, 4, 3, 5, 500),
  as: fc.constantFrom("array", "array", "array", "liar", "fake", "float32"),
  seed: anySeed,
});

function sums({ length, as, seed }: { length: number; as: string; seed: number }): Any {
  const values = Float64Array.from({ length }, (_, i) => ((seed >> (i % 16)) % 4) - 1);
  if (as === "liar") return new Sums(values);
  if (as === "fake") return Object.create(Float64Array.prototype);
  return as === "float32" ? Float32Array.from(values) : values;
}

const functionalKinds: Record<string, Kind> = {
  functional: kind(
    fc.record({
      step: fc.constantFrom("moments", "mergeMoments", "normalize", "backwardReduce", "backwardApply"),
      sound: fc.boolean(),
      rows: fc.nat(9),
      x: anyMinibatch,
      dy: anyMinibatch,
      shape: anyShape,
      count: anyOf(4, 1, 0, 12),
      sums: fc.array(anySums, { minLength: 4, maxLength: 4 }),
      options: anyAxes,
    }),
    (world, recipe) => {
      const setting: Setting = { world, held: undefined, rows: recipe.rows, positions: 4, pranks: [] };
      const { functional: f } = world;
      const x = minibatch(setting, recipe.x) as Any;
      const dy = minibatch(setting, recipe.dy) as Any;
      const { sound } = recipe;
      const extents = shape(setting, sound ? { fits: true } : recipe.shape) as Any;
      const [mean, m2, sumDy, sumDyXhat] = recipe.sums.map((each) =>
        sums(sound ? { ...each, length: 4, as: "array" } : each),
      );
      const statistics = { count: sound ? 4 : (plainValue(recipe.count) as Any), mean, m2 };
      const how: Any = sound
        ? { axes: [0] }
        : (options<Axes>(setting, recipe.options, {
            axes: plainValue,
            eps: plainValue,
            gamma: (field) => vector(setting, field, 4),
            beta: (field) => vector(setting, field, 4),
            parameterAxes: plainValue,
          }) as Any);
      const steps: Record<string, () => unknown> = {
        moments: () => f.moments(x, extents, how),
        mergeMoments: () => f.mergeMoments(statistics, { count: 3, mean: sumDy, m2: sumDyXhat }),
        normalize: () => f.normalize(x, extents, statistics, how),
        backwardReduce: () => f.backwardReduce(x, dy, extents, statistics, how),
        backwardApply: () => f.backwardApply(x, dy, extents, statistics, { sumDy, sumDyXhat }, how),
      };
      return { go: () => steps[recipe.step]!(), changes: [], pranks: setting.pranks };
    },
  ),
};

/** How often each is called, beside what it is. */
const weights: Record<string, number> = {
  forward: 20,
  forwardInto: 14,
  backward: 10,
  backwardInto: 12,
  question: 8,
  mode: 6,
  "dispose layer": 1,
  loadStateDict: 5,
  "set a property": 4,
  "replace a parameter": 3,
  "new layer": 10,
  "sound layer": 12,
  tensor: 4,
  "use a tensor": 4,
  "new optimizer": 3,
  "use an optimizer": 6,
  functional: 12,
};

export const kinds: Record<string, Kind> = {
  ...layerKinds,
  ...constructorKinds,
  ...optimizerKinds,
  ...functionalKinds,
};

export const anyCall = fc.oneof(
  ...Object.entries(kinds).map(([name, { arguments: recipe }]) => ({
    weight: weights[name]!,
    arbitrary: recipe.map((given) => ({ name, given })),
  })),
);
