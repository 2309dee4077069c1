/** Keras's layers against float64; the fused kernel and graph models. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { install, layers, type Uninstall } from "../../src/tfjs.js";
import { fixedStatistics, forward, geometry, statistics } from "../reference.js";
import { anyBackends, gap, read, sizeOf, tf, toleranceOf, useAny, values } from "./setup.js";

describe.each(anyBackends)("on %s", (backend) => {
  let uninstall: Uninstall;
  beforeAll(async () => {
    await useAny(backend);
    uninstall = await install(tf);
  });
  afterAll(() => uninstall());
  const TOLERANCE = toleranceOf(backend);

  /** A model of one layer, as Keras's JSON says it. */
  const model = (className: string, config: object, shape: number[]) =>
    tf.models.modelFromJSON({
      class_name: "Sequential",
      keras_version: "2.15.0",
      backend: "tensorflow",
      config: {
        name: "sequential",
        layers: [
          {
            class_name: className,
            config: {
              name: "layer",
              trainable: true,
              dtype: "float32",
              batch_input_shape: [null, ...shape],
              ...config,
            },
          },
        ],
      },
    } as never);
  const init = {
    beta_initializer: { class_name: "Zeros", config: {} },
    gamma_initializer: { class_name: "Ones", config: {} },
    beta_regularizer: null,
    gamma_regularizer: null,
    beta_constraint: null,
    gamma_constraint: null,
  };

  test.each([
    [
      "GroupNormalization",
      { groups: 3, axis: -1, epsilon: 1e-3, center: true, scale: true, ...init },
      [1, 3],
    ],
    [
      "Addons>GroupNormalization",
      { groups: 3, axis: -1, epsilon: 1e-3, center: true, scale: true, ...init },
      [1, 3],
    ],
    [
      "Addons>InstanceNormalization",
      { groups: 6, axis: -1, epsilon: 1e-3, center: true, scale: true, ...init },
      [1, 6],
    ],
    ["InstanceNormalization", { axis: -1, epsilon: 1e-3, center: true, scale: true, ...init }, [1, 6]],
    ["InstanceNormalization", { axis: null, epsilon: 1e-3, center: true, scale: true, ...init }, [1, 1]],
    ["RMSNormalization", { axis: -1, epsilon: 1e-3 }, [20, 1]],
  ] as const)(
    "%s of Keras loads, computes, trains and saves: %o",
    async (className, config, [rows, groups]) => {
      const made = await model(className, config, [4, 5, 6]);
      const x = values(3 * 120, 1);
      const rms = className === "RMSNormalization";
      const cut = [3, 20 / rows, rows, 6];
      const g =
        rms || ("axis" in config && config.axis === null)
          ? geometry(rms ? [60, 6] : [3, 120], [0], [1])
          : geometry([3, 20, groups, 6 / groups], [0, 2], [2, 3]);
      expect(sizeOf(cut)).toBe(360);
      const s = statistics(x, g, { eps: 1e-3, centered: !rms });
      const y = made.predict(tf.tensor(x, [3, 4, 5, 6]));
      expect(gap(read(y), forward(x, g, s).y)).toBeLessThan(TOLERANCE);
      expect(made.getWeights().map(({ shape }) => shape)).toEqual(
        rms ? [[6]] : "axis" in config && config.axis === null ? [[1], [1]] : [[6], [6]],
      );
      const names = made.weights.map(({ originalName }) => originalName);
      expect(names).toEqual(rms ? ["layer/scale"] : ["layer/gamma", "layer/beta"]);
      made.compile({ optimizer: tf.train.sgd(0.1), loss: "meanSquaredError" });
      const at = tf.tensor(x, [3, 4, 5, 6]);
      const first = (await made.trainOnBatch(at, at)) as number;
      for (let i = 0; i < 10; i++) await made.trainOnBatch(at, at);
      expect((await made.trainOnBatch(at, at)) as number).toBeLessThan(first);
      let saved: tf.io.ModelArtifacts | undefined;
      await made.save(
        tf.io.withSaveHandler(async (artifacts) => {
          saved = artifacts;
          return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: "JSON" } };
        }),
      );
      const again = await tf.loadLayersModel(tf.io.fromMemory(saved!));
      expect(again.layers.at(-1)!.getClassName()).toBe(className);
      expect(read(again.predict(at))).toEqual(read(made.predict(at)));
    },
  );

  test("UnitNormalization gives examples of length 1", async () => {
    const made = await model("UnitNormalization", { axis: -1 }, [3]);
    expect(
      gap(read(made.predict(tf.tensor([3, 0, 4, 0, 0, 0], [2, 3]))), [0.6, 0, 0.8, 0, 0, 0]),
    ).toBeLessThan(1e-6);
  });

  test("Normalization adapts to a tensor and to minibatches of a dataset, and takes given statistics", async () => {
    const x = values(300, 5, 3, 100);
    const s = statistics(x, geometry([100, 3], [1], [1]), { eps: 0 });
    const expected = Float64Array.from(x, (v, i) => (v - s.mean[i % 3]!) / Math.sqrt(s.variance[i % 3]!));
    const all = tf.tensor(x, [100, 3]);
    for (const data of [all, tf.data.array(tf.split(all, [30, 30, 40]))]) {
      const layer = layers(tf).normalization();
      await layer.adapt(data);
      const [mean, variance, count] = layer.getWeights();
      expect(gap(read(mean), s.mean)).toBeLessThan(1e-7);
      expect(gap(read(variance), s.variance)).toBeLessThan(1e-7);
      expect([...count!.dataSync()]).toEqual([100]);
      // float32 holds a mean of 100 to 4e-6.
      expect(gap(read(layer.apply(all)), expected)).toBeLessThan(1e-5);
    }
    const made = await model(
      "Normalization",
      { axis: -1, mean: [1, 2], variance: [4, 9], invert: false },
      [2],
    );
    expect([...read(made.predict(tf.tensor([3, 8], [1, 2])))]).toEqual([1, 2]);
    const inverse = layers(tf).normalization({ mean: [1, 2], variance: [4, 9], invert: true });
    expect([...read(inverse.apply(tf.tensor([1, 2], [1, 2])))]).toEqual([3, 8]);
    await expect(inverse.adapt(all)).rejects.toThrow(TypeError);
  });

  if (backend === "other") return;

  test("tf.batchNorm2d, 3d and 4d, with what they may leave out", () => {
    for (const shape of [
      [6, 5],
      [4, 3, 5],
      [2, 4, 3, 5],
    ]) {
      const x = values(sizeOf(shape), 1);
      const [mean, variance, beta, gamma] = [0, 1.5, 0, 1.2].map((m, i) => values(5, i + 2, 1, m));
      const g = geometry(shape, [shape.length - 1], [shape.length - 1]);
      for (const [offset, scale] of [
        [beta, gamma],
        [undefined, gamma],
        [beta, undefined],
        [undefined, undefined],
      ]) {
        const vectors = [mean, variance, offset, scale].map((v) => v && tf.tensor1d(v)) as [
          tf.Tensor1D,
          tf.Tensor1D,
        ];
        const y = tf.batchNorm(tf.tensor(x, shape as [number, number]) as unknown as tf.Tensor4D, ...vectors);
        const s = fixedStatistics(mean!, variance!, 1e-3);
        expect(gap(read(y), forward(x, g, s, { gamma: scale, beta: offset }).y)).toBeLessThan(3e-7);
      }
    }
    // Statistics for every value are none of a channel: stock's kernel.
    for (const shape of [
      [2, 3],
      [2, 2, 3],
      [2, 2, 3, 2],
    ]) {
      const all = [0.5, 0, 2, -1, 1.2].map((m, i) => values(sizeOf(shape), i + 1, 1, m));
      const [x, mean, variance, offset, scale] = all.map((v) =>
        tf.tensor(v, shape as [number, number, number, number]),
      );
      const y = tf.batchNorm(x!, mean!, variance!, offset!, scale!, 0.01);
      const expected = all[0]!.map((value, i) => {
        const [m, v, beta, gamma] = all.slice(1).map((of) => of[i]!);
        return beta! + (gamma! * (value - m!)) / Math.sqrt(v! + 0.01);
      });
      expect(gap(read(y), expected)).toBeLessThan(1e-6);
    }
  });

  test("a graph model's FusedBatchNormV3", async () => {
    const node = (name: string, op: string, input: string[] = [], attr: object = {}) => ({
      name,
      op,
      input,
      attr,
    });
    const names = ["scale", "offset", "mean", "variance"];
    const given = [1.2, 0, 0.3, 1.5].map((m, i) => values(4, i + 1, 1, m));
    const dtype = { type: "DT_FLOAT" };
    const graph = await tf.loadGraphModel(
      tf.io.fromMemory({
        modelTopology: {
          node: [
            node("x", "Placeholder", [], {
              dtype,
              shape: { shape: { dim: [{ size: "-1" }, { size: "2" }, { size: "2" }, { size: "4" }] } },
            }),
            ...names.map((name) =>
              node(name, "Const", [], {
                dtype,
                value: { tensor: { dtype: "DT_FLOAT", tensorShape: { dim: [{ size: "4" }] } } },
              }),
            ),
            node("y", "FusedBatchNormV3", ["x", ...names], {
              T: dtype,
              U: dtype,
              epsilon: { f: 0.01 },
              is_training: { b: false },
              data_format: { s: "TkhXQw==" },
            }),
          ],
          library: {},
          versions: {},
        } as never,
        weightSpecs: names.map((name) => ({ name, shape: [4], dtype: "float32" })),
        weightData: Float32Array.from(given.flatMap((v) => [...v])).buffer,
      }),
    );
    const x = values(3 * 16, 9);
    const profile = await tf.profile(() => graph.predict(tf.tensor(x, [3, 2, 2, 4])) as tf.Tensor);
    expect(profile.kernelNames).toContain("FusedBatchNorm");
    const s = fixedStatistics(given[2]!, given[3]!, 0.01);
    const expected = forward(x, geometry([12, 4], [1], [1]), s, { gamma: given[0], beta: given[1] }).y;
    expect(gap(read(profile.result), expected)).toBeLessThan(3e-7);
  });
});
