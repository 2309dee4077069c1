// Part 3: how much of a gradient gets through the layer, in training and in evaluation.
import { barY, ruleY, text, tickY } from "@observablehq/plot";
import { BatchNorm } from "wasm-norm";
import { ARMS } from "../../digits/arms.ts";
import { pick } from "../../digits/data.ts";
import { softmaxCrossEntropy } from "../../digits/network.ts";
import { seededRandom, shuffle } from "../../digits/random.ts";
import { DEFAULTS, untrained } from "../../digits/train.ts";
import { COLOUR, chart, isNarrow } from "./charts.ts";
import { training } from "./digits.ts";
import { announce, chosen, element, fillTable, fixed, onChange, percent, show } from "./page.ts";

const SIZES = [2, 4, 8, 16, 32, 64, 128, 256];
const EXAMPLE = 8;
const units = DEFAULTS.hidden.at(-1)!;
const order = Uint32Array.from({ length: training.rows }, (_, row) => row);
shuffle(order, seededRandom(DEFAULTS.seed));

type At = "standard" | "undone";
type Kind = "random" | "digits";

/**
 * The last hidden layer's pre-activations for m digits, and a gradient for the normalization's output. The last one:
 * no normalization above it has taken its part of the gradient.
 */
function inputs(m: number, kind: Kind): { h: Float32Array; dy: Float32Array } {
  const network = untrained(ARMS.find(({ id }) => id === "learned")!, DEFAULTS);
  const digits = pick(training, order.subarray(0, m));
  network.backward(softmaxCrossEntropy(network.forward(digits.pixels), digits.labels).dlogits);
  const { h, dy } = network.hidden.at(-1)!;
  network.dispose();
  const random = seededRandom(m);
  // The sum of four uniform numbers is as good as normal here: only its independence matters.
  const noise = () => random() + random() + random() + random() - 2;
  return { h, dy: kind === "digits" ? dy : Float32Array.from(h, noise) };
}

const inputsOf = {
  random: SIZES.map((m) => inputs(m, "random")),
  digits: SIZES.map((m) => inputs(m, "digits")),
};
const allRows = inputs(training.rows, "digits").h;

/** Shares of the energy of one gradient, and what backward made of it. */
interface Split {
  m: number;
  mean: number;
  xhat: number;
  rest: number;
  /** The energy of dx over that of dy, each unit's gain gamma / sigma taken out: `rest`, found the other way. */
  measured: number;
  /** How far output and input are apart, in standard deviations. */
  gap: number;
}

/** A fresh layer takes each minibatch forward and its gradient backward; evaluation knows all training rows. */
function splits(kind: Kind, at: At, mode: "training" | "evaluation"): Split[] {
  const statistics = mode === "training" ? "batch" : "running";
  return SIZES.map((m, i) => {
    const { h, dy } = inputsOf[kind][i]!;
    const layer = new BatchNorm(units, { momentum: null });
    layer.forward(mode === "training" ? h : allRows);
    if (at === "undone") layer.recoverIdentity(statistics);
    if (mode === "evaluation") layer.eval();
    layer.forward(h);
    const { mean, xhat, rest } = layer.decomposeGradient(dy).total;
    const { scale: gain, rms: gap } = layer.identityGap(statistics);
    const dx = layer.backward(dy);
    layer.dispose();
    const arrived = energy(dx, gain);
    return { m, mean, xhat, rest, measured: arrived / energy(dy), gap };
  });
}

function energy(d: Float32Array, gain?: Float32Array): number {
  return d.reduce((sum, value, i) => sum + (value / (gain ? gain[i % units]! : 1)) ** 2, 0);
}

function state() {
  const [kind, at] = [chosen<Kind>("dy"), chosen<At>("at")];
  const training = splits(kind, at, "training");
  const other = splits(kind, at === "undone" ? "standard" : "undone", "training");
  const change = Math.max(...training.map((split, i) => Math.abs(split.rest - other[i]!.rest)));
  return { training, evaluation: splits(kind, at, "evaluation"), change };
}
let current = state();

const PARTS = [
  { part: "rest", colour: COLOUR.rest },
  { part: "xhat", colour: COLOUR.xhat },
  { part: "mean", colour: COLOUR.mean },
] as const;

function splitChart(id: string, of: () => Split[]): () => void {
  return chart(
    element(id),
    (width) => ({
      height: 300,
      marginBottom: 40,
      x: {
        type: "band",
        domain: SIZES,
        label: "batch size →",
        labelAnchor: "right",
        padding: isNarrow(width) ? 0.08 : 0.18,
      },
      y: {
        domain: [0, 1],
        label: null,
        ticks: 5,
        tickFormat: (v: number) => percent(v, 0),
        grid: true,
      },
      color: { type: "identity" },
      marks: [
        barY(
          of().flatMap((split) =>
            PARTS.map(({ part, colour }) => ({ m: split.m, share: split[part], colour })),
          ),
          { x: "m", y: "share", fill: "colour" },
        ),
        tickY(of(), {
          x: "m",
          y: "measured",
          stroke: COLOUR.ink,
          strokeWidth: 2.5,
          insetLeft: -3,
          insetRight: -3,
        }),
        text(
          of().filter(({ rest }) => rest > 0.12),
          {
            ...{
              x: "m",
              y: (split: Split) => split.rest / 2,
              text: (split: Split) => `${Math.round(100 * split.rest)}`,
            },
            ...{ fill: "var(--on-colour)", fontWeight: 600, fontSize: isNarrow(width) ? 12 : 13 },
          },
        ),
        ruleY([0], { stroke: COLOUR.quiet }),
      ],
    }),
    () =>
      `Stacked bars, a bar for each batch size: ${of()
        .map(
          ({ m, mean, xhat, rest }) =>
            `${m}: mean ${percent(mean)}, H' ${percent(xhat)}, rest ${percent(rest)}`,
        )
        .join("; ")}.`,
  );
}

const drawTraining = splitChart("training-split", () => current.training);
const drawEvaluation = splitChart("evaluation-split", () => current.evaluation);

function update(): void {
  current = state();
  const { training, evaluation, change } = current;
  const example = training.find(({ m }) => m === EXAMPLE)!;
  show("forward-gap", example.gap, fixed(example.gap, 2));
  show("stopped-8", example.mean + example.xhat, percent(example.mean + example.xhat));
  show("split-change", change, percent(change));
  const passes = Math.min(...evaluation.map(({ rest }) => rest));
  show("passes", passes, percent(passes));
  fillTable(
    "split-table",
    training.map(({ m, mean, xhat, rest, measured }, i) => [
      String(m),
      ...[mean, xhat, rest, measured, evaluation[i]!.rest].map((share) => fixed(100 * share, 2)),
    ]),
  );
  drawTraining();
  drawEvaluation();
}

for (const name of ["dy", "at"]) {
  onChange(name, () => {
    update();
    const { mean, xhat, gap } = current.training.find(({ m }) => m === EXAMPLE)!;
    announce(
      "gradient",
      `At batch size ${EXAMPLE} ${percent(mean + xhat)} of the gradient's energy stops; output and input are ` +
        `${fixed(gap, 2)} standard deviations apart.`,
    );
  });
}
update();
