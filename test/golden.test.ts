/** Against PyTorch: golden/make.py made these values, and says how. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, variants } from "./cases.js";
import { compare, expectHolds } from "./contract.js";

interface Packed {
  readonly shape: number[];
  readonly data: string;
}

interface Step {
  readonly mode: "train" | "eval";
  readonly x: Packed;
  readonly dy: Packed;
  readonly y: Packed;
  readonly dx: Packed;
  readonly residual?: Packed;
  readonly residualGrad?: Packed;
  readonly dgamma?: Packed;
  readonly dbeta?: Packed;
  readonly runningMean?: Packed;
  readonly runningVar?: Packed;
  readonly batchesTracked?: number;
}

interface LayerCase {
  readonly name: string;
  readonly family: "batch" | "layer" | "rms" | "group" | "instance";
  readonly layout?: "channels-last" | "channels-first";
  readonly groups?: number;
  readonly size: number | number[];
  readonly options: { eps: number; momentum?: number | null; affine?: boolean; activation?: "relu" };
  readonly gamma: Packed | null;
  readonly beta: Packed | null;
  readonly steps: Step[];
}

interface OptimizerCase {
  readonly name: string;
  readonly kind: "SGD" | "AdamW";
  readonly options: { lr: number };
  readonly start: Packed;
  readonly grads: Packed[];
  readonly values: Packed[];
}

function read<T>(file: string): T[] {
  return JSON.parse(readFileSync(new URL(`golden/${file}`, import.meta.url), "utf8")).cases;
}

function unpack({ data }: Packed): Float32Array {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return new Float32Array(bytes.buffer);
}

/** Within the contract's 4u of the array's largest value: all inputs are of ordinary size. */
function expectNear(got: ArrayLike<number> | null | undefined, packed: Packed, what: string): void {
  const want = unpack(packed);
  const scale = want.reduce((largest, value) => Math.max(largest, Math.abs(value)), 1);
  // the golden value was rounded to float32 as well
  expectHolds(compare(got!, want, { what, limit: 4, scale: () => scale, rounding: 0.5 }), what);
}

describe.each(variants)("PyTorch's values, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  function layerOf({ family, layout, groups, size, options }: LayerCase) {
    const located = { ...options, ...(layout && { layout }) };
    switch (family) {
      case "batch":
        return new library.BatchNorm(size as number, located);
      case "layer":
        return new library.LayerNorm(size as number[], options);
      case "rms":
        return new library.RMSNorm(size as number[], options);
      case "group":
        return new library.GroupNorm(groups!, size as number, located);
      case "instance":
        return new library.InstanceNorm(size as number, located);
    }
  }

  describe.each(["batch.json", "family.json"])("%s", (file) => {
    test.each(read<LayerCase>(file))("$family norm: $name", (golden) => {
      const layer = layerOf(golden);
      if (golden.gamma) layer.gamma!.data.set(unpack(golden.gamma));
      if (golden.beta) layer.beta!.data.set(unpack(golden.beta));
      expect(layer.gamma === null).toBe(golden.gamma === null);
      expect(layer.beta === null).toBe(golden.beta === null);

      golden.steps.forEach((step, k) => {
        const at = `step ${k + 1} (${step.mode}): `;
        if (step.mode === "train") layer.train();
        else layer.eval();
        layer.zeroGrad();
        const shape = step.x.shape;
        const residual = step.residual && { residual: unpack(step.residual) };
        expectNear(layer.forward(unpack(step.x), { shape, ...residual }), step.y, `${at}y`);
        expectNear(layer.backward(unpack(step.dy)), step.dx, `${at}dx`);
        if (step.dgamma) expectNear(layer.gamma!.grad, step.dgamma, `${at}dgamma`);
        if (step.dbeta) expectNear(layer.beta!.grad, step.dbeta, `${at}dbeta`);
        if (!(layer instanceof library.BatchNorm)) return;
        if (step.residualGrad) {
          expectNear(layer.residualGrad as Float32Array, step.residualGrad, `${at}residualGrad`);
        }
        expectNear(layer.runningMean, step.runningMean!, `${at}running mean`);
        expectNear(layer.runningVar, step.runningVar!, `${at}running variance`);
        expect(Number(layer.batchesTracked)).toBe(step.batchesTracked);
      });
      layer.dispose();
    });
  });

  test.each(read<OptimizerCase>("optimizers.json"))("$name", ({ kind, options, start, grads, values }) => {
    const data = unpack(start);
    const grad = new Float32Array(data.length);
    const optimizer = new library[kind]([{ data, grad }], options);
    grads.forEach((packed, k) => {
      grad.set(unpack(packed));
      optimizer.step();
      expectNear(data, values[k]!, `after step ${k + 1}`);
    });
  });
});
