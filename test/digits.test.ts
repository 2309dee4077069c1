import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { answer, REAL_NETWORKS } from "../examples/digits/answer.ts";
import { ARMS, type Arm } from "../examples/digits/arms.ts";
import { parseDigits } from "../examples/digits/data.ts";
import { Network, softmaxCrossEntropy } from "../examples/digits/network.ts";
import { seededRandom } from "../examples/digits/random.ts";
import { gapPlot, table } from "../examples/digits/report.ts";
import { type Summary, summarize } from "../examples/digits/summary.ts";
import { type Epoch, type Settings, train } from "../examples/digits/train.ts";

const { training, test } = parseDigits(
  readFileSync(new URL("../examples/digits/digits.csv", import.meta.url), "utf8"),
);
const TINY: Settings = { seed: 7, epochs: 2, batchSize: 64, hidden: [16, 12], momentum: 0.9 };

const arm = (id: Arm["id"]) => ARMS.find((candidate) => candidate.id === id)!;
const run = (id: Arm["id"], settings: Partial<Settings> = {}) => [
  ...train(arm(id), training, test, { ...TINY, ...settings }),
];
const epochs = (id: Arm["id"], settings: Partial<Settings> = {}) =>
  run(id, settings).filter((at): at is Epoch => at.kind === "epoch");

describe("digits: data", () => {
  it("has the split by order, pixels from 0 to 1 and every digit in both parts", () => {
    expect([training.rows, test.rows]).toEqual([1347, 450]);
    for (const { pixels, labels } of [training, test]) {
      expect(Math.min(...pixels)).toBe(0);
      expect(Math.max(...pixels)).toBe(1);
      expect([...new Set(labels)].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }
  });
});

describe("digits: network", () => {
  it.each([false, true])(
    "backward agrees with central differences of the loss, normalized: %s",
    (normalized) => {
      const network = new Network([64, 7, 5, 10], seededRandom(3), normalized);
      const rows = 9;
      const pixels = training.pixels.subarray(0, rows * 64);
      const labels = training.labels.subarray(0, rows);
      const loss = () => softmaxCrossEntropy(network.forward(pixels), labels);
      network.backward(loss().dlogits);
      const step = 1 / 256;
      for (const { data, grad } of [
        ...network.weights(),
        ...network.norms.flatMap((norm) => norm.parameters()),
      ]) {
        for (let i = 0; i < data.length; i += 5) {
          const kept = data[i]!;
          data[i] = kept + step;
          const up = loss().loss;
          data[i] = kept - step;
          const down = loss().loss;
          data[i] = kept;
          // Float32 activations: about 1e-7 in the loss, 64 / 2 times that in the quotient; then step^2 / 6 times
          // the third derivative.
          expect(Math.abs((up - down) / (2 * step) - grad[i]!)).toBeLessThan(2e-5);
        }
      }
      network.dispose();
    },
  );
});

describe("digits: training", () => {
  it.each(ARMS.map(({ id }) => id))("%s: a seed fixes every figure, another seed gives others", (id) => {
    const once = run(id);
    expect(run(id)).toEqual(once);
    expect(run(id, { seed: 8 })).not.toEqual(once);
  });

  it("comes to name most digits where normalized", () => {
    const [before, , after] = epochs("learned");
    expect(before!.testAccuracy).toBeLessThan(0.3);
    expect(after!.testAccuracy).toBeGreaterThan(0.7);
  });

  it("computes at first what no normalization computes, where started undone", () => {
    const plain = epochs("plain", { epochs: 0 })[0]!;
    const undone = epochs("undone", { epochs: 0 })[0]!;
    const learned = epochs("learned", { epochs: 0 })[0]!;
    expect(undone.loss).toBeCloseTo(plain.loss, 5);
    expect(undone.gap!.rms).toBeLessThan(1e-4);
    expect(learned.loss).not.toBeCloseTo(plain.loss, 2);
  });

  it("reports the gap that gamma and beta would have, had they not moved", () => {
    const fixed = epochs("normalized")[2]!.gap!;
    expect(fixed.rmsUnmoved).toBe(fixed.rms);
    const learned = epochs("learned")[2]!.gap!;
    expect(Math.abs(learned.rmsUnmoved - learned.rms)).toBeGreaterThan(0.01);
  });
});

describe("digits: control", () => {
  // One layer, so that its input stays the same throughout. Half the squared distance has curvature 1 in gamma
  // and in beta: plain gradient descent leaves (1 - lr)^steps of the way. Minibatches of m rows shake it by
  // their own mean and deviation (relative variance 1 / m and 1 / 2m), of which lr / (2 - lr) stays.
  const lr = 0.1;
  const settings = { hidden: [16], momentum: 0, learningRate: lr, epochs: 6 };
  const stepsPerEpoch = Math.floor(training.rows / TINY.batchSize);
  const shaken = Math.sqrt((1.5 / TINY.batchSize) * (lr / (2 - lr)));

  it("travels to the undoing, at the pace that its curvature sets", () => {
    const gaps = epochs("control", settings).map((at) => at.gap!.rms);
    const oneEpochOn = gaps[0]! * (1 - lr) ** stepsPerEpoch;
    expect(oneEpochOn).toBeGreaterThan(5 * shaken);
    expect(Math.abs(gaps[1]! - oneEpochOn)).toBeLessThan(2 * shaken);
    for (const gap of gaps.slice(4)) expect(gap).toBeLessThan(2 * shaken);
    expect(gaps[0]! / gaps[6]!).toBeGreaterThan(20);
  });

  it("has a gradient of mean and xhat alone: all of it is projected out", () => {
    for (const at of epochs("control", settings).slice(1)) expect(at.projectedOut).toBeCloseTo(1, 2);
  });
});

describe("digits: report", () => {
  const figures: Omit<Summary, "arm"> = {
    epochs: 30,
    seeds: 3,
    lossBefore: 2.5,
    loss: 0.01,
    testAccuracy: 0.9,
    testAccuracyRange: [0.89, 0.91],
    epochsTo95: 3,
    gapBefore: 4,
    gapAfter: 2,
    gapUnmoved: 1.5,
    projectedOut: 0.02,
    gapCurve: [4, 3, 2],
  };
  const summaries = (changes: Partial<Record<Arm["id"], Partial<Summary>>>): Summary[] =>
    ARMS.map((each) => ({ arm: each, ...figures, ...changes[each.id] }));
  const travelled = { control: { gapAfter: 0.02, gapUnmoved: 40 }, undone: { gapBefore: 0, gapUnmoved: 1 } };
  const say = (changes: Parameters<typeof summaries>[0]) => answer(summaries(changes), 64).join("\n");

  it("says what the figures say", () => {
    const text = say(travelled);
    expect(text).toContain("where that is the best answer they do");
    expect(text).toContain("training takes them elsewhere");
    expect(text).toContain("from 4.00 to 0.02");
    expect(text).toContain("they leave");
    expect(text).toContain("moved away");
  });

  it("says otherwise where a figure does", () => {
    expect(say({})).toContain("even where that is the best answer");
    expect(say({ ...travelled, learned: { gapAfter: 0.05 } })).toContain("go to the undoing");
    expect(say({ ...travelled, learned: { gapAfter: 1.2 } })).toContain("20.0 % of the way");
    expect(say({ ...travelled, learned: { gapAfter: 1.2 } })).toContain("come nearer to it");
    expect(say({ ...travelled, undone: { gapBefore: 0, gapAfter: 0.01 } })).toContain("they stay");
    expect(say({ ...travelled, plain: { lossBefore: 2.6 } })).toContain("does not compute");
    expect(say({ ...travelled, plain: { epochsTo95: Number.NaN } })).toContain("without after more than 30");
    expect(say({ ...travelled, undone: { ...travelled.undone, epochsTo95: 9 } })).toContain("trains slower");
    expect(say(travelled)).toContain("not further apart than the seeds");
    expect(say({ ...travelled, learned: { testAccuracyRange: [0.95, 0.96] } })).toContain(
      "are further apart",
    );
  });

  it("quotes the real networks as examples/real-networks has measured them", () => {
    const ids = ["mobilenet_v2", "inception_v3", "ssd_mobilenetv1", "ocr_direction"];
    const results = ids.map((id) => {
      const file = new URL(`../examples/real-networks/results/${id}.json`, import.meta.url);
      return JSON.parse(readFileSync(file, "utf8")).summary.all;
    });
    expect(REAL_NETWORKS.map(({ within, measured, dealt }) => [within, measured, dealt])).toEqual(
      results.map(({ within, measured, dealt }) => [within, measured, Math.round(dealt.mean)]),
    );
    const [mobileNet] = results;
    const last = answer(summaries(travelled), 64).at(-1)!;
    expect(last).toContain("MobileNetV2 95 of 16,460 (69 when dealt)");
    expect(last).toContain(`(rank correlation ${mobileNet.gammaSigma.median.toFixed(2)} in`);
    expect(last).toContain(`(${mobileNet.betaMean.median.toFixed(2)})`);
    expect(last.match(/[.] /g)).toHaveLength(1);
  });

  it("fits 80 columns, names every arm and marks where each curve ends", () => {
    const all = ARMS.map((each) => summarize(each, [epochs(each.id)]));
    const lines = [...table(all, false).split("\n"), ...gapPlot(all.slice(2), 80, false).split("\n")];
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
    for (const { title } of ARMS) expect(lines.filter((line) => line.startsWith(title))).toHaveLength(1);
    for (const { arm: each, gapAfter } of all.slice(2)) {
      expect(lines.filter((line) => line.endsWith(`${each.title} ${gapAfter.toFixed(2)}`))).toHaveLength(1);
    }
  });
});
