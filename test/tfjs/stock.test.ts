/**
 * What tfjs-layers' own tests of its normalization check (normalization_test.ts), in words of ours and against float64: both
 * layers as part of a model, what they say of their weights and shapes, and what they refuse.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { install, type Uninstall } from "../../src/tfjs.js";
import { backward, forward, geometry, statistics } from "../reference.js";
import { backends, gap, read, sizeOf, tf, use, values } from "./setup.js";

/** Both layers' own. */
const EPS = 1e-3;
/** tf.train.sgd's where a model is compiled by its name. */
const RATE = 0.01;

/** tfjs does not flatten what is flat. */
const flatten = (rank: number) => (rank > 2 ? [tf.layers.flatten()] : []);

/** Losses of SGD in float64: normalization over `own` axes, then a dense layer of one unit that begins with ones. */
function simulate(x: Float32Array, shape: number[], own: number[], target: number[], epochs: number) {
  const examples = shape[0]!;
  const width = sizeOf(shape) / examples;
  const kept = shape.map((_, axis) => axis).filter((axis) => !own.includes(axis));
  const g = geometry(shape, kept, own);
  const s = statistics(x, g, { eps: EPS });
  const gamma = new Float64Array(sizeOf(own.map((axis) => shape[axis]!))).fill(1);
  const beta = gamma.map(() => 0);
  const w = new Float64Array(width).fill(1);
  let bias = 0;
  const losses: number[] = [];
  const step = (values: Float64Array, gradient: ArrayLike<number>) => {
    for (let i = 0; i < values.length; i++) values[i]! -= RATE * gradient[i]!;
  };
  for (let epoch = 0; epoch < epochs; epoch++) {
    const { y } = forward(x, g, s, { gamma, beta });
    const off = target.map((wanted, n) => {
      const row = y.subarray(n * width, (n + 1) * width);
      return row.reduce((sum, value, j) => sum + value * w[j]!, bias) - wanted;
    });
    losses.push(off.reduce((sum, o) => sum + o * o, 0) / examples);
    const slope = off.map((o) => (2 * o) / examples);
    const dy = Float64Array.from(y, (_, i) => slope[Math.floor(i / width)]! * w[i % width]!);
    const { dgamma, dbeta } = backward(x, dy, g, s, { gamma });
    const dw = w.map((_, j) => slope.reduce((sum, o, n) => sum + o * y[n * width + j]!, 0));
    step(gamma, dgamma);
    step(beta, dbeta);
    step(w, dw);
    bias -= RATE * slope.reduce((sum, o) => sum + o, 0);
  }
  return losses;
}

describe.each(backends)("on %s", (backend) => {
  let uninstall: Uninstall;
  beforeAll(async () => {
    await use(backend);
    // Stock's own dense layer fails the leak check on wasm: it is a custom gradient.
    tf.env().set("IS_TEST", false);
    uninstall = await install(tf);
  });
  afterAll(() => uninstall());

  test.each([[[4, 6]], [[2, 3, 4]], [[2, 3, 4, 5]]])(
    "a symbolic input of %j keeps shape and type",
    (shape) => {
      const x = tf.input({ batchShape: shape });
      for (const layer of [tf.layers.batchNormalization({}), tf.layers.layerNormalization()]) {
        const y = layer.apply(x) as tf.SymbolicTensor;
        expect(y.shape).toEqual(shape);
        expect(y.dtype).toBe("float32");
      }
    },
  );

  test("an axis whose extent is not known is refused, and the last one is the default", () => {
    const x = tf.input({ batchShape: [null as unknown as number, 2, 3] });
    expect(() => tf.layers.batchNormalization({ axis: 0 }).apply(x)).toThrow(
      /Axis 0 of input tensor should have a defined dimension/,
    );
    expect(tf.layers.batchNormalization().getConfig().axis).toBe(-1);
  });

  test.each([[[2, 2]], [[2, 2, 2]], [[2, 2, 2, 2]]])(
    "before any training, inference on %j only divides by the square root of 1 + epsilon",
    (shape) => {
      const x = values(sizeOf(shape), 3, 4);
      for (const axis of [0, -1]) {
        const y = tf.layers.batchNormalization({ axis }).apply(tf.tensor(x, shape), { training: false });
        expect(
          gap(
            read(y),
            x.map((value) => value / Math.sqrt(1 + EPS)),
          ),
        ).toBeLessThan(3e-7);
      }
    },
  );

  test("weights stand in the order gamma, beta, moving mean, moving variance, without what is left out", () => {
    const begin = { gamma: 1, beta: 0, moving_mean: 0, moving_variance: 1 };
    for (const scale of [true, false]) {
      for (const center of [true, false]) {
        const layer = tf.layers.batchNormalization({ scale, center, axis: 0 });
        layer.apply(tf.ones([2, 3]));
        const names = Object.keys(begin).filter(
          (name) => (scale || name !== "gamma") && (center || name !== "beta"),
        ) as (keyof typeof begin)[];
        expect(layer.weights.map(({ originalName }) => originalName.split("/").at(-1))).toEqual(names);
        const now = layer.getWeights().map((weight) => [...read(weight)]);
        expect(now).toEqual(names.map((name) => [begin[name], begin[name]]));
      }
    }
  });

  test.each([[[3, 4]], [[3, 2, 2]]])(
    "batch norm alone, %j, learns to be silent as its formula says",
    async (shape) => {
      const layer = tf.layers.batchNormalization({ inputShape: shape.slice(1) });
      const model = tf.sequential({ layers: [layer] });
      model.compile({ loss: "meanSquaredError", optimizer: "sgd" });
      const x = values(12, 4, 6, 5);
      const { history } = await model.fit(tf.tensor(x, shape), tf.zeros(shape), {
        epochs: 2,
        batchSize: 3,
        verbose: 0,
      });
      const channels = shape.at(-1)!;
      const g = geometry(shape, [shape.length - 1], [shape.length - 1]);
      const { mean, variance } = statistics(x, g, { eps: EPS });
      // The mean of xhat^2, by channel; beta's gradient is zero. gamma moves by 2 gamma xhat^2 / channels.
      const square = variance.map((v) => v / (v + EPS));
      const gamma = square.map((s) => 1 - (RATE * 2 * s) / channels);
      const loss = (weights: ArrayLike<number>) =>
        square.reduce((sum, s, c) => sum + s * weights[c]! ** 2, 0) / channels;
      expect(gap(history.loss as number[], [loss(square.map(() => 1)), loss(gamma)])).toBeLessThan(3e-7);
      const twice = gamma.map((of, c) => of * (1 - (RATE * 2 * square[c]!) / channels));
      const moved = (begin: number, batch: Float64Array) =>
        batch.map((b) => 0.99 ** 2 * begin + (1 - 0.99 ** 2) * b);
      const wanted = [twice, twice.map(() => 0), moved(0, mean), moved(1, variance)];
      for (const [i, weight] of layer.getWeights().entries())
        expect(gap(read(weight), wanted[i]!)).toBeLessThan(3e-7);
    },
  );

  // What stands around it: convolutions' filters have no gradient on wasm.
  const around = backend === "cpu" ? (["dense", "conv2d", "conv2dTranspose"] as const) : (["dense"] as const);
  test.each(around)("batch norm after %s loses as stock does", async (kind) => {
    const run = async () => {
      const convolution = { filters: 4, kernelSize: 2, inputShape: [5, 5, 1] };
      const first =
        kind === "dense"
          ? tf.layers.dense({ units: 4, useBias: false, inputShape: [25], kernelInitializer: "ones" })
          : tf.layers[kind]({ ...convolution, kernelInitializer: "ones" });
      const model = tf.sequential({
        layers: [
          first,
          tf.layers.batchNormalization(),
          ...flatten(kind === "dense" ? 2 : 4),
          tf.layers.dense({ units: 1, kernelInitializer: "ones" }),
        ],
      });
      model.compile({ loss: "meanSquaredError", optimizer: tf.train.sgd(1e-4) });
      const x = tf.tensor(values(100, 5), kind === "dense" ? [4, 25] : [4, 5, 5, 1]);
      const { history } = await model.fit(x, tf.tensor([0, 1, 2, 0], [4, 1]), { epochs: 3, verbose: 0 });
      return history.loss as number[];
    };
    const installed = await run();
    expect(installed[2]).toBeLessThan(installed[0]!);
    uninstall();
    const stock = await run();
    uninstall = await install(tf);
    expect(gap(installed, stock)).toBeLessThan(3e-6);
  });

  test("layer norm takes whole numbers for axes, each once", () => {
    for (const axis of ["foo", 1.2])
      expect(() => tf.layers.layerNormalization({ axis: axis as number })).toThrow(
        "Expected axis to be an integer",
      );
    expect(() => tf.layers.layerNormalization({ axis: [1, 1.5] })).toThrow(
      "Expected axis to be an array of integers",
    );
    const twice = tf.layers.layerNormalization({ axis: [-2, -1, -1] });
    expect(() => twice.apply(tf.ones([2, 2, 3]))).toThrow("duplicate axes");
  });

  test("a configuration makes the same layer again", () => {
    const layer = tf.layers.layerNormalization({ axis: [-2, -1], center: true, scale: false });
    const config = layer.getConfig();
    const cls = layer.constructor as unknown as {
      fromConfig(cls: unknown, config: object): tf.layers.Layer;
    };
    // tfjs writes into what it is given.
    expect(cls.fromConfig(cls, structuredClone(config)).getConfig()).toEqual(config);
  });

  test.each([
    [[5], [1], -1],
    [[4, 3, 5], [1], 1],
    [[4, 3, 5], [3], 3],
  ])("Keras's axis in a list of one: examples of %j, axis %j", async (shape, list, axis) => {
    const model = await tf.models.modelFromJSON({
      class_name: "Sequential",
      keras_version: "2.2.4-tf",
      backend: "tensorflow",
      config: {
        name: "sequential",
        layers: [
          {
            class_name: "BatchNormalization",
            config: { name: "norm", axis: list, batch_input_shape: [null, ...shape], dtype: "float32" },
          },
        ],
      },
    } as never);
    const full = [3, ...shape];
    const at = axis < 0 ? full.length - 1 : axis;
    const x = values(sizeOf(full), 6);
    model.compile({ loss: "meanSquaredError", optimizer: "sgd" });
    const tensor = tf.tensor(x, full);
    await model.trainOnBatch(tensor, tensor);
    const g = geometry(full, [at], [at]);
    const { mean, variance } = statistics(x, g, { eps: EPS });
    const [, , movingMean, movingVariance] = model.layers[0]!.getWeights();
    const moved = (begin: number, batch: Float64Array) => batch.map((b) => 0.99 * begin + 0.01 * b);
    expect(gap(read(movingMean), moved(0, mean))).toBeLessThan(3e-7);
    expect(gap(read(movingVariance), moved(1, variance))).toBeLessThan(3e-7);
  });

  test.each([
    ["2D, the last axis", [3, 3], [1]],
    ["3D, the last axis", [2, 2, 3], [2]],
    ["3D, the last two", [2, 2, 3], [1, 2]],
  ])("layer norm and a dense layer, %s: five epochs in float64", async (_, shape, own) => {
    const x = values(sizeOf(shape), 7, 8, 4);
    const target = [0, -1, 2].slice(0, shape[0]);
    const axis = own.map((at) => at - shape.length);
    const model = tf.sequential({
      layers: [
        tf.layers.layerNormalization({ inputShape: shape.slice(1), axis }),
        ...flatten(shape.length),
        tf.layers.dense({ units: 1, kernelInitializer: "ones" }),
      ],
    });
    model.compile({ loss: "meanSquaredError", optimizer: "sgd" });
    const [xs, ys] = [tf.tensor(x, shape), tf.tensor(target, [target.length, 1])];
    const { history } = await model.fit(xs, ys, { epochs: 5, verbose: 0 });
    expect(gap(history.loss as number[], simulate(x, shape, own, target, 5))).toBeLessThan(1e-6);
    const { numTensors } = tf.memory();
    await model.fit(xs, ys, { epochs: 1, verbose: 0 });
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test("layer norm of features that are all alike learns by its beta alone", async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 10, kernelInitializer: "ones", inputShape: [3] }),
        tf.layers.layerNormalization(),
        tf.layers.dense({ units: 1, kernelInitializer: "ones" }),
      ],
    });
    model.compile({ loss: "meanSquaredError", optimizer: "sgd" });
    const target = [0, -1, 2, 3];
    const [xs, ys] = [tf.tensor(values(12, 8, 9), [4, 3]), tf.tensor(target, [4, 1])];
    const { history } = await model.fit(xs, ys, { epochs: 5, verbose: 0 });
    let [beta, w, bias] = [0, 1, 0];
    const wanted = history.loss!.map(() => {
      const off = target.map((t) => 10 * beta * w + bias - t);
      const slope = off.reduce((sum, o) => sum + (2 * o) / 4, 0);
      [beta, w, bias] = [beta - RATE * slope * w, w - RATE * slope * beta, bias - RATE * slope];
      return off.reduce((sum, o) => sum + o * o, 0) / 4;
    });
    expect(gap(history.loss as number[], wanted)).toBeLessThan(1e-6);
  });

  test("a forward leaves one tensor", () => {
    for (const layer of [tf.layers.layerNormalization(), tf.layers.batchNormalization()]) {
      const x = tf.tensor([1, 2, 3, 3, 6, 24], [2, 3]);
      tf.dispose(layer.apply(x) as tf.Tensor);
      const { numTensors } = tf.memory();
      const y = layer.apply(x, { training: true }) as tf.Tensor;
      expect(tf.memory().numTensors).toBe(numTensors + 1);
      y.dispose();
      expect(tf.memory().numTensors).toBe(numTensors);
    }
  });

  test("behind an embedding with a mask every position is normalized", () => {
    const embedding = tf.layers.embedding({ inputDim: 4, outputDim: 3, inputLength: 4, maskZero: true });
    const model = tf.sequential({ layers: [embedding, tf.layers.layerNormalization()] });
    const tokens = [0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 3, 0];
    const table = values(12, 9, 3);
    embedding.setWeights([tf.tensor(table, [4, 3])]);
    const y = read(model.predict(tf.tensor(tokens, [3, 4])));
    const x = Float32Array.from(tokens.flatMap((token) => [...table.subarray(3 * token, 3 * token + 3)]));
    const g = geometry([12, 3], [0], [1]);
    expect(gap(y, forward(x, g, statistics(x, g, { eps: EPS })).y)).toBeLessThan(3e-7);
  });
});
