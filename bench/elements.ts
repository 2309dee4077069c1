/**
 * Minibatches of 16 bits beside float32: `npx tsx elements.ts [layer|batch|group]` after a build. All in turns, medians; the ratios are
 * what stands on a busy machine. "Whole" widens the arrays, normalizes and rounds them again, each as a whole.
 */
import { median } from "./statistics.ts";

type Library = typeof import("../src/index.ts");
const library: Library = await import(new URL("../dist/index.js", import.meta.url).href);
const { BatchNorm, GroupNorm, LayerNorm, tensor } = library;

const TYPES = ["float32", "bfloat16", "float16"] as const;
const subjects = {
  layer: [
    [[256, 256], () => new LayerNorm(256)],
    [[1024, 768], () => new LayerNorm(768)],
    [[8192, 1024], () => new LayerNorm(1024)],
  ],
  group: [[[32, 64, 56, 56], () => new GroupNorm(8, 64, { layout: "channels-first" })]],
  batch: [
    [[256, 256], () => new BatchNorm(256)],
    [[4096, 1024], () => new BatchNorm(1024)],
  ],
} as const;

/** Milliseconds of each, in turns. */
function inTurns(runs: (() => void)[], values: number): number[] {
  const times: number[][] = runs.map(() => []);
  const rounds = Math.max(11, Math.min(201, Math.floor(4e7 / values)));
  for (let round = 0; round < rounds; round++) {
    runs.forEach((run, i) => {
      const start = performance.now();
      run();
      times[i]!.push(performance.now() - start);
    });
  }
  return times.map(median);
}

const chosen = process.argv[2] as keyof typeof subjects | undefined;
console.log("| norm | pass | float32, ms | bfloat16 | float16 | whole by bfloat16 | whole by float16 |");
console.log("| --- | --- | --- | --- | --- | --- | --- |");
for (const [name, list] of Object.entries(subjects)) {
  if (chosen && name !== chosen) continue;
  for (const [shape, make] of list) {
    const n = shape.reduce((a: number, b) => a * b, 1);
    const values = Float32Array.from({ length: n }, (_, i) => Math.sin(i) + Math.sin(i * i));
    const sets = TYPES.map((dtype) => ({
      // Each type's backward belongs to a forward of its own.
      layer: make(),
      x: tensor(shape, values, { dtype }),
      y: tensor(shape, undefined, { dtype }),
    }));
    const wide = sets[0]!;
    type Pass = (set: (typeof sets)[number]) => void;
    const passes: [string, Pass][] = [
      ["forward", ({ layer, x, y }) => layer.forwardInto(x, y)],
      ["backward", ({ layer, x, y }) => layer.backwardInto(x, y, { retain: true })],
    ];
    for (const [pass, run] of passes) {
      const own = sets.map((set) => () => run(set));
      const whole = sets.slice(1).map(({ x, y }) => () => {
        wide.x.set(x.toArray());
        run(wide);
        y.set(wide.y.data as Float32Array);
      });
      const times = inTurns([...own, ...whole], n);
      report(name, shape, pass, times.slice(0, 3), times.slice(3));
    }
    for (const { layer, x, y } of sets) for (const each of [layer, x, y]) each.dispose();
  }
}

function report(name: string, shape: readonly number[], pass: string, own: number[], whole: number[]): void {
  const ratio = (a: number, b: number) => (a / b).toFixed(2);
  const cells = [
    `${name} ${shape.join(" x ")}`,
    pass,
    own[0]!.toFixed(3),
    ratio(own[1]!, own[0]!),
    ratio(own[2]!, own[0]!),
    ratio(whole[0]!, own[1]!),
    ratio(whole[1]!, own[2]!),
  ];
  console.log(`| ${cells.join(" | ")} |`);
}
