import { beforeAll, describe, expect, it } from "vitest";
import {
  type Layers,
  loadSafetensors,
  loadStateDicts,
  openSafetensors,
  saveSafetensors,
  stateDictOf,
} from "../src/safetensors.js";
import { type Library, load, normals } from "./cases.js";

let library: Library;
beforeAll(async () => {
  library = await load();
});

function modelOf() {
  const { BatchNorm, LayerNorm, RMSNorm } = library;
  return {
    stem: new BatchNorm(3),
    blocks: [
      { norm1: new LayerNorm(4), norm2: new LayerNorm(4) },
      { norm1: new LayerNorm(4), norm2: new LayerNorm(4) },
    ],
    "head.norm": new RMSNorm(4),
  };
}

const trained = () => {
  const model = modelOf();
  for (let step = 0; step < 3; step++) model.stem.forward(normals(12, step, 3, 2), [4, 3]);
  for (const [i, block] of model.blocks.entries()) block.norm1.gamma!.data.set(normals(4, i));
  model["head.norm"].gamma!.data.set(normals(4, 9));
  return model;
};

describe("a model's state in one dict", () => {
  it("has the names that PyTorch gives", () => {
    expect(Object.keys(stateDictOf(modelOf()))).toEqual([
      "stem.weight",
      "stem.bias",
      "stem.running_mean",
      "stem.running_var",
      "stem.num_batches_tracked",
      "blocks.0.norm1.weight",
      "blocks.0.norm1.bias",
      "blocks.0.norm2.weight",
      "blocks.0.norm2.bias",
      "blocks.1.norm1.weight",
      "blocks.1.norm1.bias",
      "blocks.1.norm2.weight",
      "blocks.1.norm2.bias",
      "head.norm.weight",
    ]);
    expect(Object.keys(stateDictOf(new library.RMSNorm(2)))).toEqual(["weight"]);
    expect(Object.keys(stateDictOf([new library.RMSNorm(2)]))).toEqual(["0.weight"]);
    expect(Object.keys(stateDictOf(new Map([["a", new library.RMSNorm(2)]])))).toEqual(["a.weight"]);
  });

  it("goes through a file with metadata, and through JSON, and back", async () => {
    const model = trained();
    const state = stateDictOf(model);
    const file = saveSafetensors(state, { epoch: "3" });
    expect((await openSafetensors(file)).metadata).toEqual({ epoch: "3" });
    for (const dict of [
      loadSafetensors(file),
      JSON.parse(JSON.stringify(state)),
      new Map(Object.entries(state)),
    ]) {
      const twin = modelOf();
      expect(loadStateDicts(twin, dict)).toEqual({ missing: [], unexpected: [] });
      expect(stateDictOf(twin)).toEqual(state);
    }
  });

  it("changes nothing unless all of it fits", () => {
    const state = stateDictOf(trained());
    const spoilt: [string, (dict: Record<string, unknown>) => unknown, RegExp][] = [
      [
        "a missing entry",
        (dict) => delete dict["head.norm.weight"],
        /expected entries head\.norm\.weight, which are missing/,
      ],
      [
        "an unexpected entry",
        (dict) => (dict["blocks.0.norm1.scale"] = [1]),
        /none of blocks\.0\.norm1\.scale/,
      ],
      ["an entry of no layer", (dict) => (dict["lm_head.weight"] = [1]), /none of lm_head\.weight/],
      [
        "a short one",
        (dict) => (dict["head.norm.weight"] = [1]),
        /^loadStateDicts: head\.norm: RMSNorm.*weight to have 4 values, got 1$/,
      ],
    ];
    for (const [what, spoil, message] of spoilt) {
      const twin = modelOf();
      const before = stateDictOf(twin);
      const dict: Record<string, unknown> = { ...state };
      spoil(dict);
      expect(() => loadStateDicts(twin, dict as never), what).toThrow(message);
      expect(stateDictOf(twin), what).toEqual(before);
    }
  });

  it("takes what fits where it need not be complete", () => {
    const twin = modelOf();
    const dict = { "stem.weight": [1, 2, 3], "other.weight": [1], "blocks.1.norm2.gamma": [1], x: [1] };
    const { missing, unexpected } = loadStateDicts(twin, dict, { strict: false });
    expect(unexpected.sort()).toEqual(["blocks.1.norm2.gamma", "other.weight", "x"]);
    expect(missing).toContain("stem.running_mean");
    expect(missing).not.toContain("stem.num_batches_tracked");
    expect(missing).not.toContain("stem.weight");
    expect(twin.stem.gamma!.data).toEqual(Float32Array.of(1, 2, 3));
  });

  it.each<[string, () => unknown]>([
    ["a number", () => 5],
    ["null", () => null],
    ["an object with a number", () => ({ a: 5 })],
    ["two layers of one name", () => ({ "a.b": new library.RMSNorm(2), a: { b: new library.RMSNorm(2) } })],
    [
      "a circle",
      () => {
        const circle: Record<string, unknown> = {};
        circle.a = circle;
        return circle;
      },
    ],
  ])("refuses %s in the place of layers", (_, layers) => {
    expect(() => stateDictOf(layers() as Layers)).toThrow(/^stateDictOf: expected /);
    expect(() => loadStateDicts(layers() as Layers, {})).toThrow(/^loadStateDicts: expected /);
  });
});
