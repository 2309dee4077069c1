/** Models, memory, and what install and its undoing promise. */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { runtimeInfo } from "../../src/index.js";
import { install, type Uninstall } from "../../src/tfjs.js";
import { backends, gap, read, tf, use, values } from "./setup.js";

const ones = (shape: number[]) => tf.ones(shape);

function dense(seed = 1): tf.Sequential {
  // Stock's own dense layer fails the leak check on wasm: it is a custom gradient.
  tf.env().set("IS_TEST", false);
  const kernelInitializer = tf.initializers.glorotUniform({ seed });
  return tf.sequential({
    layers: [
      tf.layers.dense({ units: 16, inputShape: [8], kernelInitializer }),
      tf.layers.batchNormalization(),
      tf.layers.reLU(),
      tf.layers.layerNormalization(),
      tf.layers.dense({ units: 1, kernelInitializer }),
    ],
  });
}

test("what is not TensorFlow.js is refused, and nothing is done", async () => {
  await expect(install({} as never)).rejects.toThrow(
    "install: expected the module @tensorflow/tfjs, got Object",
  );
  await expect(install(null as never)).rejects.toThrow(TypeError);
});

describe.each(backends)("on %s", (backend) => {
  let uninstall: Uninstall;
  beforeEach(async () => {
    await use(backend);
    uninstall = await install(tf);
  });
  afterEach(() => uninstall());

  const x = () => tf.tensor(values(32 * 8, 1), [32, 8]);
  const target = () => tf.tensor(values(32, 2), [32, 1]);

  test("trains, predicts and leaves nothing behind", async () => {
    const model = dense();
    model.compile({ optimizer: tf.train.sgd(0.05), loss: "meanSquaredError" });
    const [xs, ys] = [x(), target()];
    const first = (await model.trainOnBatch(xs, ys)) as number;
    tf.dispose(model.predict(xs));
    const before = { ...tf.memory(), info: runtimeInfo() };
    let last = first;
    for (let i = 0; i < 1000; i++) {
      last = (await model.trainOnBatch(xs, ys)) as number;
      if (i % 10 === 0) tf.dispose(model.predict(xs));
    }
    expect({ ...tf.memory(), info: runtimeInfo() }).toEqual(before);
    expect(last).toBeLessThan(0.3 * first);
    const { history } = await model.fit(xs, ys, { epochs: 2, batchSize: 10, verbose: 0 });
    expect(history.loss).toHaveLength(2);
    model.dispose();
    tf.dispose([xs, ys]);
  });

  test("what a model made is gone after its dispose", async () => {
    const { numTensors, numDataBuffers } = tf.memory();
    const { bytesInUse } = runtimeInfo();
    const model = dense();
    const [xs, ys] = [x(), target()];
    const optimizer = tf.train.sgd(0.05);
    model.compile({ optimizer, loss: "meanSquaredError" });
    await model.trainOnBatch(xs, ys);
    model.dispose();
    optimizer.dispose();
    tf.dispose([xs, ys]);
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
    expect(runtimeInfo().bytesInUse).toBe(bytesInUse);
  });

  test("is saved and loaded as stock would, and by stock", async () => {
    const model = dense();
    model.compile({ optimizer: tf.train.sgd(0.05), loss: "meanSquaredError" });
    const [xs, ys] = [x(), target()];
    for (let i = 0; i < 5; i++) await model.trainOnBatch(xs, ys);
    let saved: tf.io.ModelArtifacts | undefined;
    await model.save(
      tf.io.withSaveHandler(async (artifacts) => {
        saved = artifacts;
        return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: "JSON" } };
      }),
    );
    expect(JSON.stringify(saved!.modelTopology)).not.toMatch(/wasm/i);
    const y = read(model.predict(xs));
    const again = await tf.loadLayersModel(tf.io.fromMemory(saved!));
    expect(read(again.predict(xs))).toEqual(y);
    uninstall();
    expect(gap(read(again.predict(xs)), y)).toBeLessThan(1e-6);
    model.dispose();
    again.dispose();
  });

  test("a frozen layer moves its statistics in training as stock does, and its gamma stays", async () => {
    const run = async () => {
      const model = dense();
      for (const layer of model.layers) layer.trainable = layer.getClassName() === "Dense";
      model.compile({ optimizer: tf.train.sgd(0.05), loss: "meanSquaredError" });
      for (let i = 0; i < 3; i++) await model.trainOnBatch(x(), target());
      return model.getWeights().map((weight) => weight.dataSync() as Float32Array);
    };
    const ours = await run();
    uninstall();
    const stock = await run();
    for (const [i, weight] of ours.entries()) expect(gap(weight, stock[i]!)).toBeLessThan(1e-6);
  });

  test("a layer called twice before its backward keeps both calls apart", () => {
    const layer = tf.layers.layerNormalization();
    const batch = tf.layers.batchNormalization();
    const f = (a: tf.Tensor, b: tf.Tensor) =>
      tf.sum(
        tf.mul(
          batch.apply(layer.apply(a), { training: true }) as tf.Tensor,
          tf.square(batch.apply(layer.apply(b), { training: true }) as tf.Tensor),
        ),
      );
    const [a, b] = [1, 2].map((seed) => tf.tensor(values(60, seed), [10, 6])) as [tf.Tensor, tf.Tensor];
    const ours = tf.grads(f)([a, b]).map(read);
    uninstall();
    const stock = tf.grads(f)([a, b]).map(read);
    for (const [i, dx] of ours.entries()) expect(gap(dx, stock[i]!)).toBeLessThan(2e-5);
  });

  test("second-order gradients are stock's", () => {
    const layer = tf.layers.layerNormalization();
    const batch = tf.layers.batchNormalization();
    const at = tf.tensor(values(30, 3), [5, 6]);
    batch.apply(at);
    const f = (a: tf.Tensor) =>
      tf.sum(tf.square(tf.mul(layer.apply(a) as tf.Tensor, batch.apply(a) as tf.Tensor)));
    const second = () => read(tf.grad((a: tf.Tensor) => tf.sum(tf.square(tf.grad(f)(a))))(at));
    const ours = second();
    uninstall();
    expect(ours).toEqual(second());
  });

  test("an empty minibatch moves no statistics and has gradients of zero", () => {
    const layer = tf.layers.batchNormalization();
    const empty = tf.zeros([0, 4]);
    const y = layer.apply(empty, { training: true }) as tf.Tensor;
    expect(y.shape).toEqual([0, 4]);
    expect([...read(layer.weights[2]!.read())]).toEqual([0, 0, 0, 0]);
    expect([...read(layer.weights[3]!.read())]).toEqual([1, 1, 1, 1]);
    const { grads } = tf.variableGrads(
      () => tf.sum(layer.apply(empty, { training: true }) as tf.Tensor) as tf.Scalar,
    );
    for (const gradient of Object.values(grads)) expect([...read(gradient)]).toEqual([0, 0, 0, 0]);
    const norm = tf.layers.layerNormalization({ axis: 1 });
    expect((norm.apply(tf.zeros([0, 3, 4])) as tf.Tensor).shape).toEqual([0, 3, 4]);
  });

  test("a minibatch of one gives beta, and moves the statistics by it", () => {
    const layer = tf.layers.batchNormalization({ betaInitializer: "ones", momentum: 0.5 });
    const y = layer.apply(tf.tensor([2, -4], [1, 2]), { training: true });
    expect([...read(y)]).toEqual([1, 1]);
    expect([...read(layer.weights[2]!.read())]).toEqual([1, -2]);
    expect([...read(layer.weights[3]!.read())]).toEqual([0.5, 0.5]);
  });

  test("statistics that are not finite never enter the moving ones", () => {
    const layer = tf.layers.batchNormalization();
    layer.apply(tf.tensor([1, Number.NaN, 3, 4], [2, 2]), { training: true });
    const [mean, variance] = layer.weights.slice(2).map((weight) => [...read(weight.read())]);
    expect(mean![1]).toBe(0);
    expect(variance![1]).toBe(1);
    expect(mean![0]).toBeCloseTo(0.02, 6);
  });

  test("what a layer was put into a model with, `training`, holds at prediction and in training", async () => {
    const input = tf.input({ shape: [4] });
    const live = tf.layers.batchNormalization().apply(input, { training: true }) as tf.SymbolicTensor;
    const frozen = tf.layers.batchNormalization().apply(input, { training: false }) as tf.SymbolicTensor;
    const model = tf.model({ inputs: input, outputs: [live, frozen] });
    const at = tf.tensor([1, 2, 3, 4, 5, 6, 7, 8], [2, 4]);
    const [y, z] = (model.predict(at) as tf.Tensor[]).map(read);
    expect(gap(y!, [-1, -1, -1, -1, 1, 1, 1, 1])).toBeLessThan(2e-4);
    expect(
      gap(
        z!,
        [...read(at)].map((value) => value / Math.sqrt(1.001)),
      ),
    ).toBeLessThan(1e-6);
    model.compile({ optimizer: tf.train.sgd(0), loss: "meanSquaredError" });
    const weights = () =>
      model.layers
        .at(-1)!
        .weights.slice(2)
        .map((weight) => [...read(weight.read())]);
    const before = weights();
    await model.trainOnBatch(at, [at, at]);
    expect(weights()).toEqual(before);
  });

  test("a mask passes through", () => {
    const model = tf.sequential({
      layers: [
        tf.layers.masking({ inputShape: [3, 2] }),
        tf.layers.layerNormalization(),
        tf.layers.batchNormalization(),
        tf.layers.lstm({ units: 2, kernelInitializer: "ones", recurrentInitializer: "ones" }),
      ],
    });
    const at = tf.tensor([1, 2, 3, 5, 0, 0], [1, 3, 2]);
    const ours = read(model.predict(at));
    uninstall();
    expect(gap(ours, read(model.predict(at)))).toBeLessThan(1e-6);
  });

  test("an error leaves nothing behind", () => {
    const layer = tf.layers.batchNormalization();
    layer.apply(ones([2, 4]));
    const { numTensors, numDataBuffers } = tf.memory();
    const gone = ones([2, 4]);
    gone.dispose();
    for (const training of [true, false]) expect(() => layer.apply(gone, { training })).toThrow();
    expect(() =>
      tf.tidy(() => {
        layer.apply(ones([2, 4]), { training: true });
        throw new Error("stop");
      }),
    ).toThrow("stop");
    expect(tf.memory()).toMatchObject({ numTensors, numDataBuffers });
  });

  test("runs on float32: an int32 minibatch goes to stock", () => {
    const layer = tf.layers.batchNormalization();
    const at = tf.tensor([1, 2, 3, 4], [2, 2], "int32");
    expect(() => layer.apply(at)).not.toThrow();
  });

  test("a second install warns of nothing, and the last to leave restores everything", async () => {
    uninstall();
    const cls = tf.layers.batchNormalization().constructor as unknown as { prototype: { call: unknown } };
    const stock = { call: cls.prototype.call, kernel: tf.getKernel("FusedBatchNorm", backend) };
    const kernels = tf.getKernelsForBackend(backend).length;
    const classes = Object.keys(tf.serialization.SerializationMap.getMap().classNameMap).length;
    const warn = vi.spyOn(console, "warn");
    uninstall = await install(tf);
    const patched = cls.prototype.call;
    expect(patched).not.toBe(stock.call);
    const second = await install(tf);
    expect(cls.prototype.call).toBe(patched);
    uninstall();
    uninstall();
    expect(uninstall.backend).toBe(null);
    expect(second.backend).toBe(backend);
    expect(cls.prototype.call).toBe(patched);
    second();
    expect(cls.prototype.call).toBe(stock.call);
    expect(tf.getKernel("FusedBatchNorm", backend)).toBe(stock.kernel);
    expect(tf.getKernelsForBackend(backend)).toHaveLength(kernels);
    expect(tf.getGradient("WasmNormForward")).toBe(undefined);
    expect(Object.keys(tf.serialization.SerializationMap.getMap().classNameMap)).toHaveLength(classes);
    // The cpu backend greets at its first kernel.
    expect(warn).not.toHaveBeenCalledWith(expect.stringContaining("registered"));
  });
});

test("another backend keeps its own, and switching is seen at once", async () => {
  await use("wasm");
  const uninstall = await install(tf);
  tf.registerBackend("other", () => tf.findBackend("cpu"));
  tf.copyRegisteredKernels("cpu", "other");
  await tf.setBackend("other");
  expect(uninstall.backend).toBe(null);
  const layer = tf.layers.layerNormalization();
  const { numTensors } = tf.memory();
  const profile = await tf.profile(() => layer.apply(tf.zeros([2, 3])) as tf.Tensor);
  expect(profile.kernelNames.some((name) => name.startsWith("WasmNorm"))).toBe(false);
  expect(tf.memory().numTensors).toBeGreaterThan(numTensors);
  await tf.setBackend("wasm");
  expect(uninstall.backend).toBe("wasm");
  uninstall();
});
