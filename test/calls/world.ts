/** A few layers, Tensors, arrays and optimizers that random calls work on, and all that can be seen of them. */
import { types } from "node:util";
import type { Functional, Library } from "../cases.js";
import { seeded } from "../cases.js";
import type { AnyLayer } from "../refusal.js";
import { detach, makeArray, type Play, type Prank } from "./values.js";

/** A layer, and what fits it: the world keeps its own record, as the layer's may be tampered with. */
export interface Held {
  layer: AnyLayer;
  /** A shape that the layer takes, of about these extents. */
  shape: (rows: number, positions: number) => number[];
  parameters: number;
  disposed: boolean;
  /** Its gamma or beta is a getter that gives another array each time: looking changes what is seen. */
  unstable: boolean;
  /** How many values the last forward had. */
  last: number | undefined;
  /** And their shape, where it is known. */
  lastShape: number[] | undefined;
}

export interface HeldTensor {
  tensor: InstanceType<Library["Tensor"]>;
  disposed: boolean;
}

export type Optimizer = InstanceType<Library["SGD"]> | InstanceType<Library["AdamW"]>;

/** Everything of a thing that can be seen: arrays are copied, as bits. */
export type Seen = Map<string, unknown>;

export const SLOTS = 3;

const bits = (array: Float32Array | Float64Array): unknown => {
  try {
    // a view of its own: the array's methods may be the caller's
    const { buffer, byteOffset } = array;
    return Uint32Array.prototype.slice.call(
      new Uint32Array(buffer, byteOffset, (trueLength(array) * array.BYTES_PER_ELEMENT) / 4),
    );
  } catch {
    return "unreadable";
  }
};

const lengthGetter = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Float32Array.prototype), "length")!
  .get!;
export const trueLength = (array: Float32Array | Float64Array): number => lengthGetter.call(array);

export class World {
  readonly layers: Held[] = [];
  readonly tensors: HeldTensor[] = [];
  readonly arrays: Float32Array[] = [];
  readonly optimizers: Optimizer[] = [];
  /**
   * Views of Tensors that layers may hold: writing to either changes the other, and a view goes stale with growth and
   * with its Tensor, as the interface says.
   */
  readonly views = new Set<unknown>();
  /** Minibatches over the package's own memory: one that is given for the residual's gradient changes with what lies there. */
  readonly borrowed = new WeakSet<object>();
  /** A Tensor of another copy of the package. */
  readonly alien: unknown;
  readonly library: Library;
  readonly functional: Functional;

  constructor(library: Library, functional: Functional, alien: unknown) {
    this.library = library;
    this.functional = functional;
    this.alien = alien;
    const { BatchNorm, LayerNorm, InstanceNorm, tensor, SGD } = library;
    const image = (n: number, positions: number) => [n, 4, positions];
    this.addLayer(0, new BatchNorm(4), (n, positions) => (positions > 3 ? [n, positions, 4] : [n, 4]), 4);
    this.addLayer(1, new LayerNorm([3]), (n) => [n, 3], 3);
    this.addLayer(2, new InstanceNorm(4, { affine: true, activation: "relu" }), image, 4);
    for (let slot = 0; slot < SLOTS; slot++) {
      this.tensors[slot] = { tensor: tensor([4, 4]), disposed: false };
      this.arrays[slot] = makeArray("plain", 16, "normal", slot) as Float32Array;
      this.optimizers[slot] = new SGD(this.layers[slot]!.layer.parameters(), { lr: 0.1, momentum: 0.9 });
    }
  }

  addLayer(slot: number, layer: AnyLayer, shape: Held["shape"], parameters: number): void {
    this.layers[slot]?.layer.dispose();
    this.layers[slot] = {
      layer,
      shape,
      parameters,
      disposed: false,
      unstable: false,
      last: undefined,
      lastShape: undefined,
    };
  }

  addTensor(slot: number, tensor: InstanceType<Library["Tensor"]>): void {
    this.tensors[slot]!.tensor.dispose();
    this.tensors[slot] = { tensor, disposed: false };
  }

  /** What a getter of the caller's may do in the middle of a call on `held`. */
  play(held: Held | undefined): Play {
    const { library } = this;
    const deeds: Record<Prank, () => void> = {
      throw: () => {
        throw new Error("from the caller's own code");
      },
      "dispose layer": () => {
        if (!held) return;
        held.layer.dispose();
        held.disposed = true;
      },
      "dispose tensors": () => {
        for (const each of this.tensors) {
          each.tensor.dispose();
          each.disposed = true;
        }
      },
      "detach arrays": () => {
        for (const array of this.arrays) detach(array);
        if (!held || held.disposed) return;
        for (const { data, grad } of held.layer.parameters()) for (const each of [data, grad]) detach(each);
        if (held.layer instanceof library.BatchNorm) detach(held.layer.runningMean);
      },
      replace: () => {
        if (!held || held.disposed) return;
        for (const parameter of held.layer.parameters()) {
          parameter.data = new Float32Array(held.parameters + 500).fill(7);
          parameter.grad = new Float32Array(1);
        }
      },
      grow: () => {
        const { memoryBytes } = library.runtimeInfo();
        library.tensor([memoryBytes / 4 + 1]).dispose();
      },
      reenter: () => {
        if (!held || held.disposed) return;
        const shape = held.shape(3, 3);
        const size = shape.reduce((a, b) => a * b, 1);
        held.layer.forward(new Float32Array(size), { shape });
        held.last = size;
        held.lastShape = shape;
      },
    };
    return (prank) => deeds[prank]();
  }

  /** All that can be seen of everything, under a name that starts with what it belongs to. */
  look(): Seen {
    const seen: Seen = new Map();
    this.layers.forEach(({ layer, disposed, unstable }, slot) => {
      if (disposed) return;
      const name = `layer ${slot}`;
      const read = (key: string, get: () => unknown) => {
        let value: unknown;
        try {
          value = get();
          if (this.views.has(value) || this.borrowed.has(value as object)) return;
          // what is read from the batch is a copy each time
          if (types.isFloat32Array(value) && !key.startsWith("batch"))
            seen.set(`${name}.${key} itself`, value);
          if (types.isFloat32Array(value)) value = bits(value);
        } catch (error) {
          value = (error as Error).message;
        }
        seen.set(`${name}.${key}`, value);
      };
      const { gamma, beta } = layer;
      for (const [key, parameter] of [["gamma", gamma] as const, ["beta", beta] as const]) {
        if (!parameter || unstable) continue;
        read(`${key}.data`, () => parameter.data);
        read(`${key}.grad`, () => parameter.grad);
      }
      for (const key of PROPERTIES) if (key in layer) read(key, () => layer[key as keyof AnyLayer]);
    });
    this.tensors.forEach(({ tensor, disposed }, slot) => {
      seen.set(`tensor ${slot}`, disposed ? "disposed" : bits(tensor.data as Float32Array));
    });
    this.arrays.forEach((array, slot) => {
      seen.set(`array ${slot}`, bits(array));
    });
    this.optimizers.forEach((optimizer, slot) => {
      for (const [key, value] of Object.entries(optimizer.stateDict()))
        seen.set(`optimizer ${slot}.${key}`, bits(value));
      seen.set(`optimizer ${slot}.lr`, optimizer.lr);
    });
    const { bytesInUse, tensors } = this.library.runtimeInfo();
    seen.set("bytesInUse", bytesInUse);
    seen.set("tensors in use", tensors);
    return seen;
  }

  /**
   * What the last forward left, which cannot be seen: the answer that backward would give now. The layer is put back
   * as it was.
   */
  probe({ layer, disposed, unstable, last }: Held): unknown {
    if (disposed || unstable || last === undefined) return "nothing to go back to";
    const { residualGrad } = layer;
    const kept = new Map<Float32Array, Float32Array>();
    for (const { grad } of layer.parameters()) {
      if (types.isFloat32Array(grad) && bits(grad) !== "unreadable") {
        kept.set(
          grad,
          Float32Array.prototype.slice.call(new Float32Array(grad.buffer, grad.byteOffset, trueLength(grad))),
        );
      }
    }
    try {
      const random = seeded(last);
      const dy = Float32Array.from({ length: last }, () => random() - 0.5);
      return bits(layer.backwardInto(dy, new Float32Array(last), { retain: true }));
    } catch (error) {
      return `backward: ${(error as Error).message}`;
    } finally {
      layer.residualGrad = residualGrad;
      for (const [grad, values] of kept) if (values.length) Float32Array.prototype.set.call(grad, values);
    }
  }

  dispose(): void {
    for (const { layer } of this.layers) layer.dispose();
    for (const { tensor } of this.tensors) tensor.dispose();
  }
}

/** The properties of layers that a caller may read, and will try to set. */
export const PROPERTIES = [
  ...[
    "features",
    "layout",
    "momentum",
    "trackRunningStats",
    "batchesTracked",
    "skippedUpdates",
    "eps",
    "activation",
  ],
  ...["residualGrad", "training", "runningMean", "runningVar", "batchMean", "batchVar"],
  ...["groups", "normalizedShape", "channels", "who"],
] as const;

export function different(
  before: Seen,
  after: Seen,
  except: (key: string) => boolean = () => false,
): string[] {
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys].filter((key) => !except(key) && !same(before.get(key), after.get(key)));
}

export function same(one: unknown, other: unknown): boolean {
  if (!types.isUint32Array(one) || !types.isUint32Array(other)) return Object.is(one, other);
  return one.length === other.length && one.every((value, i) => value === other[i]);
}
