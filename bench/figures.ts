/** The figures of a report: made from measurements, kept as JSON, shown by the tables and plots. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import type { Op } from "./contenders/contender.ts";
import { contenders, type Entry, type Kind } from "./contenders/index.ts";
import { describeMachine, type Machine } from "./machine.ts";
import type { Measurement, Outcome } from "./measure.ts";
import type { Shape } from "./shapes.ts";
import { sizeOf } from "./shapes.ts";
import { quantile } from "./statistics.ts";

export interface Row {
  contender: string;
  kind: Kind;
  op: Op;
  /** Microseconds a call: median over the rounds, and the middle four fifths of them. */
  us: { median: number; p10: number; p90: number };
  rounds: number;
  /** Traffic at least needed (forward: x and y, backward: x, dy and dx) over the time. */
  gbPerSecond: number;
  /** The time over that of a memory copy of the same minibatch, in the same rounds. */
  copies: number;
  /** The time over that of the fastest native and JavaScript contender of the same operation. */
  ofBestNative: number | null;
  ofBestJavaScript: number | null;
  /** The largest error, in units of the numerics contract. */
  error: number;
}

export interface ShapeFigures {
  runtime: string;
  shape: Shape;
  rows: Row[];
  unsupported: Record<string, string>;
}

export interface Figures {
  date: string;
  machine: Machine;
  /** By runtime: the contenders that were missing, with the reason. */
  missing: Record<string, Record<string, string>>;
  shapes: ShapeFigures[];
}

/** Bytes that the operation has to move for each value of the minibatch. */
const bytesPerValue: Record<Op, number> = {
  train: 8,
  eval: 8,
  backward: 12,
  copy: 8,
  norm: 8,
  "norm-backward": 12,
};

const entryOf = (name: string): Entry => contenders.find((entry) => entry.name === name)!;

export function figuresOf(
  runtime: string,
  shape: Shape,
  { measurements, unsupported }: Outcome,
): ShapeFigures {
  const timed = measurements.filter(({ rounds }) => rounds.length > 0);
  const rows = timed.map((measurement) => rowOf(measurement, timed, shape));
  const copy = rows.find(({ op }) => op === "copy")?.us.median ?? NaN;
  for (const row of rows) {
    row.copies = row.us.median / copy;
    row.ofBestNative = ratioToBest(row, rows, "native");
    row.ofBestJavaScript = ratioToBest(row, rows, "javascript");
  }
  return { runtime, shape, rows, unsupported };
}

function rowOf({ contender, op, rounds, error }: Measurement, all: Measurement[], shape: Shape): Row {
  const forward = all.find((other) => other.contender === contender && other.op === "train");
  const without =
    op === "backward" && entryOf(contender).backwardWithForward ? quantile(forward!.rounds, 0.5) : 0;
  const us = (q: number) => (quantile(rounds, q) - without) / 1000;
  const row = {
    contender,
    kind: entryOf(contender).kind,
    op,
    us: { median: us(0.5), p10: us(0.1), p90: us(0.9) },
  };
  const gbPerSecond = (sizeOf(shape) * bytesPerValue[op]) / row.us.median / 1000;
  return {
    ...row,
    rounds: rounds.length,
    gbPerSecond,
    copies: NaN,
    ofBestNative: null,
    ofBestJavaScript: null,
    error,
  };
}

function ratioToBest(row: Row, rows: Row[], kind: Kind): number | null {
  const others = rows.filter((other) => other.kind === kind && other.op === row.op && other !== row);
  return others.length ? row.us.median / Math.min(...others.map((other) => other.us.median)) : null;
}

const reportFolder = new URL("report/", import.meta.url);
const file = new URL("figures.json", reportFolder);

export function reportFile(name: string): URL {
  mkdirSync(reportFolder, { recursive: true });
  return new URL(name, reportFolder);
}

/** The figures that there are; none where they come from another machine. */
export function loadFigures(): Figures {
  const machine = describeMachine();
  const none: Figures = { date: "", machine, missing: {}, shapes: [] };
  if (!existsSync(file)) return none;
  const figures = JSON.parse(readFileSync(file, "utf8")) as Figures;
  return JSON.stringify(figures.machine) === JSON.stringify(machine) ? figures : none;
}

/** Puts new figures in the place of those of the same shapes on the same runtime. */
export function addFigures(
  figures: Figures,
  runtime: string,
  measured: ShapeFigures[],
  missing: Map<string, string>,
): void {
  for (const added of measured) {
    const at = figures.shapes.findIndex(
      (old) => old.runtime === runtime && old.shape.name === added.shape.name,
    );
    if (at < 0) figures.shapes.push(added);
    else figures.shapes[at] = added;
  }
  figures.missing[runtime] = Object.fromEntries(missing);
  figures.date = new Date().toISOString().slice(0, 10);
}

export function saveFigures(figures: Figures): void {
  const round = (_: string, value: unknown) =>
    typeof value === "number" ? Number(value.toPrecision(5)) : value;
  writeFileSync(reportFile("figures.json"), `${JSON.stringify(figures, round, 1)}\n`);
}
