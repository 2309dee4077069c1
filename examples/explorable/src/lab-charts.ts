// What the laboratory draws of its two runs, and says of them.
import { areaY, dot, line, type Markish, type PlotOptions, ruleY, text } from "@observablehq/plot";
import { DEFAULTS } from "../../digits/train.ts";
import { COLOUR, chart } from "./charts.ts";
import type { Shares } from "./lab-measures.ts";
import { NORMALIZATIONS } from "./lab-norms.ts";
import { type RunId, type Setting, STARTS } from "./lab-settings.ts";
import type { Standing } from "./lab-train.ts";
import { element, fixed, percent } from "./page.ts";

/** One of the two runs, as far as it has come. */
export interface Run {
  id: RunId;
  colour: string;
  setting: Setting;
  standings: Standing[];
}

export const EPOCHS = DEFAULTS.epochs;
export const last = ({ standings }: Run): Standing | undefined => standings.at(-1);
const nameOf = ({ id }: Run) => `Run ${id.toUpperCase()}`;

const words = ({ setting: { normalization, batchSize, rate, start } }: Run) =>
  `${NORMALIZATIONS[normalization]}, minibatches of ${batchSize}, rate ${rate}` +
  (normalization === "none" ? "" : `, ${STARTS[start]}`);

/** A run may diverge. */
export const figure = (value: number, text: (value: number) => string): string =>
  Number.isFinite(value) ? text(value) : "not finite";
export const short = (value: number): string => String(+value.toPrecision(3));

export function summary(one: Run): string {
  const at = last(one);
  if (!at) return `${nameOf(one)}: ${words(one)}; ${EPOCHS} epochs to come.`;
  const gap = at.gap === null ? "" : `, output ${figure(at.gap, (value) => fixed(value, 2))} from input`;
  return (
    `${nameOf(one)} (${words(one)}), epoch ${at.epoch} of ${EPOCHS}: loss ${figure(at.loss, short)}, ` +
    `${percent(at.accuracy)} of the test digits right${gap}.`
  );
}

const EPOCH_AXIS = { domain: [0, EPOCHS], label: "epoch →", ticks: 4 };
/** What stops at the layer; the rest goes on. */
const PARTS: readonly (readonly [part: keyof Shares, colour: string, name: string])[] = [
  ["mean", COLOUR.mean, "along the mean"],
  ["xhat", COLOUR.xhat, "along H′"],
];

/** The five charts: what redraws each. */
export function drawingsOf(runs: readonly Run[]): (() => void)[] {
  const quantity = (
    id: string,
    what: string,
    of: (standing: Standing) => number | null,
    y: (least: number, most: number) => PlotOptions["y"],
  ) =>
    chart(
      element(id),
      () => {
        const points = runs.map(({ standings }) => pointsOf(standings, of));
        const values = points.flat().map(([, value]) => value);
        return {
          height: 220,
          x: EPOCH_AXIS,
          y: { label: null, grid: true, ticks: 5, ...y(Math.min(...values), Math.max(...values)) },
          marks: points.flatMap((own, i) => curve(own, runs[i]!.colour)),
        };
      },
      () => `${what} over ${EPOCHS} epochs. ${runs.map(summary).join(" ")}`,
    );
  return [
    quantity(
      "lab-loss",
      "Loss, on a logarithmic scale,",
      // 0 has no logarithm.
      ({ loss }) => loss || null,
      (least, most) => {
        const domain = [Math.min(0.1, least), Math.max(3, most)] as const;
        return { type: "log", domain, ticks: powersOfTen(...domain), tickFormat: short };
      },
    ),
    quantity(
      "lab-accuracy",
      "Share of test digits right",
      ({ accuracy }) => accuracy,
      () => ({ domain: [0, 1], tickFormat: (share: number) => percent(share, 0) }),
    ),
    quantity(
      "lab-gap",
      "Root mean square distance of output from input",
      ({ gap }) => gap,
      (_, most) => ({ domain: [0, Math.max(1, most)] }),
    ),
    ...runs.map((one) =>
      chart(
        element(`lab-${one.id}-shares`),
        () => sharesPlot(one, most(runs)),
        () => sharesWords(one),
      ),
    ),
  ];
}

function powersOfTen(least: number, most: number): number[] {
  const low = Math.ceil(Math.log10(least) - 1e-9);
  return Array.from({ length: Math.floor(Math.log10(most)) - low + 1 }, (_, i) => 10 ** (low + i));
}

type Point = readonly [epoch: number, value: number];

/** A quantity over the epochs, without what there is none of or is not finite. */
function pointsOf(standings: readonly Standing[], of: (standing: Standing) => number | null): Point[] {
  return standings.flatMap((standing) => {
    const value = of(standing);
    return value === null || !Number.isFinite(value) ? [] : [[standing.epoch, value] as const];
  });
}

const curve = (points: readonly Point[], colour: string): Markish[] => [
  line(points, { stroke: colour, strokeWidth: 2.2 }),
  dot(points.slice(-1), { fill: colour, r: 3.5 }),
];

/** The largest share that stopped in either run, at least a tenth: both charts have one scale. */
function most(runs: readonly Run[]): number {
  const stopped = runs.flatMap(({ standings }) =>
    standings.flatMap(({ shares }) => (shares && Number.isFinite(shares.rest) ? [1 - shares.rest] : [])),
  );
  return Math.max(0.1, ...stopped);
}

function sharesPlot({ standings, setting }: Run, top: number): PlotOptions {
  const areas = standings.flatMap(({ epoch, shares }) => {
    if (!shares || !Number.isFinite(shares.rest)) return [];
    let below = 0;
    return PARTS.map(([part, colour]) => {
      const from = below;
      below += shares[part];
      return { epoch, colour, from, to: below };
    });
  });
  const plain = text(["no normalization: nothing stops"], { frameAnchor: "middle", fill: COLOUR.quiet });
  return {
    height: 190,
    x: EPOCH_AXIS,
    y: {
      domain: [0, top],
      label: null,
      ticks: 5,
      grid: true,
      tickFormat: (share: number) => percent(share, 0),
    },
    marks: [
      areaY(areas, { x: "epoch", y1: "from", y2: "to", z: "colour", fill: "colour", fillOpacity: 0.85 }),
      ruleY([0], { stroke: COLOUR.rule }),
      ...(setting.normalization === "none" ? [plain] : []),
    ],
  };
}

function sharesWords(one: Run): string {
  const shares = last(one)?.shares;
  if (!shares) return `${nameOf(one)}: shares of the gradient over ${EPOCHS} epochs.`;
  return `${nameOf(one)}: ${PARTS.map(([part, , name]) => `${name} ${percent(shares[part])}`).join(", ")}.`;
}
