/** Instance norm with running statistics, as PyTorch keeps them: the average of examples' means and unbiased variances. */
import { describe, expect, test } from "vitest";
import { geometryOf, load, normals, type Subject } from "./cases.js";
import { gradientFor } from "./judge.js";
import * as reference from "./reference.js";

describe.each(["channels-first", "channels-last"] as const)("instance norm, %s", (layout) => {
  const [n, channels, positions] = [3, 20, 7];
  const shape = layout === "channels-first" ? [n, channels, positions] : [n, positions, channels];
  const subject: Subject = { family: "instance", layout, shape };
  const geometry = geometryOf(subject);
  const x = normals(n * channels * positions, 1, 3, 5);

  test("takes the average over examples in, and evaluates with it", async () => {
    const { InstanceNorm } = await load();
    const layer = new InstanceNorm(channels, { layout, trackRunningStats: true, momentum: 0.25 });
    layer.forward(x, shape);
    const { mean, variance } = reference.statistics(x, geometry, { eps: 0 });
    const average = (values: ArrayLike<number>, c: number) =>
      Array.from({ length: n }, (_, e) => values[e * channels + c]!).reduce((a, b) => a + b, 0) / n;
    for (let c = 0; c < channels; c++) {
      expect(layer.runningMean[c]).toBeCloseTo(0.25 * average(mean, c), 5);
      const unbiased = (average(variance, c) * positions) / (positions - 1);
      expect(layer.runningVar[c]).toBeCloseTo(0.75 + 0.25 * unbiased, 5);
    }
    layer.eval();
    const y = layer.forward(x, shape);
    const channelOf = (i: number) =>
      layout === "channels-first" ? Math.floor(i / positions) % channels : i % channels;
    const dy = gradientFor(geometry);
    const dx = layer.backward(dy);
    for (let i = 0; i < x.length; i++) {
      const c = channelOf(i);
      const rstd = 1 / Math.sqrt(layer.runningVar[c]! + 1e-5);
      expect(Math.abs(y[i]! - (x[i]! - layer.runningMean[c]!) * rstd)).toBeLessThan(4e-6);
      expect(Math.abs(dx[i]! - dy[i]! * rstd)).toBeLessThan(4e-6);
    }
    expect(Object.keys(layer.stateDict()).sort()).toEqual([
      "num_batches_tracked",
      "running_mean",
      "running_var",
    ]);
    expect(layer.batchesTracked).toBe(1);
  });

  test("without them, evaluation uses the example's own, and its state has none", async () => {
    const { InstanceNorm } = await load();
    const layer = new InstanceNorm(channels, { layout });
    const y = layer.forward(x, shape);
    expect(layer.eval().forward(x, shape)).toEqual(y);
    expect(layer.stateDict()).toEqual({});
  });
});
