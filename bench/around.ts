/** What is around a norm: the page around.md, made from what was measured. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import type { Op } from "./contenders/contender.ts";
import { describeMachine, machineInWords } from "./machine.ts";
import type { Outcome } from "./measure.ts";
import { type Around, type Shape, sizeOf } from "./shapes.ts";
import { geometricMean, median } from "./statistics.ts";
import { forMarkdown, number } from "./tables.ts";

export interface AroundRun {
  runtime: string;
  outcomes: [Shape, Outcome][];
  missing: Map<string, string>;
}

/** Who is held against the fused call, and under which name. */
const OTHERS = [
  ["norm, SIMD pass", "norm, then a SIMD pass"],
  ["norm, plain loop", "norm, then a plain loop"],
  ["PyTorch", "PyTorch"],
  ["ggml", "ggml"],
  ["wasm-norm revectorized", "fused, revectorized"],
] as const;

/** Bytes that each value has to be moved by, over those of the norm alone: x and y; x, dy and dx. */
const TRAFFIC: Record<"train" | "backward", Record<Around, number>> = {
  train: { relu: 1, residual: 1.5, stream: 2, modulation: 1, gate: 1.5, silu: 1, gelu: 1 },
  backward: { relu: 1, residual: 1, stream: 4 / 3, modulation: 1, gate: 5 / 3, silu: 1, gelu: 1 },
};

const INTRODUCTION = `# What is around a norm

Written by \`npm run bench -- --set around\`, which takes a quarter of an hour; with \`--node\` and \`--shape\`, sections one by one. A layer's call with a residual, the stream, a modulation, a gate or an activation in it ("fused") beside the norm alone and beside the ways to do the same in two steps, on one thread. Every output was checked before.

- **norm** and **fused**: microseconds a call on Tensors, medians. **of the norm**: their quotient; **traffic**: what it would be if bytes were all that counts. **ns above**: what a value takes more than in the norm.
- The other columns say how many times as fast the fused call is. They, and "of the norm", are medians over the rounds of the quotients within a round: the contenders take turns, so what disturbs the machine disturbs both. A load average above 1 is that of other work beside: quotients then differ by a fifth from one run to the next in cache, by more beyond it, and times stand for nothing.
- **norm, then a SIMD pass**: this package's norm, then the same arithmetic as a pass of its own in WebAssembly (\`passes/\`), in place; **norm, then a plain loop**: the same as a loop in JavaScript. Of a stream, the fused call keeps a copy for backward, one write more than the traffic says; the two passes keep the sum itself, which a network could not go on adding to.
- **PyTorch**: \`native_layer_norm\` and so on, then the function; backward the functions' own backward calls, without autograd (RMS norm: generic operations and autograd). **ggml**: a graph of its steps, in place; it has no backward of most of them, and no batch norm.
- **fused, revectorized**: the same under \`node --experimental-wasm-revectorize\`; below 1 the flag makes it faster.`;

const PAGE = new URL("around.md", import.meta.url);

/** Writes the page anew. A run puts its sections, one a Node and size, in the place of those before; others stay. */
export function writeAround(runs: AroundRun[]): void {
  const sections = new Map<string, string>();
  const before = existsSync(PAGE) ? readFileSync(PAGE, "utf8").split("\n## ").slice(1) : [];
  for (const section of before) sections.set(section.slice(0, section.indexOf("\n")), section.trimEnd());
  const load = loadavg()[0]!.toFixed(1);
  const machine = machineInWords(describeMachine());
  const measured = `${new Date().toISOString().slice(0, 10)}, ${machine}; load average at the end ${load}.`;
  for (const { runtime, outcomes, missing } of runs) {
    for (const size of sizesOf(outcomes)) {
      const own = outcomes.filter(([shape]) => sizeInWords(shape) === size);
      const tables = (["train", "backward"] as const).map((op) => forMarkdown(tableOf(own, op)));
      const absent = [...missing].map(([name, reason]) => `- ${name} is missing: ${reason}`).join("\n");
      const title = `${runtime}, ${size}`;
      sections.set(title, [title, measured, ...(absent ? [absent] : []), ...tables].join("\n\n"));
    }
  }
  const ordered = [...sections.keys()].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const parts = [INTRODUCTION, ...ordered.map((title) => `## ${sections.get(title)}`)];
  writeFileSync(PAGE, `${parts.join("\n\n")}\n`);
}

const sizeInWords = ({ n, c }: Shape): string => `${n} x ${c}`;
const sizesOf = (outcomes: [Shape, Outcome][]) => new Set(outcomes.map(([shape]) => sizeInWords(shape)));

/** A table for each size. */
export function tables(outcomes: [Shape, Outcome][], op: "train" | "backward"): string[][][] {
  return [...sizesOf(outcomes)].map((size) =>
    tableOf(
      outcomes.filter(([shape]) => sizeInWords(shape) === size),
      op,
    ),
  );
}

/** Shapes of one size, the last row the geometric mean of the quotients. */
function tableOf(outcomes: [Shape, Outcome][], op: "train" | "backward"): string[][] {
  const title = `${op === "train" ? "forward" : "backward"}, ${sizeInWords(outcomes[0]![0])}`;
  const rows = outcomes.flatMap(([shape, outcome]) => rowOf(shape, outcome, op) ?? []);
  const present = OTHERS.filter((_, i) => rows.some(({ others }) => others[i] !== null));
  const column = (i: number) => rows.flatMap(({ others }) => others[i] ?? []);
  return [
    [
      title,
      ...["norm, us", "fused, us", "of the norm", "traffic", "ns above"],
      ...present.map(([, name]) => name),
    ],
    ...rows.map((row) => [
      row.name,
      number(row.norm / 1e3),
      number(row.fused / 1e3),
      number(row.ofNorm),
      number(row.traffic),
      row.above.toFixed(2),
      ...present.map((other) => number(row.others[OTHERS.indexOf(other)])),
    ]),
    [
      "geometric mean",
      ...Array<string>(5).fill(""),
      ...present.map((other) => number(geometricMean(column(OTHERS.indexOf(other))))),
    ],
  ];
}

function rowOf(shape: Shape, { measurements }: Outcome, op: "train" | "backward") {
  const find = (contender: string, op: Op) =>
    measurements.find((each) => each.contender === contender && each.op === op && each.rounds.length > 0)
      ?.rounds;
  const ours = ["wasm-norm relaxed-simd", "wasm-norm simd"].find((name) => find(name, op));
  if (!ours) return;
  const fused = find(ours, op)!;
  const norm = find(ours, op === "train" ? "norm" : "norm-backward")!;
  return {
    name: shape.name.replace(` ${sizeInWords(shape)}`, ""),
    norm: median(norm),
    fused: median(fused),
    ofNorm: paired(fused, norm),
    traffic: TRAFFIC[op][shape.around!],
    above: median(fused.map((ns, round) => ns - norm[round]!)) / sizeOf(shape),
    others: OTHERS.map(([name]) => {
      const other = find(name, op);
      return other ? paired(other, fused) : null;
    }),
  };
}

/** The median quotient of what was timed in the same rounds. */
function paired(a: number[], b: number[]): number {
  return median(a.slice(0, b.length).map((ns, round) => ns / b[round]!));
}
