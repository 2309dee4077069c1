/** The figures as SVG, drawn by Vega-Lite. */
import { writeFileSync } from "node:fs";
import * as vega from "vega";
import { compile, type TopLevelSpec } from "vega-lite";
import { contenders } from "./contenders/index.ts";
import { reportFile, type ShapeFigures } from "./figures.ts";
import { sizeOf } from "./shapes.ts";
import { opNames, timedOps } from "./tables.ts";

/** One colour a contender in every plot (Okabe and Ito's palette, told apart by the colour blind too; ours dark). */
const colours: Record<string, string> = {
  "wasm-norm simd": "#0072b2",
  "wasm-norm relaxed-simd": "#000000",
  "wasm-norm on arrays": "#56b4e9",
  PyTorch: "#d55e00",
  oneDNN: "#009e73",
  "onnxruntime-node": "#cc79a7",
  "plain JavaScript": "#e69f00",
  "tfjs-cpu": "#b2b2b2",
  "tfjs-wasm": "#7f7f7f",
  "onnxruntime-web": "#a6761d",
  "jax-js": "#7570b3",
};

const config = {
  font: "sans-serif",
  background: "white",
  view: { stroke: "#ddd" },
  axis: { gridColor: "#eee" },
  legend: { labelLimit: 300 },
};

interface Point {
  shape: string;
  bytes: number;
  contender: string;
  op: string;
  copies: number;
  gbPerSecond: number;
}

function pointsOf(shapes: ShapeFigures[]): Point[] {
  return shapes.flatMap(({ shape, rows }) =>
    rows
      .filter(({ op }) => op !== "copy")
      .map(({ contender, op, copies, gbPerSecond }) => {
        return {
          shape: shape.name,
          bytes: sizeOf(shape) * 4,
          contender,
          op: opNames[op],
          copies,
          gbPerSecond,
        };
      }),
  );
}

function contenderScale(points: Point[]) {
  const present = contenders
    .map(({ name }) => name)
    .filter((name) => points.some((p) => p.contender === name));
  return { domain: present, range: present.map((name) => colours[name]!) };
}

/** Every contender's time over that of a memory copy, a row a shape: further left is faster. */
export async function plotCopies(file: string, title: string, shapes: ShapeFigures[]): Promise<void> {
  const values = pointsOf(shapes);
  if (values.length === 0) return;
  const colour = { field: "contender", type: "nominal", scale: contenderScale(values), title: null } as const;
  const ops = timedOps.map((op) => opNames[op]);
  await draw(file, {
    title: {
      text: title,
      subtitle: "time over that of a memory copy of the minibatch (log scale); further left is faster",
    },
    data: { values },
    facet: { column: { field: "op", type: "nominal", sort: ops, title: null } },
    spec: {
      width: 260,
      height: { step: 20 },
      layer: [
        { mark: { type: "rule", color: "#999" }, encoding: { x: { datum: 1 } } },
        {
          mark: { type: "point", filled: true, size: 55, opacity: 0.85 },
          encoding: {
            y: {
              field: "shape",
              type: "nominal",
              sort: shapes.map(({ shape }) => shape.name),
              title: null,
              axis: { labelLimit: 500, grid: true },
            },
            x: {
              field: "copies",
              type: "quantitative",
              scale: { type: "log", nice: false },
              title: "memory copies",
            },
            color: colour,
            shape: { ...colour, scale: { domain: colour.scale.domain } },
          },
        },
      ],
    },
    config,
  });
}

/** Throughput against the minibatch's size. */
export async function plotSizes(file: string, title: string, shapes: ShapeFigures[]): Promise<void> {
  const values = pointsOf(shapes);
  if (values.length === 0) return;
  await draw(file, {
    title: { text: title, subtitle: "GB/s against the minibatch's size; higher is faster" },
    data: { values },
    facet: { column: { field: "op", type: "nominal", sort: timedOps.map((op) => opNames[op]), title: null } },
    spec: {
      width: 300,
      height: 260,
      mark: { type: "line", point: true },
      encoding: {
        x: {
          field: "bytes",
          type: "quantitative",
          scale: { type: "log", base: 4 },
          title: "minibatch",
          axis: { values: values.map(({ bytes }) => bytes), labelExpr: sizeLabel },
        },
        y: { field: "gbPerSecond", type: "quantitative", scale: { type: "log" }, title: "GB/s" },
        color: { field: "contender", type: "nominal", scale: contenderScale(values), title: null },
      },
    },
    config,
  });
}

const sizeLabel =
  "datum.value < 1048576 ? datum.value / 1024 + ' kB' : datum.value < 1073741824 ? datum.value / 1048576 + ' MB' : '1 GB'";

async function draw(file: string, spec: TopLevelSpec): Promise<void> {
  const view = new vega.View(vega.parse(compile(spec).spec), { renderer: "none" });
  writeFileSync(reportFile(file), await view.toSVG());
}
