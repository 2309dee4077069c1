import { beforeAll, describe, expect, test } from "vitest";
import { type Functional, type Library, load, loadFunctional, variants } from "./cases.js";
import { expectWithin, readVectors, run, toleranceOf, type VectorCase } from "./vectors.js";

/** What the package does not do, each with the reason; anything else has to hold. */
const frozen = "a frozen layer has no gradient for its running statistics: they are constants to it";
const outOfScope: Record<string, string> = {
  "tfjs-core/batchNorm4D simple batchnorm4D gradients, 2x1x1x2 (gradients): dmean": frozen,
  "tfjs-core/batchNorm4D simple batchnorm4D gradients, 2x1x1x2 (gradients): dvar": frozen,
  "tfjs-core/batchNorm4D batchnorm4D gradients, same shapes in x, mean and variance (gradients): dmean":
    frozen,
  "tfjs-core/batchNorm4D batchnorm4D gradients, same shapes in x, mean and variance (gradients): dvar":
    frozen,
  "tfjs-core/batchNorm3D simple batchnorm3D gradients, 2x1x2 (gradients): dmean": frozen,
  "tfjs-core/batchNorm3D simple batchnorm3D gradients, 2x1x2 (gradients): dvar": frozen,
  "tfjs-core/batchNorm3D batchnorm3D gradients, same shapes in x, mean and variance (gradients): dmean":
    frozen,
  "tfjs-core/batchNorm3D batchnorm3D gradients, same shapes in x, mean and variance (gradients): dvar":
    frozen,
  "tfjs-core/batchNorm2D simple batchnorm2D gradients, 2x2 (gradients): dmean": frozen,
  "tfjs-core/batchNorm2D simple batchnorm2D gradients, 2x2 (gradients): dvar": frozen,
  "tfjs-core/batchNorm2D gradient with clones batchnorm2D (gradients): dmean": frozen,
  "tfjs-core/batchNorm2D gradient with clones batchnorm2D (gradients): dvar": frozen,
  "tfjs-core/batchNorm2D batchnorm2D gradients, same shapes in x, mean and variance (gradients): dmean":
    frozen,
  "tfjs-core/batchNorm2D batchnorm2D gradients, same shapes in x, mean and variance (gradients): dvar":
    frozen,
  "webnn-baseline/instanceNormalization all options#1":
    "one position an instance: InstanceNorm refuses it, as PyTorch does, where WebNN gives beta",
};

/** Two rows of two columns by hand: mean 2 and 5, variance 1 and 9. */
const inline: VectorCase = {
  name: "two rows by hand",
  op: "batch_norm_train",
  attrs: { eps: 0, channel_axis: 1, momentum: 0.5, running_var: "biased" },
  inputs: {
    x: { dims: [2, 2], data: [1, 2, 3, 8] },
    gamma: { dims: [2], data: [1, 2] },
    beta: { dims: [2], data: [0, 10] },
    running_mean: { dims: [2], data: [0, 1] },
    running_var: { dims: [2], data: [1, 1] },
  },
  outputs: {
    y: { dims: [2, 2], data: [-1, 8, 1, 12] },
    mean: { dims: [2], data: [2, 5] },
    var: { dims: [2], data: [1, 9] },
    running_mean: { dims: [2], data: [1, 3] },
    running_var: { dims: [2], data: [1, 5] },
  },
};

describe.each(variants)("third-party vectors, %s", (variant) => {
  let library: Library;
  let functional: Functional;
  beforeAll(async () => {
    library = await load(variant);
    functional = await loadFunctional();
  });

  test("the adapter agrees with a case worked out by hand, and refuses a wrong one", () => {
    const got = run(library, functional, inline);
    const tolerance = { rtol: 1e-6, atol: 1e-6 };
    for (const [name, want] of Object.entries(inline.outputs)) expectWithin(got[name], want, tolerance);
    const wrong = { dims: [2, 2], data: [-1, 8, 1, 12.001] };
    expect(() => expectWithin(got.y, wrong, tolerance)).toThrow("[3] is 12");
  });

  const folder = process.env.VECTORS;
  describe.runIf(folder)(`from VECTORS`, () => {
    const files = folder ? readVectors(folder) : [];
    const missing: string[] = [];

    describe.each(files)("$file", (file) => {
      test.each([...file.cases])("$name", (vector) => {
        if (vector.name in outOfScope) {
          missing.push(vector.name);
          expect(() => run(library, functional, vector)).toThrow(RangeError);
          return;
        }
        const got = run(library, functional, vector);
        for (const [name, want] of Object.entries(vector.outputs)) {
          if (got[name] === undefined) missing.push(`${vector.name}: ${name}`);
          else expectWithin(got[name], want, toleranceOf(file, vector, name));
        }
      });
    });

    test("what is out of scope is listed, and nothing else", () => {
      expect(missing.sort()).toEqual(Object.keys(outOfScope).sort());
    });
  });
});
