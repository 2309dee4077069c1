/** The operations on tensors against float64, on the backends that are served and on one that is not. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { groupNorm, install, layerNorm, rmsNorm, type Uninstall } from "../../src/tfjs.js";
import { ACTIVATIONS, NAMES } from "../activations.js";
import { backward, forward, geometry, statistics } from "../reference.js";
import { anyBackends, gap, read, sizeOf, tf, toleranceOf, use, useAny, values } from "./setup.js";

test("without install the operations say what to do", async () => {
  await use("cpu");
  expect(() => layerNorm(tf.ones([2, 2]))).toThrow("install(tf)` first");
});

describe.each(anyBackends)("on %s", (backend) => {
  let uninstall: Uninstall;
  beforeAll(async () => {
    await useAny(backend);
    uninstall = await install(tf);
  });
  afterAll(() => uninstall());
  const TOLERANCE = toleranceOf(backend);

  const norms = NAMES.flatMap((activation) => [
    { name: "layerNorm", shape: [5, 4, 24], own: [2], activation },
    { name: "layerNorm", shape: [5, 4, 6], own: [1, 2], activation },
    { name: "layerNorm", shape: [3, 7, 6], own: [1], activation },
    { name: "rmsNorm", shape: [5, 4, 24], own: [2], activation },
    { name: "groupNorm", shape: [3, 4, 5, 12], own: [3], activation },
    { name: "groupNorm", shape: [3, 12, 5, 4], own: [1], activation },
    { name: "groupNorm", shape: [3, 4, 12, 5], own: [2], activation },
  ]);

  test.each(norms)("$name of $shape over $own with $activation: y and gradients", (at) => {
    const { name, shape, own, activation } = at;
    const x = values(sizeOf(shape), 1);
    const dy = values(sizeOf(shape), 2, 1, 0);
    const size = sizeOf(own.map((axis) => shape[axis]!));
    // Wide enough for every kink.
    const gamma = values(size, 3, 4, 1.2);
    const beta = values(size, 4, 1, 0);
    const centered = name !== "rmsNorm";
    const axes = shape.map((_, i) => i);
    const groups = 4;
    const split = [...shape];
    if (name === "groupNorm") split.splice(own[0]!, 1, groups, size / groups);
    const g =
      name === "groupNorm"
        ? geometry(split, [0, own[0]!], [own[0]!, own[0]! + 1])
        : geometry(
            shape,
            axes.filter((i) => !own.includes(i)),
            own,
          );
    const eps = 1e-4;
    const s = statistics(x, g, { eps, centered });
    const { value, slope } = ACTIVATIONS[activation];
    const z = forward(x, g, s, { gamma, beta }).y;
    const y = z.map(value);
    const expected = backward(
      x,
      Float64Array.from(z, (at, i) => dy[i]! * slope(at)),
      g,
      s,
      { gamma, centered },
    );
    const run = (a: tf.Tensor, b: tf.Tensor, c: tf.Tensor) => {
      const options = {
        gamma: b,
        beta: c,
        epsilon: eps,
        activation,
        axis: name === "groupNorm" ? own[0]! : own,
      };
      if (name === "groupNorm") return groupNorm(a, groups, options as { axis: number });
      return name === "rmsNorm" ? rmsNorm(a, options) : layerNorm(a, options);
    };
    const tensors = [tf.tensor(x, shape), tf.tensor(gamma), tf.tensor(beta)] as [
      tf.Tensor,
      tf.Tensor,
      tf.Tensor,
    ];
    const { numTensors } = tf.memory();
    tf.tidy(() => {
      expect(gap(read(run(...tensors)), y)).toBeLessThan(TOLERANCE);
      const gradients = tf.grads((a, b, c) => tf.sum(tf.mul(run(a!, b!, c!), tf.tensor(dy, shape))))(tensors);
      [expected.dx, expected.dgamma, expected.dbeta].forEach((want, i) => {
        expect(gap(read(gradients[i]), want)).toBeLessThan(TOLERANCE);
      });
    });
    expect(tf.memory().numTensors).toBe(numTensors);
  });

  test("wrong arguments of the operations are refused", () => {
    const x = tf.ones([2, 6]);
    expect(() => groupNorm(x, 4)).toThrow("groupNorm: expected groups to divide 6 channels, got 4");
    expect(() => layerNorm(x, { axis: 2 })).toThrow(RangeError);
    expect(() => layerNorm(x, { axis: [1, -1] })).toThrow("axes that differ");
    expect(() => layerNorm(x, { gamma: tf.ones([5]) })).toThrow(
      "layerNorm: expected gamma of 6 values, got [5]",
    );
    expect(() => layerNorm(tf.ones([2, 2], "int32"))).toThrow(TypeError);
    expect(() => layerNorm(x, { epsilom: 1 } as never)).toThrow("epsilon");
  });
});
