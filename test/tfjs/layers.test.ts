/** tf.layers.batchNormalization and layerNormalization against float64, and tfjs's conventions. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { install, type Uninstall } from "../../src/tfjs.js";
import { backward, fixedStatistics, forward, geometry, statistics } from "../reference.js";
import { type Backend, backends, gap, sizeOf, tf, use, values } from "./setup.js";

type Layer = tf.layers.Layer;
type Options = { scale: boolean; center: boolean };

/** y and the gradients of x, gamma and beta, of the sum of y * dy. */
function run(layer: Layer, x: tf.Tensor, dy: tf.Tensor, training: boolean) {
  const gammas = layer.trainableWeights.map((weight) => weight.read() as tf.Variable);
  const f = () => tf.sum(tf.mul(layer.apply(x, { training }) as tf.Tensor, dy)) as tf.Scalar;
  const out = tf.tidy(() => {
    const dx = tf.grad((at: tf.Tensor) => tf.sum(tf.mul(layer.apply(at, { training }) as tf.Tensor, dy)))(x);
    const grads = gammas.length ? tf.variableGrads(f, gammas).grads : {};
    return [dx, ...gammas.map(({ name }) => grads[name]!)].map((tensor) => tensor.dataSync() as Float32Array);
  });
  return { dx: out[0]!, gradients: out.slice(1) };
}

function setUp(layer: Layer, shape: number[], seed: number): void {
  layer.build([null as unknown as number, ...shape.slice(1)]);
  layer.setWeights(
    layer.weights.map(({ shape, originalName }, i) => {
      const spread = values(sizeOf(shape as number[]), seed + i, 1, 1.2);
      const around = /beta|mean/.test(originalName) ? spread.map((value) => value - 1.2) : spread;
      return tf.tensor(around, shape as number[]);
    }),
  );
}

const weightsOf = (layer: Layer) =>
  Object.fromEntries(
    layer.weights.map((w) => [w.originalName.split("/").at(-1)!, w.read().dataSync() as Float32Array]),
  ) as Record<"gamma" | "beta" | "moving_mean" | "moving_variance", Float32Array | undefined>;

const SHAPES = [
  [7, 5],
  [64, 33],
  [3, 6, 10],
  [4, 5, 6, 3],
  [2, 3, 4, 5, 6],
  [9, 1],
];
const ALL: Options[] = [true, false].flatMap((scale) => [true, false].map((center) => ({ scale, center })));

describe.each(backends)("on %s", (backend: Backend) => {
  let uninstall: Uninstall;
  beforeAll(async () => {
    await use(backend);
    uninstall = await install(tf);
    expect(uninstall.backend).toBe(backend);
  });
  afterAll(() => uninstall());

  const cases = SHAPES.flatMap((shape) => shape.slice(1).map((_, i) => ({ shape, axis: i + 1 })));

  test.each(cases)(
    "batch norm of $shape along axis $axis: y, moving statistics and gradients",
    ({ shape, axis }) => {
      for (const options of ALL) {
        const layer = tf.layers.batchNormalization({
          axis: axis === shape.length - 1 ? -1 : axis,
          ...options,
        });
        setUp(layer, shape, 7);
        const before = weightsOf(layer);
        const x = values(sizeOf(shape), 3);
        const dy = values(sizeOf(shape), 4, 1, 0);
        const [xt, dyt] = [tf.tensor(x, shape), tf.tensor(dy, shape)];
        const g = geometry(shape, [axis], [axis]);
        for (const training of [false, true]) {
          const eps = 1e-3;
          const s = training
            ? statistics(x, g, { eps })
            : fixedStatistics(before.moving_mean!, before.moving_variance!, eps);
          const y = tf.tidy(() => (layer.apply(xt, { training }) as tf.Tensor).dataSync()) as Float32Array;
          expect(gap(y, forward(x, g, s, before).y)).toBeLessThan(3e-7);
          if (training) {
            const after = weightsOf(layer);
            const moved = (old: Float32Array, batch: Float64Array) =>
              Float64Array.from(old, (value, c) => 0.99 * value + 0.01 * batch[c]!);
            expect(gap(after.moving_mean!, moved(before.moving_mean!, s.mean))).toBeLessThan(1e-7);
            expect(gap(after.moving_variance!, moved(before.moving_variance!, s.variance))).toBeLessThan(
              1e-7,
            );
          }
          const { dx, gradients } = run(layer, xt, dyt, training);
          const mode = training ? "batch" : "fixed";
          const count = new Float64Array(shape[axis]!).fill(sizeOf(shape) / shape[axis]!);
          const expected = backward(x, dy, g, { ...s, count }, { gamma: before.gamma, statistics: mode });
          expect(gap(dx, expected.dx)).toBeLessThan(3e-7);
          const wanted = [
            ...(options.scale ? [expected.dgamma] : []),
            ...(options.center ? [expected.dbeta] : []),
          ];
          expect(gradients.length).toBe(wanted.length);
          for (const [i, gradient] of wanted.entries())
            expect(gap(gradients[i]!, gradient)).toBeLessThan(3e-7);
        }
        for (const weight of layer.weights) weight.dispose();
      }
    },
  );

  const axes = SHAPES.flatMap((shape) => {
    const all = shape.map((_, i) => i).slice(1);
    return [...all.map((axis) => [axis]), all, all.slice(-2).reverse()].map((axis) => ({ shape, axis }));
  });

  test.each(axes)("layer norm of $shape over $axis: y and gradients", ({ shape, axis }) => {
    for (const options of ALL) {
      const layer = tf.layers.layerNormalization({ axis: [...axis], epsilon: 1e-5, ...options });
      setUp(layer, shape, 9);
      const { gamma, beta } = weightsOf(layer);
      const x = values(sizeOf(shape), 5, 1, 3);
      const dy = values(sizeOf(shape), 6, 1, 0);
      const [xt, dyt] = [tf.tensor(x, shape), tf.tensor(dy, shape)];
      const sorted = [...axis].sort((a, b) => a - b);
      const kept = shape.map((_, i) => i).filter((i) => !axis.includes(i));
      const g = geometry(shape, kept, sorted);
      const s = statistics(x, g, { eps: 1e-5 });
      const y = tf.tidy(() => (layer.apply(xt) as tf.Tensor).dataSync()) as Float32Array;
      expect(gap(y, forward(x, g, s, { gamma, beta }).y)).toBeLessThan(3e-7);
      const { dx, gradients } = run(layer, xt, dyt, true);
      const expected = backward(x, dy, g, s, { gamma });
      expect(gap(dx, expected.dx)).toBeLessThan(3e-7 * Math.max(1, ...s.rstd));
      const wanted = [
        ...(options.scale ? [expected.dgamma] : []),
        ...(options.center ? [expected.dbeta] : []),
      ];
      for (const [i, gradient] of wanted.entries()) expect(gap(gradients[i]!, gradient)).toBeLessThan(3e-7);
      for (const weight of layer.weights) weight.dispose();
    }
  });
});
