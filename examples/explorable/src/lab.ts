// The laboratory: two settings train side by side, each in a worker of its own.
import { type Remote, wrap } from "comlink";
import { DEFAULTS } from "../../digits/train.ts";
import { COLOUR } from "./charts.ts";
import { test, training } from "./digits.ts";
import type { Laboratory } from "./lab.worker.ts";
import { drawingsOf, EPOCHS, figure, last, type Run, short, summary } from "./lab-charts.ts";
import type { Shares } from "./lab-measures.ts";
import { GHOST, GROUPS, NORMALIZATIONS } from "./lab-norms.ts";
import {
  BATCHES,
  queryOf,
  RATES,
  RUNS,
  type RunId,
  type Setting,
  STARTS,
  settingsFrom,
} from "./lab-settings.ts";
import type { Standing } from "./lab-train.ts";
import { announce, element, fillTable, fixed, onChange, percent, show } from "./page.ts";

const settings = settingsFrom(location.search);
const run = (id: RunId, colour: string): Run => ({
  ...{ id, colour, setting: settings[id] },
  standings: [],
});
const runs: readonly Run[] = [run("a", COLOUR.first), run("b", COLOUR.second)];
const drawings = drawingsOf(runs);
const workers = new Map<RunId, Remote<Laboratory>>();
let running = false;
/** Counts the trainings begun: only the last one goes on. */
let asked = 0;
/** The workers' answers come one by one. */
let answered: Promise<unknown> = Promise.resolve();

/** Epochs that both have come to; -1 before the first measurement. */
const reached = () => Math.min(...runs.map(({ standings }) => standings.length - 1));
const finished = () => reached() === EPOCHS;

const select = (id: RunId, name: string) => element<HTMLSelectElement>(`lab-${id}-${name}`);
for (const { id, setting } of runs) {
  const fill = (
    name: string,
    options: readonly (readonly [value: string, label: string])[],
    value: unknown,
  ) => {
    select(id, name).append(...options.map(([key, label]) => new Option(label, key)));
    select(id, name).value = String(value);
  };
  const numbers = (values: readonly number[]) =>
    values.map((value) => [String(value), String(value)] as const);
  fill("normalization", Object.entries(NORMALIZATIONS), setting.normalization);
  fill("batch", numbers(BATCHES), setting.batchSize);
  fill("rate", numbers(RATES), setting.rate);
  fill("start", Object.entries(STARTS), setting.start);
}

/** What the controls say now becomes the runs' settings, and the address keeps them. */
function readControls(): void {
  for (const one of runs) {
    one.setting = {
      normalization: select(one.id, "normalization").value as Setting["normalization"],
      batchSize: Number(select(one.id, "batch").value),
      rate: Number(select(one.id, "rate").value),
      start: select(one.id, "start").value as Setting["start"],
    };
  }
  const [a, b] = runs.map(({ setting }) => setting) as [Setting, Setting];
  history.replaceState(history.state, "", `${queryOf({ a, b }, location.search)}#lab`);
}

/** Without normalization there is no gamma and beta to start. */
function dim(): void {
  for (const { id, setting } of runs) select(id, "start").disabled = setting.normalization === "none";
}

/** Both runs anew, at epoch 0. */
async function restart(): Promise<void> {
  const mine = ++asked;
  dim();
  for (const one of runs) one.standings = [];
  update();
  await answered;
  if (mine !== asked) return;
  answered = Promise.all(
    runs.map((one) => {
      const worker =
        workers.get(one.id) ??
        wrap<Laboratory>(new Worker(new URL("./lab.worker.ts", import.meta.url), { type: "module" }));
      workers.set(one.id, worker);
      return worker.start(one.setting, training, test);
    }),
  );
  await answered;
  await advance(mine);
  if (running) void train(mine);
}

/** Both one epoch further, the first time to epoch 0. */
async function advance(mine: number): Promise<void> {
  if (mine !== asked) return;
  const both = Promise.all(runs.map(({ id }) => workers.get(id)!.next()));
  answered = both;
  const came = await both;
  if (mine !== asked) return;
  runs.forEach(({ standings }, i) => {
    if (came[i]) standings.push(came[i]);
  });
  if (finished()) setRunning(false);
  update();
}

let loop = 0;

/** Epoch after epoch, one in a frame: a hidden page does not train. */
async function train(mine: number): Promise<void> {
  const own = ++loop;
  while (running && mine === asked && own === loop && !finished()) {
    await answered;
    if (!running || own !== loop) return;
    await advance(mine);
    await new Promise(requestAnimationFrame);
  }
}

function setRunning(now: boolean): void {
  running = now;
  setLabel();
  if (!now && reached() > 0) announce("lab", runs.map(summary).join(" "));
}

const stillness = matchMedia("(prefers-reduced-motion: reduce)");

function update(): void {
  setLabel();
  const epoch = Math.max(0, reached());
  element("lab-progress").textContent = reached() < 0 ? "measuring…" : `epoch ${epoch} of ${EPOCHS}`;
  show("lab-epochs", epoch, String(epoch));
  for (const one of runs) {
    const accuracy = last(one)?.accuracy;
    show(`lab-${one.id}-accuracy`, accuracy ?? Number.NaN, accuracy === undefined ? "…" : percent(accuracy));
  }
  fillTable("lab-table", table());
  // Where motion is unwelcome the curves are drawn once they stand still.
  if (running && stillness.matches && epoch > 0) return;
  for (const draw of drawings) draw();
}

function setLabel(): void {
  const label = finished() ? "Run again" : reached() > 0 ? "Resume" : "Start";
  element("lab-run").textContent = running ? "Pause" : label;
}

/** Stops training for the time being. */
export function pause(): void {
  if (!running) return;
  setRunning(false);
  update();
}

function table(): string[][] {
  const row = (name: string, of: (standing: Standing) => string) => [
    name,
    ...runs.map((one) => {
      const at = last(one);
      return at ? of(at) : "…";
    }),
  ];
  const share = (part: keyof Shares) => (at: Standing) => (at.shares ? percent(at.shares[part]) : "–");
  return [
    row("Epoch", ({ epoch }) => String(epoch)),
    row("Loss", ({ loss }) => figure(loss, short)),
    row("Test digits right", ({ accuracy }) => percent(accuracy)),
    row("Distance", ({ gap }) => (gap === null ? "–" : figure(gap, (value) => fixed(value, 3)))),
    row("Gradient along the mean", share("mean")),
    row("Gradient along H′", share("xhat")),
    row("The rest", share("rest")),
  ];
}

element("lab-run").addEventListener("click", () => {
  const again = finished();
  setRunning(!running);
  if (again) void restart();
  else if (!running) update();
  else if (asked === 0) void restart();
  // While the start is measured, restart goes on to train.
  else if (reached() >= 0) void train(asked);
});
element("lab-restart").addEventListener("click", () => void restart());
for (const id of RUNS) {
  onChange(`lab-${id}`, () => {
    readControls();
    void restart();
  });
}

show("lab-ghost", GHOST, String(GHOST));
show("lab-group", DEFAULTS.hidden[0]! / GROUPS, String(DEFAULTS.hidden[0]! / GROUPS));
dim();
for (const draw of drawings) draw();
// Measured once it is near: until then the machine is the other parts'.
new IntersectionObserver(
  (entries, observer) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    observer.disconnect();
    void restart();
  },
  { rootMargin: "50%" },
).observe(element("lab"));
