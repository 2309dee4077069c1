/** Masks in the families that normalize each example by itself: rows or positions that count. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals, variants } from "./cases.js";
import { expectBackward, expectForward } from "./contract.js";
import * as reference from "./reference.js";

const nan = Number.NaN;

describe.each(variants)("masks, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  test.each([1, 3, 4, 7, 8, 33])("rows of %d that do not count change no gradient", (width) => {
    for (const make of [
      () => new library.LayerNorm(width),
      () => new library.RMSNorm(width),
      () => new library.LayerNorm(width, { activation: "silu" }),
    ]) {
      const counted = [1, 1, 0, 1, 0, 0, 1];
      const rows = counted.length;
      const x = normals(rows * width, 1, 2, 1);
      const dy = normals(rows * width, 2);
      const scale = normals(width, 3, 0.2);
      const modulation = { scale, shift: scale };
      const of = (values: Float32Array) => values.filter((_, i) => counted[Math.floor(i / width)]);
      for (const options of [{}, { modulation }]) {
        const alone = make();
        alone.forward(of(x), { shape: [4, width], ...options });
        const want = alone.backward(of(dy));
        const layer = make();
        const padded = x.map((value, i) => (counted[Math.floor(i / width)] ? value : nan));
        layer.forward(padded, { shape: [rows, width], mask: counted, ...options });
        const got = layer.backward(dy);
        expect(of(got)).toEqual(want);
        got.forEach((value, i) => {
          if (!counted[Math.floor(i / width)]) expect(value).toBe(0);
        });
        const size = dy.reduce((sum, value) => sum + Math.abs(value), 0);
        const near = (a: Float32Array, b: Float32Array) =>
          a.forEach((value, i) => {
            expect(Math.abs(value - b[i]!)).toBeLessThanOrEqual(2 ** -21 * size);
          });
        near(layer.gamma!.grad, alone.gamma!.grad);
        if (layer.beta) near(layer.beta.grad, alone.beta!.grad);
        if (layer.modulationGrad) {
          expect(layer.modulationGrad.scale).toEqual(alone.modulationGrad!.scale);
          expect(layer.modulationGrad.shift).toEqual(alone.modulationGrad!.shift);
        }
        layer.dispose();
        alone.dispose();
      }
    }
  });

  test.each([2, 3, 5, 8, 17])(
    "each example's statistics go over its own positions, %d channels a group",
    (width) => {
      for (const layout of ["channels-last", "channels-first"] as const) {
        for (const family of ["group", "instance"] as const) {
          const groups = 2;
          const channels = groups * width;
          const positions = 9;
          const shape = layout === "channels-last" ? [3, positions, channels] : [3, channels, positions];
          // All but the last of the first example, some of the second, one run of the third.
          const mask = Uint8Array.from({ length: 27 }, (_, i) =>
            i < 8 || (i >= 9 && i < 18 && i % 3 > 0) || i > 22 ? 1 : 0,
          );
          const geometry = reference.describe({ family, shape, layout, groups });
          const include = reference.included(shape, layout, mask);
          const x = normals(geometry.size, 1, 2, 1);
          const dy = normals(geometry.size, 2);
          const layer =
            family === "group"
              ? new library.GroupNorm(groups, channels, { layout })
              : new library.InstanceNorm(channels, { layout, affine: true });
          const gamma = normals(channels, 3, 0.5, 1);
          const beta = normals(channels, 4);
          layer.gamma!.data.set(gamma);
          layer.beta!.data.set(beta);
          const statistics = reference.statistics(x, geometry, { eps: 1e-5, include });
          const want = reference.forward(x, geometry, statistics, { gamma, beta });
          const y = layer.forward(x, { shape, mask });
          expectForward(y, want, geometry, gamma, `${family} ${layout}`);
          const dx = layer.backward(dy);
          const back = reference.backward(x, dy, geometry, statistics, { gamma, include });
          const [dgamma, dbeta] = [layer.gamma!.grad, layer.beta!.grad];
          expectBackward({ dx, dgamma, dbeta }, x, back, geometry, statistics, `${family} ${layout}`);
          layer.dispose();
        }
      }
    },
  );

  test("an example has the same bits alone as among others", () => {
    for (const layout of ["channels-last", "channels-first"] as const) {
      for (const activation of ["none", "relu", "silu"] as const) {
        const [channels, positions] = [6, 9];
        const each = channels * positions;
        const own = layout === "channels-last" ? [positions, channels] : [channels, positions];
        const mask = Uint8Array.from({ length: 3 * positions }, (_, i) => (i % 4 === 2 ? 0 : 1));
        const x = normals(3 * each, 1, 2, 1);
        const dy = normals(3 * each, 2);
        for (const layer of [
          new library.GroupNorm(2, channels, { layout, activation }),
          new library.InstanceNorm(channels, { layout, activation }),
        ]) {
          const y = layer.forward(x, { shape: [3, ...own], mask });
          const dx = layer.backward(dy);
          for (let i = 0; i < 3; i++) {
            const part = (values: Float32Array) => values.slice(i * each, (i + 1) * each);
            const counted = mask.slice(i * positions, (i + 1) * positions);
            expect(layer.forward(part(x), { shape: [1, ...own], mask: counted })).toEqual(part(y));
            expect(layer.backward(part(dy))).toEqual(part(dx));
          }
          layer.dispose();
        }
      }
    }
  });

  test("an example of which nothing counts gives beta, and no gradient", () => {
    const layer = new library.GroupNorm(2, 4, { layout: "channels-last" });
    layer.beta!.data.set([1, 2, 3, 4]);
    const x = normals(24, 1);
    const y = layer.forward(x, { shape: [2, 3, 4], mask: [0, 0, 0, 1, 1, 1] });
    expect(y.slice(0, 12)).toEqual(Float32Array.of(1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4));
    const dx = layer.backward(normals(24, 2));
    expect(dx.slice(0, 12)).toEqual(new Float32Array(12));
    expect(dx.slice(12).some((value) => value !== 0)).toBe(true);
  });
});
