/** What is run with and without the kernels, and what must come out. */
import * as tf from "@tensorflow/tfjs";
import * as reference from "../../test/reference.ts";
import { convolution, dense, type Layer, type Scale, transformer } from "./models.ts";

/** A line of the tables: `run` is timed. */
export interface Row {
  name: string;
  run(): void;
  /** The largest error of what `run` computes, in parts of the largest value expected. */
  error(): number;
  /** The largest error that stock and installed may have. */
  bounds: { stock: number; installed: number };
  /** How many times stock the goal is. */
  goal?: number | undefined;
  /** A whole step: normalization's share of it is of interest. */
  whole?: boolean;
}

const EPS = 1e-3;
/** Of float64: the integration's bound, and what plain float32 sums come to. */
const BOUNDS = { stock: 1e-3, installed: 3e-7 };

/** The largest difference, in parts of the largest expected value (at least 1). */
function gap(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let most = got.length === expected.length ? 0 : Infinity;
  let size = 1;
  for (let i = 0; i < expected.length; i++) {
    const difference = Math.abs(got[i]! - expected[i]!);
    if (!(difference <= most)) most = difference;
    size = Math.max(size, Math.abs(expected[i]!));
  }
  return most / size;
}

const read = (tensor: tf.Tensor) => tensor.dataSync() as Float32Array;

/** Forward, forward with backward, and inference of a layer. tf.tidy walks through what it is given back: nothing is. */
function layerRows(name: "batch norm" | "layer norm", shape: number[], goals: number[]): Row[] {
  const batch = name === "batch norm";
  const made: Layer = batch ? tf.layers.batchNormalization() : tf.layers.layerNormalization({ epsilon: EPS });
  const x = tf.randomNormal(shape, 0, 1, "float32", 1);
  const dy = tf.randomNormal(shape, 0, 1, "float32", 2);
  made.apply(x);
  const forward = (training: boolean) => made.apply(x, { training }) as tf.Tensor;
  // The layer reads its weights itself; given as arguments, they have gradients, too.
  const at = [x, ...made.trainableWeights.map((weight) => weight.read())];
  const gradients = tf.grads((first: tf.Tensor) => made.apply(first, { training: true }) as tf.Tensor);

  const last = shape.length - 1;
  const own = (batch ? reference.geometry(shape, [last], [last]) : undefined) as reference.Geometry;
  const leading = shape.map((_, axis) => axis).filter((axis) => axis < last);
  const g = batch ? own : reference.geometry(shape, leading, [last]);
  const float64 = () => {
    const values = read(x);
    return { values, s: reference.statistics(values, g, { eps: EPS }) };
  };
  const rows: Row[] = [
    {
      name: `${name} ${shape.join(" x ")}, forward`,
      run: () => tf.tidy(() => void forward(true)),
      error() {
        const { values, s } = float64();
        return tf.tidy(() => gap(read(forward(true)), reference.forward(values, g, s).y));
      },
      bounds: BOUNDS,
      goal: goals[0],
    },
    {
      name: `${name} ${shape.join(" x ")}, forward and backward`,
      run: () => tf.tidy(() => void gradients(at, dy)),
      error() {
        const { values, s } = float64();
        const want = reference.backward(values, read(dy), g, s);
        return tf.tidy(() => {
          const [dx, dgamma, dbeta] = gradients(at, dy).map(read);
          return Math.max(gap(dx!, want.dx), gap(dgamma!, want.dgamma), gap(dbeta!, want.dbeta));
        });
      },
      bounds: BOUNDS,
      goal: goals[1],
    },
  ];
  if (batch)
    rows.push({
      name: `${name} ${shape.join(" x ")}, inference`,
      run: () => tf.tidy(() => void forward(false)),
      error() {
        const values = read(x);
        const [, , mean, variance] = made.getWeights().map(read);
        const s = reference.fixedStatistics(mean!, variance!, EPS);
        return tf.tidy(() => gap(read(forward(false)), reference.forward(values, g, s).y));
      },
      bounds: BOUNDS,
      goal: goals[2],
    });
  return rows;
}

const STEPS = {
  dense: { make: dense, named: ({ width }: Scale) => `three of dense ${width}, batch norm, ReLU` },
  convolution: { make: convolution, named: () => "two convolutions with batch norm" },
  transformer: {
    make: transformer,
    named: ({ width, examples }: Scale) => `transformer block, 4 x ${examples} x ${width}`,
  },
};

/** A whole training step. The first model's first losses, which the second must have as well, are stock's. */
function stepRow(kind: keyof typeof STEPS, scale: Scale, goal?: number): Row {
  const name = STEPS[kind].named(scale);
  const model = STEPS[kind].make(scale);
  const losses: number[][] = [];
  return {
    name: `${name}, a training step`,
    run: () => model.step().dispose(),
    error() {
      const again = STEPS[kind].make(scale);
      losses.push(
        Array.from({ length: 3 }, () => {
          const loss = again.step();
          const value = read(loss)[0]!;
          loss.dispose();
          return value;
        }),
      );
      return gap(losses.at(-1)!, losses[0]!);
    },
    bounds: { stock: 0, installed: 1e-5 },
    goal,
    whole: true,
  };
}

/** What is measured on a backend, of that what has `text` in its name; `small` is for a check alone. */
export function rowsFor(backend: string, small: boolean, text: string): Row[] {
  const on = (goals: number[]) => (backend === "wasm" && !small ? goals : []);
  const matrices = small
    ? [[24, 33]]
    : [
        [256, 1024],
        [1024, 1024],
      ];
  const images = small ? [3, 5, 5, 12] : [32, 28, 28, 64];
  const scale = (width: number, examples: number) =>
    small ? { width: 8, examples: 6 } : { width, examples };
  const rows = [
    ...matrices.flatMap((shape) => layerRows("batch norm", shape, on([25, 50, 15]))),
    ...layerRows("batch norm", images, []),
    ...matrices.flatMap((shape) => layerRows("layer norm", shape, on([350, 1500]))),
    stepRow("dense", scale(512, 256)),
    stepRow("transformer", scale(256, 64), on([1.4])[0]),
    ...(backend === "cpu" ? [stepRow("convolution", scale(16, 8))] : []),
  ];
  return rows.filter(({ name }) => name.includes(text));
}
