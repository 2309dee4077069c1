// The networks as their packages hold them, the figures that are kept of them, and what is said of both elsewhere.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { identityReport } from "wasm-norm/analysis";
import { deal } from "./deal.ts";
import { keepFigures, keepLayers } from "./keep.ts";
import { NETWORKS } from "./networks.ts";
import { unpack } from "./unpack.ts";

/** Counted by other code: layers, units, units within 0.1, and of them those behind depthwise convolutions. */
const COUNTS: Record<string, [layers: number, units: number, within: number, depthwise: number]> = {
  mobilenet_v2: [52, 17056, 95, 79],
  inception_v3: [94, 17216, 132, 0],
  ssd_mobilenetv1: [13, 4960, 10, 10],
  ocr_direction: [35, 2136, 43, 5],
};

for (const { id, title, source, layers } of NETWORKS) {
  test(`${title}: the counts`, async () => {
    const { all, kinds } = identityReport(await layers());
    const depthwise = kinds.find(({ kind }) => kind === "depthwise")?.within ?? 0;
    assert.deepEqual([all.layers, all.units, all.within, depthwise], COUNTS[id]);
    assert.ok(kinds.every(({ kind }) => kind !== "unknown"));
  });

  test(`${title}: results/ is what the script writes`, async () => {
    const kept = (name: string) => readFileSync(new URL(`results/${id}.${name}`, import.meta.url), "utf8");
    const known = await layers();
    assert.equal(kept("json"), keepFigures(identityReport(known)));
    assert.equal(kept("layers.json"), keepLayers(title, source, known));
  });

  test(`${title}: the layers that are kept are those of the package`, async () => {
    const known = await layers();
    const kept = unpack(
      JSON.parse(readFileSync(new URL(`results/${id}.layers.json`, import.meta.url), "utf8")),
    );
    assert.equal(kept.length, known.length);
    kept.forEach((layer, i) => {
      for (const key of ["gamma", "beta", "mean", "variance"] as const) {
        assert.deepEqual(layer[key], known[i]![key]);
        assert.deepEqual(layer.levels?.[key] ?? null, known[i]!.levels?.[key] ?? null);
      }
    });
    assert.deepEqual(identityReport(kept), identityReport(known));
  });
}

test("dealing leaves the figures of chance: Inception's 132 are within what it leaves, MobileNetV2's 79 are not", async () => {
  const report = async (id: string) => identityReport(await NETWORKS.find((one) => one.id === id)!.layers());
  const inception = (await report("inception_v3")).all;
  assert.ok(inception.dealt.low < 132 && 132 < inception.dealt.high);
  assert.ok(Math.abs(inception.dealt.mean - 132.5) < 3);
  const depthwise = (await report("mobilenet_v2")).kinds.find(({ kind }) => kind === "depthwise")!;
  assert.ok(depthwise.dealt.high < 79 && depthwise.dealt.atLeast < 0.01);
});

test("a deal moves every pair and changes none", async () => {
  const [layer] = await NETWORKS[0]!.layers();
  const [dealt] = deal([layer!], 7);
  const pairs = ({ gamma, beta }: typeof layer & object) =>
    Array.from(gamma!, (g, i) => `${g} ${beta![i]}`).sort();
  assert.deepEqual(pairs(dealt!), pairs(layer!));
  assert.notDeepEqual(Array.from(dealt!.gamma!), Array.from(layer!.gamma!));
});
