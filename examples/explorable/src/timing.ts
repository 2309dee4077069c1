// The passes timed in this browser.
import { rectX, text } from "@observablehq/plot";
import { wrap } from "comlink";
import { COLOUR, chart } from "./charts.ts";
import { pause as pauseLaboratory } from "./lab.ts";
import { announce, element, fillTable, fixed, onChange, reveal, show } from "./page.ts";
import type { Contender, Pass, Timer, Timing } from "./timing.worker.ts";
import { pause } from "./training.ts";

const SHAPES = [
  [64, 64],
  [256, 256],
  [1024, 256],
  [1024, 1024],
  [4096, 1024],
] as const;
const CHOSEN = 3;

const shape = element<HTMLSelectElement>("shape");
shape.append(...SHAPES.map(([rows, units], i) => new Option(`${rows} × ${units}`, String(i))));
shape.value = String(CHOSEN);

const BAR_HEIGHT = 50;
const ROWS = 5;

let timings: Timing[] = [];
let variant = "";

const gigabytes = ({ bytes, seconds }: Timing) => bytes / seconds / 1e9;
const seconds = (pass: Pass, contender: Contender) =>
  timings.find((timing) => timing.pass === pass && timing.contender === contender)!.seconds;
const ratio = (pass: Pass) => seconds(pass, "plain loops") / seconds(pass, "wasm-norm");

const NAMES: Record<Contender, () => string> = {
  "wasm-norm": () => `wasm-norm (${variant})`,
  "plain loops": () => "plain JavaScript loops",
  copy: () => "copy of the minibatch",
};
const FILLS: Record<Contender, string> = {
  "wasm-norm": COLOUR.first,
  "plain loops": COLOUR.quiet,
  copy: COLOUR.rule,
};

function duration(value: number): string {
  return value < 1e-3 ? `${(value * 1e6).toPrecision(3)} µs` : `${(value * 1e3).toPrecision(3)} ms`;
}

const drawTimings = chart(
  element("timing-chart"),
  () => {
    const most = Math.max(1, ...timings.map(gigabytes));
    const rows = timings.map((timing) => `${timing.pass} ${timing.contender}`);
    const row = ({ pass, contender }: Timing) => `${pass} ${contender}`;
    const figures = (timing: Timing) => `${fixed(gigabytes(timing), 1)} GB/s, ${duration(timing.seconds)}`;
    const inside = (timing: Timing) => gigabytes(timing) > most / 2;
    const atEnd = (which: boolean) =>
      text(
        timings.filter((timing) => inside(timing) === which),
        {
          ...{ x: gigabytes, y: 0.28, fy: row, text: figures, fontWeight: 560 },
          ...{ textAnchor: which ? "end" : "start", dx: which ? -8 : 8 },
          fill: ({ contender }: Timing) => (which && contender !== "copy" ? "var(--on-colour)" : COLOUR.ink),
        },
      );
    return {
      height: BAR_HEIGHT * ROWS + 30,
      marginLeft: 0,
      marginRight: 0,
      marginTop: 0,
      marginBottom: 30,
      x: { domain: [0, most], label: null, ticks: 6 },
      y: { axis: null, domain: [0, 1] },
      fy: { domain: rows, axis: null, padding: 0 },
      marks: [
        rectX(timings, {
          ...{ x1: 0, x2: gigabytes, y1: 0.06, y2: 0.5, fy: row },
          fill: ({ contender }: Timing) => FILLS[contender],
        }),
        // Above each bar what it is, so that the bars have all of the width.
        text(timings, {
          ...{ fy: row, text: (timing: Timing) => `${timing.pass}: ${NAMES[timing.contender]()}` },
          ...{ frameAnchor: "top-left", dy: 6 },
        }),
        atEnd(true),
        atEnd(false),
      ],
    };
  },
  () =>
    timings.length
      ? `Bars: ${timings.map((t) => `${t.pass}, ${NAMES[t.contender]()}: ${fixed(gigabytes(t), 1)} gigabytes a second`).join("; ")}.`
      : "Bars that appear once the passes have been timed.",
);

let worker: Worker | null = null;

/** Measures the chosen shape, in place of any measurement under way: a worker of its own gives its memory back. */
async function measure(): Promise<void> {
  pause();
  pauseLaboratory();
  worker?.terminate();
  element("timing-progress").textContent = "measuring…";
  worker = new Worker(new URL("./timing.worker.ts", import.meta.url), { type: "module" });
  const timer = wrap<Timer>(worker);
  const [rows, units] = SHAPES[Number(shape.value)]!;
  variant = await timer.variant();
  timings = await timer.measure(rows, units);
  worker.terminate();
  element("timing-progress").textContent = "";
  update();
}

function update(): void {
  element("variant").textContent = variant;
  show("forward-ratio", ratio("forward"), ratio("forward").toPrecision(2));
  show("backward-ratio", ratio("backward"), ratio("backward").toPrecision(2));
  reveal("timing-sentence", true);
  fillTable(
    "timing-table",
    timings.map((t) => [`${t.pass}, ${NAMES[t.contender]()}`, duration(t.seconds), fixed(gigabytes(t), 2)]),
  );
  drawTimings();
  announce(
    "timing",
    `Measured: ${ratio("forward").toPrecision(2)} times as fast as plain loops forward, ` +
      `${ratio("backward").toPrecision(2)} times backward.`,
  );
}

element("measure").addEventListener("click", () => void measure());
onChange("shape", () => void measure());
// Measured the first time that the chart comes into view: until then the machine is the other parts'.
new IntersectionObserver((entries, observer) => {
  if (!entries.some((entry) => entry.isIntersecting)) return;
  observer.disconnect();
  void measure();
}).observe(element("timing-chart"));
drawTimings();
