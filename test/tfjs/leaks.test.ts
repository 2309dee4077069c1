/** What is left of calls: nothing, in a scope, over many steps and where a kernel finds no room. */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { runtimeInfo } from "../../src/index.js";
import { ofBatch } from "../../src/integrations/tfjs/geometry.js";
import { KERNEL } from "../../src/integrations/tfjs/registry.js";
import { groupNorm, install, layerNorm, layers, rmsNorm, type Uninstall } from "../../src/tfjs.js";
import { backends, tf, use, values } from "./setup.js";

/** All that is counted, by tfjs and by this package, and the wasm backend's heap. */
function held() {
  const { wasm } = tf.backend() as { wasm?: { asm: { memory: WebAssembly.Memory } } };
  const values = (tf.backend() as { numDataIds(): number }).numDataIds();
  return { ...tf.memory(), ...runtimeInfo(), values, heap: wasm?.asm.memory.buffer.byteLength };
}

const SHAPE = [8, 5, 6, 12] as const;

describe.each(backends)("on %s", (backend) => {
  let uninstall: Uninstall;
  let x: tf.Tensor;
  let made: tf.layers.Layer[];
  let run: (x: tf.Tensor) => tf.Tensor;
  beforeEach(async () => {
    await use(backend);
    uninstall = await install(tf);
    x = tf.tensor(values(8 * 5 * 6 * 12, 1), [...SHAPE]);
    made = [
      tf.layers.batchNormalization(),
      tf.layers.batchNormalization({ axis: 1, scale: false }),
      tf.layers.layerNormalization(),
      tf.layers.layerNormalization({ axis: [1, 2] }),
      layers(tf).groupNormalization({ groups: 3 }),
      layers(tf).instanceNormalization({ axis: null }),
      layers(tf).rmsNormalization(),
    ];
    run = (at) => {
      let y = at;
      for (const layer of made) y = layer.apply(y, { training: true }) as tf.Tensor;
      y = layerNorm(y, { activation: "relu" });
      y = rmsNorm(y, { activation: "silu", axis: [1, 3] });
      return groupNorm(y, 4, { activation: "gelu" });
    };
    tf.tidy(() => void run(x));
  });
  afterEach(() => {
    x.dispose();
    for (const layer of made) for (const weight of layer.weights) weight.dispose();
    uninstall();
  });

  const gradients = () => {
    const weights = made.flatMap((layer) => layer.trainableWeights.map((weight) => weight.read()));
    return tf.grads((at: tf.Tensor) => run(at))([x, ...weights]);
  };

  test("in a scope: forwards, gradients and inference", () => {
    tf.tidy(() => void gradients());
    const before = held();
    for (let i = 0; i < 50; i++) {
      tf.tidy(() => {
        gradients();
        for (const layer of made) layer.apply(x);
      });
    }
    expect(held()).toEqual(before);
  });

  test("a thousand steps of an optimizer leave everything as it was", () => {
    const weights = made.flatMap((layer) =>
      layer.trainableWeights.map((weight) => weight.read() as tf.Variable),
    );
    const optimizer = tf.train.sgd(1e-3);
    const small = tf.tensor(values(2 * 2 * 6 * 12, 2), [2, 2, 6, 12]);
    // A layer has its weights for one shape: those of the axes that differ are left out.
    const some = made.filter((_, i) => i !== 1 && i !== 3);
    const loss = () => {
      let y: tf.Tensor = small;
      for (const layer of some) y = layer.apply(y, { training: true }) as tf.Tensor;
      return tf.sum(tf.mul(groupNorm(y, 4, { activation: "tanh" }), small)) as tf.Scalar;
    };
    const list = weights.filter((weight) =>
      some.some((layer) => layer.weights.some((w) => w.read() === weight)),
    );
    optimizer.minimize(loss, false, list);
    const before = held();
    for (let i = 0; i < 1000; i++) optimizer.minimize(loss, false, list);
    expect(held()).toEqual(before);
    optimizer.dispose();
    small.dispose();
  });

  test("a call that finds no room, at whatever place, throws and changes nothing", () => {
    // Of these two all that is computed is this package's: stock's own kernels do not look at what they are given.
    const batch = tf.layers.batchNormalization();
    const layer = tf.layers.layerNormalization();
    const f = (at: tf.Tensor) => batch.apply(layer.apply(at), { training: true }) as tf.Tensor;
    tf.tidy(() => void f(x));
    const dy = tf.ones([...SHAPE]);
    const forward = () => tf.tidy(() => void f(x));
    // The kernel alone: where a gradient throws, tfjs's tape keeps what any operation saved for it.
    const [gamma, beta] = [tf.ones([12]), tf.zeros([12])];
    const attributes = { geometry: ofBatch(SHAPE, 3), eps: 1e-3, scale: true, offset: true, activation: 0 };
    const run = (name: string, inputs: tf.Tensor[]) =>
      tf.engine().runKernel(name, inputs as never, attributes as never) as tf.Tensor[];
    const [y, statistics] = run(KERNEL.FORWARD, [x, gamma, beta]);
    const backward = () => tf.tidy(() => void run(KERNEL.BACKWARD, [dy, x, gamma, beta, statistics!]));
    const { wasm } = tf.backend() as { wasm?: object };
    const owner = (wasm ?? tf.backend()) as Record<string, (...args: unknown[]) => unknown>;
    const name = wasm ? "_malloc" : "makeTensorInfo";
    const real = owner[name]!;
    const moving = () =>
      batch
        .getWeights()
        .slice(2)
        .map((weight) => [...weight.dataSync()]);
    const tried = (call: () => void, allowed: number) => {
      let left = allowed;
      owner[name] = function (...args) {
        if (left-- > 0) return real.apply(this, args);
        if (wasm) return 0;
        throw new RangeError("no room");
      };
      try {
        call();
        return true;
      } catch (error) {
        expect(error).toBeInstanceOf(RangeError);
        return false;
      } finally {
        owner[name] = real;
      }
    };
    for (const call of [forward, backward]) {
      call();
      const before = held();
      let allowed = 0;
      for (let succeeded = false; !succeeded; allowed++) {
        const start = moving();
        succeeded = tried(call, allowed);
        expect(held()).toEqual(before);
        if (!succeeded && call === forward) expect(moving()).toEqual(start);
      }
      expect(allowed).toBeGreaterThan(3);
    }
    tf.dispose([dy, gamma, beta, y!, statistics!]);
    for (const weight of [...batch.weights, ...layer.weights]) weight.dispose();
  });
});
