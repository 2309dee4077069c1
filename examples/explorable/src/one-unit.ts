// Part 1: one hidden unit's minibatch, its normalization and what gamma and beta make of it.
import { dot, line, type Markish, rectY, ruleX, ruleY, text } from "@observablehq/plot";
import { wrap } from "comlink";
import { BatchNorm } from "wasm-norm";
import { ARMS } from "../../digits/arms.ts";
import { pick } from "../../digits/data.ts";
import { seededRandom, shuffle } from "../../digits/random.ts";
import { DEFAULTS, untrained } from "../../digits/train.ts";
import { COLOUR, chart, isNarrow } from "./charts.ts";
import { test, training } from "./digits.ts";
import { announce, chosen, element, fixed, onChange, percent, reveal, show } from "./page.ts";
import type { Trainer } from "./training.worker.ts";

const plain = ARMS.find((arm) => arm.id === "plain")!;
const units = DEFAULTS.hidden[0]!;
const m = DEFAULTS.batchSize;

/** The unit shown at first: trained or not, its mean is away from 0 and its deviation from 1. */
const FIRST_UNIT = 27;

const gamma = element<HTMLInputElement>("gamma");
const beta = element<HTMLInputElement>("beta");
const unit = element<HTMLSelectElement>("unit");
unit.append(...Array.from({ length: units }, (_, c) => new Option(String(c + 1), String(c))));
unit.value = String(FIRST_UNIT);

const shuffled = Uint32Array.from({ length: training.rows }, (_, row) => row);
shuffle(shuffled, seededRandom(DEFAULTS.seed));

/** The first hidden layer's pre-activations [rows, units] for all training rows, by weights. */
const layers: { untrained: Float32Array; trained: Float32Array | null } = {
  untrained: firstLayer(),
  trained: null,
};
/** The second batch is the n-th after the first; 0: none is drawn. */
let second = 0;

function firstLayer(): Float32Array {
  return untrained(plain, DEFAULTS).hidden[0]!.dense.forward(pick(training, shuffled).pixels);
}

/** The n-th minibatch of the unit chosen. */
function minibatch(n: number): Float32Array {
  const h = layers[chosen<"untrained" | "trained">("weights")] ?? layers.untrained;
  const first = (n * m) % (training.rows - (training.rows % m));
  return Float32Array.from({ length: m }, (_, row) => h[(first + row) * units + Number(unit.value)]!);
}

const layer = new BatchNorm(1);

/** One minibatch through the layer: with gamma and beta at 1 and 0, and as they are set. */
function through(h: Float32Array) {
  const set = (g: number, b: number) => {
    layer.gamma!.data[0] = g;
    layer.beta!.data[0] = b;
  };
  set(1, 0);
  const normalized = layer.forward(h);
  layer.recoverIdentity();
  const undoing = { gamma: layer.gamma!.data[0]!, beta: layer.beta!.data[0]! };
  set(Number(gamma.value), Number(beta.value));
  return { h, normalized, y: layer.forward(h), undoing, gap: layer.identityGap().rms };
}

function meanAndDeviation(values: Float32Array): { mean: number; deviation: number } {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  return { mean, deviation: Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length) };
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));

/** The best line through the sigmoid at these points, and the share of its variance that it explains. */
function bestLine(z: Float32Array): { slope: number; intercept: number; r2: number } {
  const a = Float32Array.from(z, sigmoid);
  const [of, at] = [meanAndDeviation(a), meanAndDeviation(z)];
  let covariance = 0;
  for (let i = 0; i < z.length; i++) covariance += ((z[i]! - at.mean) * (a[i]! - of.mean)) / z.length;
  const slope = at.deviation > 0 ? covariance / at.deviation ** 2 : 0;
  const r2 = of.deviation > 0 ? (covariance / (at.deviation * of.deviation)) ** 2 : 1;
  return { slope, intercept: of.mean - slope * at.mean, r2 };
}

/** Everything that the pictures and the sentences show. */
function state() {
  const first = through(minibatch(0));
  const other = second ? through(minibatch(second)) : null;
  const all = [first, ...(other ? [other] : [])].flatMap(({ h, normalized, y }) => [
    ...h,
    ...normalized,
    ...y,
  ]);
  const reach = Math.max(3, ...all.map(Math.abs)) * 1.04;
  return { first, other, reach, fit: bestLine(first.y), normalizedFit: bestLine(first.normalized) };
}
type State = ReturnType<typeof state>;
let current: State;

const ROWS = ["H", "H′", "γH′ + β"] as const;
const BINS = 40;
/** Below a histogram of height 1: where the first batch's strip of dots begins, and a strip's height. */
const STRIP = 0.14;

/** Set as the text sets its symbols. */
const SYMBOL = { fontFamily: "KaTeX_Math, KaTeX_Main, serif", fontStyle: "italic", fontSize: 19 };

/** What is drawn of one batch in all three rows: its bars, heights in examples, and its dots. */
function rowsOf(from: State["first"], reach: number) {
  const width = (2 * reach) / BINS;
  const values = [from.h, from.normalized, from.y];
  const bars = values.flatMap((row, r) => {
    const counts = new Array<number>(BINS).fill(0);
    for (const v of row) counts[Math.min(BINS - 1, Math.floor((v + reach) / width))]!++;
    return counts.map((count, i) => ({
      row: ROWS[r],
      x1: i * width - reach,
      x2: (i + 1) * width - reach,
      count,
    }));
  });
  // Every dot has a height of its own in the strip, the same in all three rows.
  const dots = values.flatMap((row, r) =>
    Array.from(row, (x, i) => ({ row: ROWS[r], x, height: (i * 0.618034) % 1 })),
  );
  return { bars, dots, peak: Math.max(...bars.map((bar) => bar.count)) };
}

function rowMarks({ first, other, reach }: State, narrow: boolean): Markish[] {
  const batches = [
    { ...rowsOf(first, reach), colour: COLOUR.first },
    ...(other ? [{ ...rowsOf(other, reach), colour: COLOUR.second }] : []),
  ];
  const peak = Math.max(...batches.map((batch) => batch.peak));
  const labels = [first.h, first.normalized, first.y].map((values, row) => {
    const { mean, deviation } = meanAndDeviation(values);
    return { row: ROWS[row], moments: `mean ${fixed(mean, 2)}  deviation ${fixed(deviation, 2)}` };
  });
  return [
    ...batches.flatMap(({ bars, dots, colour }, n) => [
      rectY(bars, {
        ...{ x1: "x1", x2: "x2", y1: 0, y2: (d: { count: number }) => d.count / peak, fy: "row" },
        ...{
          fill: colour,
          fillOpacity: n ? 0.08 : 0.4,
          stroke: n ? colour : "none",
          insetLeft: 0.5,
          insetRight: 0.5,
        },
      }),
      dot(dots, {
        ...{ x: "x", y: (d: { height: number }) => -(n + 0.3 + 0.8 * d.height) * 2 * STRIP, fy: "row" },
        ...{ r: narrow ? 2 : 2.6, fill: colour, fillOpacity: 0.8 },
      }),
    ]),
    ruleY([0], { stroke: COLOUR.rule }),
    text(labels, { fy: "row", text: "row", frameAnchor: "top-left", ...SYMBOL }),
    text(labels, { fy: "row", text: "moments", frameAnchor: "top-right", dy: 3, fill: COLOUR.quiet }),
  ];
}

const drawRows = chart(
  element("unit-chart"),
  (width) => ({
    height: 420,
    marginLeft: 0,
    marginRight: 0,
    marginTop: 8,
    marginBottom: 28,
    x: { domain: [-current.reach, current.reach], label: null, ticks: isNarrow(width) ? 6 : 10 },
    y: { axis: null, domain: [-(current.other ? 4.4 : 2.4) * STRIP, 1.45] },
    fy: { domain: [...ROWS], axis: null, padding: 0.12 },
    marks: [
      ruleX([0], { stroke: COLOUR.rule, strokeDasharray: "2 4" }),
      ...rowMarks(current, isNarrow(width)),
    ],
  }),
  () => {
    const describe = (values: Float32Array) => {
      const { mean, deviation } = meanAndDeviation(values);
      return `mean ${fixed(mean, 2)} and standard deviation ${fixed(deviation, 2)}`;
    };
    const { first, other } = current;
    return (
      `Three dot strips with histograms on one axis. H has ${describe(first.h)}; normalized it has ` +
      `${describe(first.normalized)}; gamma H' plus beta has ${describe(first.y)}.` +
      (other ? ` A second batch lies beside it: H has ${describe(other.h)}.` : "")
    );
  },
);

const drawSigmoid = chart(
  element("sigmoid-chart"),
  (width) => {
    const { first, other, reach, fit } = current;
    const range = Math.max(5, reach);
    const curve = Array.from({ length: 121 }, (_, i) => -range + (2 * range * i) / 120);
    const ends = [Math.min(...first.y), Math.max(...first.y)];
    const dots = (values: Float32Array, fill: string) =>
      dot(values, { x: (z: number) => z, y: sigmoid, r: isNarrow(width) ? 2.4 : 3, fill, fillOpacity: 0.75 });
    return {
      height: 420,
      marginLeft: 34,
      marginRight: 4,
      marginTop: 22,
      marginBottom: 28,
      x: { domain: [-range, range], label: null, ticks: 6 },
      y: { domain: [0, 1], label: null, ticks: 5, grid: true },
      clip: true,
      marks: [
        line(curve, { x: (z: number) => z, y: sigmoid, stroke: COLOUR.quiet, strokeWidth: 2 }),
        line(ends, {
          x: (z: number) => z,
          y: (z: number) => fit.intercept + fit.slope * z,
          stroke: COLOUR.ink,
          strokeWidth: 1.5,
          strokeDasharray: "6 4",
        }),
        ...(other ? [dots(other.y, COLOUR.second)] : []),
        dots(first.y, COLOUR.first),
        text([`best line: R² = ${fixed(fit.r2, 3)}`], {
          frameAnchor: "top-left",
          dx: 8,
          dy: 6,
          fontSize: 14,
        }),
      ],
    };
  },
  () =>
    `The sigmoid with the batch's dots on it, between inputs ${fixed(Math.min(...current.first.y), 2)} and ` +
    `${fixed(Math.max(...current.first.y), 2)}, and the best line through them: R squared ${fixed(current.fit.r2, 3)}.`,
);

function update(): void {
  current = state();
  const { first, other, fit, normalizedFit } = current;
  element("gamma-value").textContent = fixed(Number(gamma.value), 2);
  element("beta-value").textContent = fixed(Number(beta.value), 2);
  show("unit-rows-count", m, String(m));
  show("undo-gamma", first.undoing.gamma, fixed(first.undoing.gamma, 2));
  show("undo-beta", first.undoing.beta, fixed(first.undoing.beta, 2));
  show("unit-gap", first.gap, fixed(first.gap, 2));
  show("unit-r2", fit.r2, percent(fit.r2));
  show("normalized-r2", normalizedFit.r2, percent(normalizedFit.r2));
  reveal("second-sentence", other !== null);
  reveal("second-key", other !== null);
  if (other) show("second-gap", other.gap, fixed(other.gap, 2));
  element("second").textContent = other ? "Draw another" : "Draw a second batch";
  drawRows();
  drawSigmoid();
}

function updateAloud(): void {
  stop();
  update();
  const { first, other, fit } = current;
  announce(
    "one-unit",
    `Output ${fixed(first.gap, 2)} standard deviations from H${other ? `, second batch ${fixed(other.gap, 2)}` : ""}; ` +
      `R squared ${fixed(fit.r2, 3)}.`,
  );
}

const DURATION = 900;
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
let moving = 0;

function stop(): void {
  cancelAnimationFrame(moving);
}

/** Moves the sliders to the undoing of the first batch: at once where motion is unwelcome. */
function undo(): void {
  stop();
  const { undoing } = current.first;
  const from = { gamma: Number(gamma.value), beta: Number(beta.value) };
  const started = performance.now();
  const frame = (time: number) => {
    const t = stillness.matches ? 1 : Math.min(1, Math.max(0, time - started) / DURATION);
    const eased = t * t * (3 - 2 * t);
    gamma.value = String(t === 1 ? undoing.gamma : from.gamma + eased * (undoing.gamma - from.gamma));
    beta.value = String(t === 1 ? undoing.beta : from.beta + eased * (undoing.beta - from.beta));
    if (t < 1) {
      update();
      moving = requestAnimationFrame(frame);
    } else updateAloud();
  };
  moving = requestAnimationFrame(frame);
}

let asked = false;

/** Trains the network without normalization, in a worker, the first time that its weights are asked for. */
async function trainedWeights(): Promise<void> {
  if (asked || chosen("weights") !== "trained") return;
  asked = true;
  const worker = new Worker(new URL("./training.worker.ts", import.meta.url), { type: "module" });
  const trainer = wrap<Trainer>(worker);
  const progress = element("weights-progress");
  progress.textContent = "training";
  progress.hidden = false;
  await trainer.start(plain.id, DEFAULTS, training, test);
  for (let epoch = 0; epoch <= DEFAULTS.epochs; epoch++) {
    progress.textContent = `training: epoch ${epoch} of ${DEFAULTS.epochs}`;
    await trainer.next();
  }
  layers.trained = await trainer.firstLayer(pick(training, shuffled).pixels);
  worker.terminate();
  progress.hidden = true;
  updateAloud();
}

for (const control of [gamma, beta, unit]) control.addEventListener("input", updateAloud);
onChange("weights", () => {
  updateAloud();
  void trainedWeights();
});
element("undo").addEventListener("click", undo);
element("second").addEventListener("click", () => {
  second++;
  updateAloud();
});
element("reset").addEventListener("click", () => {
  second = 0;
  gamma.value = "1";
  beta.value = "0";
  updateAloud();
});
update();
