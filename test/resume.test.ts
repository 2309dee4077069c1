/** A training run that is interrupted after any step and resumed from what was saved gives the same bits. */
import { beforeAll, describe, expect, test } from "vitest";
import { loadSafetensors, saveSafetensors } from "../src/safetensors.js";
import { type Library, load, normals, seeded, variants } from "./cases.js";
import { type AnyLayer, oneOfEach, snapshot } from "./refusal.js";

type State = Record<string, Float32Array | Float64Array>;
type Optimizer = InstanceType<Library["SGD"]> | InstanceType<Library["AdamW"]>;

const STEPS = 7;

/** Ways out of the process and back. */
const carriers: Record<string, (state: State) => Record<string, Float32Array | Float64Array | number[]>> = {
  "a structured clone": (state) => structuredClone(state),
  JSON: (state) =>
    JSON.parse(
      JSON.stringify(Object.fromEntries(Object.entries(state).map(([name, array]) => [name, [...array]]))),
    ),
  safetensors: (state) => loadSafetensors(saveSafetensors(state)),
};

const optimizers: Record<string, (library: Library, layer: AnyLayer) => Optimizer> = {
  SGD: ({ SGD }, layer) => new SGD(layer.parameters(), { lr: 0.05, weightDecay: 0.01 }),
  "SGD with Nesterov's momentum": ({ SGD }, layer) =>
    new SGD(layer.parameters(), { lr: 0.05, momentum: 0.9, nesterov: true }),
  AdamW: ({ AdamW }, layer) => new AdamW(layer.parameters(), { lr: 0.02 }),
};

function step(layer: AnyLayer, optimizer: Optimizer, shape: number[], at: number): Float32Array {
  const random = seeded(at);
  const x = normals(24, at, 1 + at, at - 3);
  const y = layer.forward(x, shape);
  optimizer.zeroGrad();
  layer.backward(y.map((value) => value * random() - 0.3));
  optimizer.step();
  return y;
}

describe.each(variants)("a run resumed, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  const layers = () => [
    ...oneOfEach(library),
    { who: "BatchNorm", layer: new library.BatchNorm(4, { momentum: null }), shape: [6, 4] },
  ];

  describe.each(Object.keys(carriers))("through %s", (carrier) => {
    test.each(Object.keys(optimizers))("after any step, with %s", (rule) => {
      const carry = carriers[carrier]!;
      for (const [k, { layer, shape }] of layers().entries()) {
        const optimizer = optimizers[rule]!(library, layer);
        const saved: { layer: State; optimizer: State }[] = [];
        const outputs: Float32Array[] = [];
        for (let at = 0; at < STEPS; at++) {
          saved.push({ layer: layer.stateDict(), optimizer: optimizer.stateDict() });
          outputs.push(step(layer, optimizer, shape, at));
        }
        const whole = { layer: snapshot(layer), optimizer: optimizer.stateDict() };
        layer.eval();
        const answer = layer.forward(normals(24, 99), shape);
        for (let from = 0; from < STEPS; from++) {
          const twin = layers()[k]!.layer;
          const again = optimizers[rule]!(library, twin);
          // biome-ignore lint/suspicious/noExplicitAny: each layer takes its own kind of state
          twin.loadStateDict(carry(saved[from]!.layer) as any);
          again.loadStateDict(carry(saved[from]!.optimizer));
          for (let at = from; at < STEPS; at++) {
            expect(step(twin, again, shape, at), `step ${at} from ${from}`).toEqual(outputs[at]);
          }
          expect({ layer: snapshot(twin), optimizer: again.stateDict() }).toEqual(whole);
          twin.eval();
          expect(twin.forward(normals(24, 99), shape)).toEqual(answer);
        }
      }
    });
  });

  test("one number in the saved state off by its last bit is seen", () => {
    const [one, other] = [new library.BatchNorm(4), new library.BatchNorm(4)];
    const state = one.stateDict();
    new Uint32Array(state.weight!.buffer)[2]!++;
    other.loadStateDict(state);
    const x = normals(24, 1);
    expect(other.forward(x)).not.toEqual(one.forward(x));
  });
});

describe.each(variants)("NaN and infinity never reach the running statistics, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  const poisons = [Number.NaN, Infinity, -Infinity, 3.4e38];
  const momenta = [0, 0.1, 1, null];
  const layouts = ["channels-last", "channels-first"] as const;
  const runs = poisons.flatMap((poison) =>
    momenta.flatMap((momentum) => layouts.map((layout) => ({ poison, momentum, layout }))),
  );

  test.each(runs)("$poison, momentum $momentum, $layout", ({ poison, momentum, layout }) => {
    const [n, positions, channels] = [5, 3, 6];
    const shape = layout === "channels-last" ? [n, positions, channels] : [n, channels, positions];
    const size = n * positions * channels;
    const channelOf = (i: number) =>
      layout === "channels-last" ? i % channels : Math.floor(i / positions) % channels;
    const mask = Array.from({ length: n * positions }, (_, i) => i % 4 !== 3);
    for (const activation of ["none", "relu"] as const) {
      for (const masked of [false, true]) {
        for (const kind of ["array", "tensor"] as const) {
          const make = () => new library.BatchNorm(channels, { momentum, layout, activation });
          const [layer, twin] = [make(), make()];
          const clean = normals(size, 1);
          const bad = clean.slice();
          // both ends and the middle of a channel's values, in channels 1 and 4
          const places = [...bad.keys()].filter((i) => channelOf(i) === 1 || channelOf(i) === 4);
          for (const place of places.filter((_, k) => k % 3 === 0))
            bad[place] = poison * (place % 2 ? -1 : 1);
          const options = { shape, ...(masked && { mask }) };
          for (const [k, x] of [clean, bad, clean].entries()) {
            layer.forward(kind === "array" ? x : library.tensor(shape, x), options);
            twin.forward(clean, options);
            expect(layer.batchesTracked).toBe(k + 1);
          }
          for (const array of [layer.runningMean, layer.runningVar])
            expect(array.every(Number.isFinite)).toBe(true);
          // channels that were clean have taken every batch, the others the clean ones
          for (const c of [0, 2, 3, 5]) {
            expect(layer.runningMean[c]).toBe(twin.runningMean[c]);
            expect(layer.runningVar[c]).toBe(twin.runningVar[c]);
          }
          // the square of 3.4e38 fits float64
          const skipped = Number.isFinite(poison) ? 0 : 2;
          expect(layer.skippedUpdates).toBe(skipped);
          layer.eval();
          expect(layer.forward(clean, { shape }).every(Number.isFinite)).toBe(true);
          layer.forward(bad, { shape });
          expect(layer.skippedUpdates).toBe(skipped);
          for (const each of [layer, twin]) each.dispose();
        }
      }
    }
  });
});
