// Every unit of a real network's layer in the plane of scale and shift, beside random dealing.
import { dot, type PlotOptions, ruleX, ruleY } from "@observablehq/plot";
import { type IdentityReport, identityReport, type NormLayer } from "wasm-norm/analysis";
import { deal } from "../../real-networks/deal.ts";
import { type KeptNetwork, unpack } from "../../real-networks/unpack.ts";
import { COLOUR, chart, isNarrow } from "./charts.ts";
import { layersOf } from "./checkpoint.ts";
import { announce, element, show } from "./page.ts";

const kept = (load: () => Promise<{ default: unknown }>) => async () =>
  unpack((await load()).default as KeptNetwork);

/** What results/ of examples/real-networks keeps, loaded when it is chosen. */
const NETWORKS: Record<string, () => Promise<NormLayer[]>> = {
  MobileNetV2: kept(() => import("../../real-networks/results/mobilenet_v2.layers.json")),
  "Inception v3 (no gamma)": kept(() => import("../../real-networks/results/inception_v3.layers.json")),
  "SSD MobileNetV1": kept(() => import("../../real-networks/results/ssd_mobilenetv1.layers.json")),
  "Text direction": kept(() => import("../../real-networks/results/ocr_direction.layers.json")),
};

const OWN = "your own";
/** Milliseconds that a layer stays while the network is played through. */
const PACE = 700;

const network = element<HTMLSelectElement>("network");
network.append(...Object.keys(NETWORKS).map((name) => new Option(name)));
const layer = element<HTMLInputElement>("layer");
const play = element<HTMLButtonElement>("play");
const checkpoint = element<HTMLInputElement>("checkpoint");

let report: IdentityReport | null = null;
let dealt: IdentityReport | null = null;
let timer = 0;
/** Counts what was asked for: only the last is shown. */
let asked = 0;

async function use(name: string, load: () => Promise<NormLayer[]>): Promise<void> {
  const mine = ++asked;
  stop();
  try {
    const layers = await load();
    if (mine !== asked) return;
    report = identityReport(layers);
    dealt = identityReport(deal(layers, 1), { deals: 1 });
    layer.max = String(layers.length - 1);
    layer.value = String(Math.floor(layers.length / 2));
    element("real-limits").textContent = report.all.atLowest
      ? `${report.all.atLowest} units are left out: in 8 bits their variance is too small to be measured.`
      : "";
    update();
    announce(
      "real",
      `${name}: ${report.all.within} of ${report.all.measured} units within 0.1 of the undoing.`,
    );
  } catch (error) {
    if (mine !== asked) return;
    element("real-limits").textContent = error instanceof Error ? error.message : String(error);
  }
}

const plane =
  (from: () => IdentityReport | null) =>
  (width: number): PlotOptions => {
    const one = from()?.layers[Number(layer.value)];
    const points = one ? Array.from(one.scale, (scale, i) => [scale, one.shift[i]!] as const) : [];
    // What lies further out stands at the edge.
    const shown = points
      .filter((_, i) => one!.counted[i])
      .map(([scale, shift]) => [Math.max(-1, Math.min(5, scale)), Math.max(-4, Math.min(4, shift))] as const);
    return {
      height: 340,
      marginLeft: 40,
      marginTop: 24,
      marginBottom: 40,
      x: { domain: [-1, 5], label: "γ / σ →", grid: true, ticks: isNarrow(width) ? 4 : 7 },
      y: { domain: [-4, 4], label: "↑ (β − mean) / σ", grid: true, ticks: 7 },
      marks: [
        ruleX([1], { stroke: COLOUR.rule }),
        ruleY([0], { stroke: COLOUR.rule }),
        dot(shown, { r: isNarrow(width) ? 2 : 2.6, fill: COLOUR.first, fillOpacity: 0.55 }),
        dot([[1, 0]], { r: 9, stroke: COLOUR.ink, strokeWidth: 2 }),
      ],
    };
  };

const words = (what: string) => () => {
  const one = report?.layers[Number(layer.value)];
  return one ? `${what}: the units of ${one.name}; the undoing is the point 1, 0.` : what;
};
const draw = [
  chart(
    element("trained-chart"),
    plane(() => report),
    words("As trained"),
  ),
  chart(
    element("dealt-chart"),
    plane(() => dealt),
    words("Dealt at random"),
  ),
];

function update(): void {
  const one = report?.layers[Number(layer.value)];
  if (!one) return;
  const at = `${Number(layer.value) + 1} of ${report!.layers.length}`;
  element("layer-name").textContent = `${at}: ${one.name} (${one.kind})`;
  layer.setAttribute("aria-valuetext", `${at}, ${one.name}`);
  const { all } = report!;
  show("real-units", one.measured, String(one.measured));
  show("real-within", one.within, String(one.within));
  show("real-dealt", one.dealt.mean, one.dealt.mean.toFixed(1));
  show("real-all", all.within, String(all.within));
  show("real-all-units", all.measured, all.measured.toLocaleString("en"));
  show(
    "real-all-dealt",
    all.dealt.mean,
    `${all.dealt.mean.toFixed(0)} (${all.dealt.low.toFixed(0)} to ${all.dealt.high.toFixed(0)})`,
  );
  for (const redraw of draw) redraw();
}

function stop(): void {
  clearInterval(timer);
  timer = 0;
  play.textContent = "Play";
}

play.addEventListener("click", () => {
  if (timer) return stop();
  if (layer.value === layer.max) layer.value = "0";
  play.textContent = "Pause";
  timer = window.setInterval(() => {
    layer.stepUp();
    update();
    if (layer.value === layer.max) stop();
  }, PACE);
});
layer.addEventListener("input", () => {
  stop();
  update();
});
const choose = () => void use(network.value, NETWORKS[network.value] ?? NETWORKS.MobileNetV2!);
network.addEventListener("input", choose);

function own(files: readonly File[]): void {
  if (files.length === 0) return;
  if (![...network.options].some(({ value }) => value === OWN)) network.append(new Option(OWN));
  network.value = OWN;
  NETWORKS[OWN] = () => layersOf(files);
  void use(files[0]!.name, NETWORKS[OWN]);
}
checkpoint.addEventListener("input", () => own([...(checkpoint.files ?? [])]));
const drop = element("real-drop");
drop.addEventListener("dragover", (event) => event.preventDefault());
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  own([...(event.dataTransfer?.files ?? [])]);
});
choose();
