// Part 2: the digits network trains in a worker; every unit's gamma and beta against where they undo.
import { dot, line, link, type Markish, ruleX, ruleY, text } from "@observablehq/plot";
import { type Remote, wrap } from "comlink";
import { ARMS, type Arm } from "../../digits/arms.ts";
import { DEFAULTS, type Epoch } from "../../digits/train.ts";
import { COLOUR, chart, isNarrow } from "./charts.ts";
import { test, training } from "./digits.ts";
import { announce, chosen, element, fixed, onChange, percent, reveal, show } from "./page.ts";
import type { Trainer } from "./training.worker.ts";

const RATES = [0.003, 0.01, 0.03, 0.1, 0.3, 1];
const BATCHES = [8, 16, 32, 64, 128, 256];

/** One arm's training as far as it has come. */
interface Run {
  arm: Arm;
  learningRate: number;
  batchSize: number;
  /** Loss of each minibatch, at its place in epochs. */
  steps: { epoch: number; loss: number }[];
  epochs: Epoch[];
}

/** The last run of each arm; the chosen arm's is the one that trains. */
const runs = new Map<Arm["id"], Run>();
let run: Run;
let running = false;
let trainer: Remote<Trainer> | null = null;
/** Counts the loops of training: only the last one goes on. */
let loop = 0;

const arms = element("arms");
for (const { id, title } of ARMS) {
  const label = document.createElement("label");
  label.innerHTML = `<input type="radio" name="arm" value="${id}"${id === "learned" ? " checked" : ""} />
    <i class="swatch" style="--swatch: var(--arm-${id})"></i>${title}`;
  arms.append(label);
}
const rate = element<HTMLSelectElement>("rate");
rate.append(...RATES.map((value) => new Option(String(value))));
const batch = element<HTMLSelectElement>("batch");
batch.append(...BATCHES.map((value) => new Option(String(value))));
batch.value = String(DEFAULTS.batchSize);

const colour = (arm: Arm) => `var(--arm-${arm.id})`;
const last = ({ epochs }: Run) => epochs.at(-1);
const finished = (one: Run) => last(one)?.epoch === DEFAULTS.epochs;

/** Shows the chosen arm: the run it had, if that came to its end, or a new one. */
function changeArm(): void {
  const arm = ARMS.find(({ id }) => id === chosen<Arm["id"]>("arm"))!;
  const kept = runs.get(arm.id);
  rate.value = String(arm.learningRate);
  if (!kept || !finished(kept)) return void restart();
  run = kept;
  rate.value = String(run.learningRate);
  batch.value = String(run.batchSize);
  setRunning(false);
  update();
}

/** A new run of the chosen arm, at epoch 0. */
async function restart(): Promise<void> {
  loop++;
  const arm = ARMS.find(({ id }) => id === chosen<Arm["id"]>("arm"))!;
  run = { arm, learningRate: Number(rate.value), batchSize: Number(batch.value), steps: [], epochs: [] };
  runs.set(arm.id, run);
  const mine = run;
  trainer ??= wrap<Trainer>(new Worker(new URL("./training.worker.ts", import.meta.url), { type: "module" }));
  const { learningRate, batchSize } = run;
  await trainer.start(arm.id, { ...DEFAULTS, learningRate, batchSize }, training, test);
  if (mine === run) await advance();
  if (mine === run && running) void train();
}

/** Trains one epoch further (at first: to epoch 0), and shows it. */
async function advance(): Promise<void> {
  const mine = run;
  const came = await trainer!.next();
  if (!came || mine !== run) return;
  const { losses, epoch } = came;
  losses.forEach((loss, i) => {
    run.steps.push({ epoch: epoch.epoch - 1 + (i + 1) / losses.length, loss });
  });
  run.epochs.push(epoch);
  if (finished(run)) setRunning(false);
  update();
}

/** Epoch after epoch, one in a frame: units are seen to move, and a hidden page does not train. */
async function train(): Promise<void> {
  const mine = ++loop;
  while (running && mine === loop && !finished(run)) {
    await advance();
    await new Promise(requestAnimationFrame);
  }
}

function setRunning(now: boolean): void {
  running = now;
  const begun = last(run)?.epoch;
  element("run").textContent = now ? "Pause" : finished(run) ? "Run again" : begun ? "Resume" : "Start";
  if (!now && begun) announce("training", summary());
}

/** Stops training for the time being. */
export function pause(): void {
  if (running) setRunning(false);
}

function summary(): string {
  const { epoch, loss, testAccuracy, gap } = last(run)!;
  return (
    `${run.arm.title}, epoch ${epoch} of ${DEFAULTS.epochs}: loss ${short(loss)}` +
    (Number.isNaN(testAccuracy) ? "" : `, ${percent(testAccuracy)} of the test digits right`) +
    (gap ? `, ${fixed(gap.rms, 2)} from the undoing` : "") +
    "."
  );
}

/** The runs to draw: begun, and of one objective. The control's loss beside the others' would mean nothing. */
const comparable = () =>
  [...runs.values()].filter(
    (one) => one === run || (one.arm.objective === run.arm.objective && one.epochs.length > 1),
  );
const epochAxis = { domain: [0, DEFAULTS.epochs], label: "epoch →", ticks: 6 };

const drawLoss = chart(
  element("loss-chart"),
  () => ({
    height: 200,
    x: epochAxis,
    y: { type: "log", label: null, ticks: powersOfTen(), tickFormat: short, grid: true },
    marks: [
      line(run.steps, {
        x: "epoch",
        y: "loss",
        stroke: colour(run.arm),
        strokeOpacity: 0.35,
        strokeWidth: 1,
      }),
      ...curves((epoch) => epoch.loss),
    ],
  }),
  () => `Loss over the epochs, on a logarithmic scale. ${last(run) ? summary() : ""}`,
);

/** Three digits, and no row of zeros. */
const short = (value: number): string =>
  value < 1e-3
    ? value.toExponential(value === 10 ** Math.round(Math.log10(value)) ? 0 : 2)
    : String(+value.toPrecision(3));

/** Those that the losses drawn span. */
function powersOfTen(): number[] {
  const losses = comparable()
    .flatMap(({ epochs }) => epochs.map(({ loss }) => loss))
    .filter((loss) => loss > 0);
  const low = Math.ceil(Math.log10(Math.min(...losses)));
  const high = Math.floor(Math.log10(Math.max(...losses)));
  return Array.from({ length: Math.max(0, high - low + 1) }, (_, i) => 10 ** (low + i));
}

const drawAccuracy = chart(
  element("accuracy-chart"),
  () => {
    const digits = run.arm.objective === "digits";
    return {
      height: 200,
      x: epochAxis,
      y: digits
        ? {
            domain: [0, 1],
            tickFormat: (v: number) => percent(v, 0),
            label: null,
            ticks: 5,
            grid: true,
          }
        : { zero: true, label: null, ticks: 5, grid: true },
      marks: curves((epoch) => (digits ? epoch.testAccuracy : (epoch.gap?.rms ?? Number.NaN))),
    };
  },
  () => `${element("accuracy-title").textContent}. ${last(run) ? summary() : ""}`,
);

/** A curve for each arm trained so far, the chosen one's heavier. */
function curves(value: (epoch: Epoch) => number): Markish[] {
  return comparable().flatMap(({ arm, epochs }) => {
    const mine = arm === run.arm;
    const points = epochs.map((epoch) => [epoch.epoch, value(epoch)] as const);
    return [
      line(points, { stroke: colour(arm), strokeWidth: mine ? 2.5 : 1.5, strokeOpacity: mine ? 1 : 0.7 }),
      dot(points.slice(-1), { fill: colour(arm), r: mine ? 4 : 2.5 }),
    ];
  });
}

const SYMBOLS = ["circle", "triangle", "square"] as const;

const drawScatter = chart(
  element("scatter-chart"),
  (width) => {
    const points = scatter();
    const now = points.map((p) => [p.scale, p.shift] as const);
    const began = points.map((p) => [p.fromScale, p.fromShift] as const);
    const all = [...now, ...began, [0, -1] as const, [2, 1] as const];
    const undone = [{ x: 1, y: 0 }];
    return {
      height: 440,
      marginLeft: 40,
      marginRight: 10,
      marginTop: 24,
      marginBottom: 40,
      x: {
        domain: extent(all.map(([x]) => x)),
        label: "γ / σ →",
        labelAnchor: "right",
        grid: true,
        ticks: isNarrow(width) ? 5 : 8,
      },
      y: { domain: extent(all.map(([, y]) => y)), label: "↑ (β − mean) / σ", grid: true, ticks: 8 },
      marks: [
        ruleX([1], { stroke: COLOUR.rule }),
        ruleY([0], { stroke: COLOUR.rule }),
        link(points, {
          ...{ x1: "fromScale", y1: "fromShift", x2: "scale", y2: "shift" },
          ...{ stroke: colour(run.arm), strokeOpacity: 0.16 },
        }),
        dot(points, {
          ...{ x: "scale", y: "shift", symbol: (p: { layer: number }) => SYMBOLS[p.layer % SYMBOLS.length]! },
          ...{ r: isNarrow(width) ? 2.6 : 3.2, fill: colour(run.arm), fillOpacity: 0.75 },
        }),
        dot(undone, { x: "x", y: "y", r: 9, stroke: COLOUR.ink, strokeWidth: 2 }),
        text(undone, {
          ...{ x: "x", y: "y", text: () => "undone", dx: -14, textAnchor: "end", fontWeight: 600 },
          ...{ fill: COLOUR.ink, stroke: COLOUR.paper, strokeWidth: 5 },
        }),
        ...(points.length ? [] : [text(["no γ, no β"], { frameAnchor: "middle", fill: COLOUR.quiet })]),
      ],
    };
  },
  () =>
    `Every hidden unit: gamma over sigma against beta minus mean over sigma. The undoing is the point 1, 0. ${last(run) ? summary() : ""}`,
);

/** Every unit: where it stands and where its run began. */
function scatter() {
  const from = run.epochs[0]?.gap?.layers ?? [];
  const now = last(run)?.gap?.layers ?? [];
  return now.flatMap(({ scale, shift }, layer) =>
    Array.from(scale, (_, c) => ({
      layer,
      scale: scale[c]!,
      shift: shift[c]!,
      fromScale: from[layer]!.scale[c]!,
      fromShift: from[layer]!.shift[c]!,
    })).filter(({ scale, shift }) => Number.isFinite(scale) && Number.isFinite(shift)),
  );
}

/** Their extent with a margin. */
function extent(values: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const margin = 0.06 * (high - low);
  return [low - margin, high + margin];
}

/** What an arm is, in words. */
function words({ normalized, learns, start, objective }: Arm): string {
  if (!normalized) return "No normalization; the weights learn to name the digits.";
  const from = start === "undone" ? "at the undoing" : "at 1 and 0";
  if (!learns.gammaBeta) return `Normalized; γ and β stay ${from}, the weights learn to name the digits.`;
  return objective === "digits"
    ? `γ and β start ${from} and learn to name the digits together with the weights.`
    : `γ and β start ${from} and learn to give each layer back its own input; the weights stay.`;
}

function update(): void {
  const at = last(run);
  if (!at) return;
  const digits = run.arm.objective === "digits";
  element("arm-words").textContent = words(run.arm);
  element("loss-title").textContent = digits ? "Loss (cross-entropy)" : "Loss (output minus input, squared)";
  element("accuracy-title").textContent = digits ? "Test digits right" : "Distance from the undoing";
  element("epoch").textContent =
    `epoch ${at.epoch} of ${DEFAULTS.epochs}` +
    (digits ? `, test digits right: ${percent(at.testAccuracy)}` : `, loss ${short(at.loss)}`);
  reveal("gap-sentence", at.gap !== null);
  reveal("no-gap-sentence", at.gap === null);
  reveal("to-control", digits);
  if (at.gap) {
    show("epochs-done", at.epoch, String(at.epoch));
    const units = at.gap.layers.reduce((sum, { scale }) => sum + scale.length, 0);
    show("unit-count", units, String(units));
    show("gap", at.gap.rms, fixed(at.gap.rms, 2));
    show("gap-unmoved", at.gap.rmsUnmoved, fixed(at.gap.rmsUnmoved, 2));
  }
  setRunning(running);
  drawLoss();
  drawAccuracy();
  drawScatter();
}

element("run").addEventListener("click", () => {
  const again = finished(run);
  setRunning(!running);
  void (again ? restart() : train());
});
element("restart").addEventListener("click", () => void restart());
onChange("arm", changeArm);
for (const name of ["rate", "batch"]) onChange(name, () => void restart());
changeArm();
