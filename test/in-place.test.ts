/** Outputs over operands, and examples alone or among others: the same bits, for every family and everything around it. */
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, normals, variants } from "./cases.js";

const activations = ["none", "relu", "silu", "gelu"] as const;
const layouts = ["channels-last", "channels-first"] as const;
const EXAMPLES = 3;
const CHANNELS = 6;
const POSITIONS = 11;
const EACH = CHANNELS * POSITIONS;

interface Family {
  readonly name: string;
  readonly shape: (examples: number) => number[];
  readonly apart: boolean;
  readonly make: (library: Library, activation: string) => InstanceType<Library["LayerNorm"]>;
}

const families: Family[] = layouts.flatMap((layout) => {
  const shape = (n: number) =>
    layout === "channels-last" ? [n, POSITIONS, CHANNELS] : [n, CHANNELS, POSITIONS];
  const family = (name: string, apart: boolean, make: (l: Library, o: object) => unknown): Family => ({
    name: `${name} ${layout}`,
    shape,
    apart,
    make: (library, activation) => make(library, { layout, activation }) as never,
  });
  return [
    family("BatchNorm", false, (l, o) => new l.BatchNorm(CHANNELS, o)),
    family("virtual batches", false, (l, o) => new l.BatchNorm(CHANNELS, { ...o, virtualBatchSize: 1 })),
    family("renorm", false, (l, o) => new l.BatchNorm(CHANNELS, { ...o, renorm: {} })),
    family("GroupNorm", true, (l, o) => new l.GroupNorm(2, CHANNELS, o)),
    family("InstanceNorm", true, (l, o) => new l.InstanceNorm(CHANNELS, o)),
    family("LayerNorm", true, (l, o) => new l.LayerNorm(CHANNELS, o)),
  ];
});
families.push({
  name: "RMSNorm",
  shape: (n) => [n, POSITIONS, CHANNELS],
  apart: true,
  make: (library, activation) => new library.RMSNorm(CHANNELS, { activation } as never) as never,
});

const cases = families.flatMap((family) =>
  activations.flatMap((activation) =>
    [false, true].map(
      (modulated) =>
        [`${family.name}, ${activation}, modulation ${modulated}`, family, activation, modulated] as const,
    ),
  ),
);

describe.each(variants)("in place, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  const rows = (n: number) => ({
    scale: normals(n * CHANNELS, 5, 0.4),
    shift: normals(n * CHANNELS, 6, 0.4),
  });
  const values = (operand: unknown) =>
    (operand instanceof Float32Array ? operand : (operand as { toArray(): Float32Array }).toArray()).slice();

  test.each(cases)("%s: y over the residual, dx over dy", (_, family, activation, modulated) => {
    const shape = family.shape(EXAMPLES);
    const size = EXAMPLES * EACH;
    for (const tensors of [false, true]) {
      const minibatch = (seed: number) =>
        (tensors ? library.tensor(shape, normals(size, seed)) : normals(size, seed)) as Float32Array;
      const run = (inPlace: boolean) => {
        const layer = family.make(library, activation);
        const modulation = modulated ? rows(EXAMPLES) : undefined;
        const residual = minibatch(2);
        const options = { shape, residual, ...(modulation && { modulation }) };
        // What backward reads again must stay: a residual before a smooth activation or after a modulation.
        const free = inPlace && (activation === "none" || activation === "relu") && !modulated;
        const y = values(layer.forwardInto(minibatch(1), free ? residual : minibatch(3), options));
        const dy = minibatch(4);
        const dx = values(
          layer.backwardInto(dy, inPlace ? dy : minibatch(3), { residualGrad: minibatch(3) }),
        );
        const residualGrad = values(layer.residualGrad);
        layer.dispose();
        return { y, dx, residualGrad };
      };
      expect(run(true)).toEqual(run(false));
    }
  });

  const apart = cases.filter(([, family]) => family.apart);
  test.each(apart)(
    "%s: an example has the same bits alone as among others",
    (_, family, activation, modulated) => {
      const layer = family.make(library, activation);
      const [x, residual, dy] = [1, 2, 3].map((seed) => normals(EXAMPLES * EACH, seed)) as [
        Float32Array,
        Float32Array,
        Float32Array,
      ];
      const { scale, shift } = rows(EXAMPLES);
      const y = layer.forward(x, {
        shape: family.shape(EXAMPLES),
        residual,
        ...(modulated && { modulation: { scale, shift } }),
      });
      const dx = layer.backward(dy);
      for (let i = 0; i < EXAMPLES; i++) {
        const part = (all: Float32Array, each = EACH) => all.slice(i * each, (i + 1) * each);
        const modulation = { scale: part(scale, CHANNELS), shift: part(shift, CHANNELS) };
        const options = {
          shape: family.shape(1),
          residual: part(residual),
          ...(modulated && { modulation }),
        };
        expect(layer.forward(part(x), options)).toEqual(part(y));
        expect(layer.backward(part(dy))).toEqual(part(dx));
      }
      layer.dispose();
    },
  );
});
