/** The kernels that are registered with a backend: from tensors to a pass, and back. */
import { sizeOf } from "../../arrays.js";
import { FIRST_LATE } from "../../engine/activation.js";
import {
  countOf,
  type Geometry,
  parametersOf,
  room,
  statisticsOf,
  valuesOf,
  walkOf,
} from "../../engine/geometry.js";
import { DOUBLE, FIELD, PASS_BYTES, Pass, STEP } from "../../engine/pass.js";
import { runAround, runBackward, runForward, runStage } from "../../engine/run.js";
import { prepare } from "../../engine/workspace.js";
import type { Runtime } from "../../runtime/instance.js";
import { type Place, placeOn } from "./place.js";
import type { KernelArguments, TensorInfo } from "./types.js";

/** What a call is told besides its tensors. */
export interface Attributes {
  geometry: Geometry;
  eps: number;
  /** Whether gamma and beta are among the inputs. */
  scale: boolean;
  offset: boolean;
  /** Mean and variance are inputs, after x. */
  frozen: boolean;
  /** Its place among the engine's ACTIVATIONS. */
  activation: number;
}

/** The activation that is left to a stage. */
const lateOf = ({ activation }: Attributes): number => (activation < FIRST_LATE ? 0 : activation);

/** Room for one vector of statistics, in values. */
const vectorOf = (g: Geometry): number => room(statisticsOf(g), g.perElement ? 1 : g.outer);

/** Where a call's inputs are among its tensors. `first` is the place of x. */
function inputsOf({ scale, offset, frozen }: Attributes, first: number) {
  const gamma = first + (frozen ? 3 : 1);
  return { x: first, gamma: scale ? gamma : -1, beta: offset ? gamma + Number(scale) : -1 };
}

const stepsOf = (g: Geometry, steps: number): number => (g.rms ? steps | STEP.RMS : steps);

/** Runs `work`; what was made is given up if it throws. */
function withPlace(args: KernelArguments, work: (place: Place, tensors: TensorInfo[]) => void): TensorInfo[] {
  const place = placeOn(args.backend);
  try {
    work(place, args.inputs as unknown as TensorInfo[]);
    return place.done();
  } catch (error) {
    place.drop();
    throw error;
  }
}

/** Asks for room for a pass, gamma and beta, and gives what writes them once there is room. */
function passOf(place: Place, tensors: TensorInfo[], attributes: Attributes, first: number) {
  const { geometry: g, eps } = attributes;
  const places = inputsOf(attributes, first);
  const n = parametersOf(g);
  const record = place.room(PASS_BYTES);
  // Kernels read whole vectors: a tensor of tfjs's has nothing behind it that could be read.
  const copies = [places.gamma, places.beta].map((at) =>
    at < 0 ? undefined : { from: place.input(tensors[at]!), to: place.room(4 * room(n)) },
  );
  return (steps: number, fields: { [name in keyof typeof FIELD]?: number }): Pass => {
    const { held } = place;
    const pass = new Pass(held, record());
    const [gamma, beta] = copies.map((copy) => {
      if (!copy) return 0;
      held.f32.copyWithin(copy.to() / 4, copy.from() / 4, copy.from() / 4 + n);
      return copy.to();
    });
    const { outer, rows, groups, width, length } = g;
    const all = { ...fields, gamma, beta, walk: walkOf(g), outer, rows, groups, width, length };
    for (const [name, value] of Object.entries(all)) pass.set(FIELD[name as keyof typeof FIELD], value!);
    pass.set(FIELD.steps, stepsOf(g, steps));
    const late = lateOf(attributes);
    pass.set(FIELD.activation, late ? 0 : attributes.activation);
    pass.set(FIELD.late, late);
    pass.setDouble(DOUBLE.eps, eps);
    pass.setDouble(DOUBLE.count, countOf(g));
    prepare(held, pass, g);
    return pass;
  };
}

/** Where the vectors of statistics lie: mean, variance, rstd, one after the other. */
function statisticsAt(at: number, g: Geometry) {
  const bytes = 8 * vectorOf(g);
  return { mean: at, variance: at + bytes, rstd: at + 2 * bytes };
}

/**
 * From [x, mean and variance if they are given, gamma, beta] to [y, statistics]. The statistics are float64, as bits in a
 * tensor of int32: each call's own, since a shared layer is called twice before its backward.
 */
export function forward(args: KernelArguments): TensorInfo[] {
  const attributes = args.attrs as Attributes;
  const { geometry: g, frozen } = attributes;
  return withPlace(args, (place, tensors) => {
    const x = place.input(tensors[0]!);
    const given = frozen ? [place.input(tensors[1]!), place.input(tensors[2]!)] : [];
    const y = place.output(tensors[0]!.shape);
    const statistics = place.output([6 * vectorOf(g)], "int32");
    const write = passOf(place, tensors, attributes, 0);
    place.settle();
    const at = statisticsAt(statistics(), g);
    const { held } = place;
    held.u32.fill(0, at.mean / 4, at.mean / 4 + 6 * vectorOf(g));
    [at.mean, at.variance].forEach((to, i) => {
      const from = given[i];
      if (!from) return;
      const { f32, f64 } = held;
      for (let c = 0; c < statisticsOf(g); c++) f64[to / 8 + c] = f32[from() / 4 + c]!;
    });
    if (valuesOf(g) === 0) return;
    const steps = frozen ? STEP.APPLY : STEP.REDUCE | STEP.APPLY;
    const pass = write(steps, { x: x(), y: y(), ...at });
    if (lateOf(attributes)) runAround(held, pass, g, true, () => runForward(held, pass));
    else runForward(held, pass);
  });
}

/** What a stage's activation makes of dy, at dx; what went into it is computed again, in the same place. */
function throughStage(held: Runtime, pass: Pass, g: Geometry): void {
  const dx = pass.get(FIELD.dx);
  pass.set(FIELD.y, dx);
  runForward(held, pass);
  pass.set(FIELD.z, dx);
  runStage(held, pass, "beforeBackward", g);
  pass.set(FIELD.dy, dx);
}

/** From [dy, x, mean and variance if they were given, gamma, beta, statistics] to a gradient for each input of the forward. */
export function backward(args: KernelArguments): TensorInfo[] {
  const attributes = args.attrs as Attributes;
  const { geometry: g, frozen, scale, offset } = attributes;
  return withPlace(args, (place, tensors) => {
    const dy = place.input(tensors[0]!);
    const x = place.input(tensors[1]!);
    const statistics = place.input(tensors.at(-1)!);
    const places = inputsOf(attributes, 1);
    const dx = place.output(tensors[1]!.shape);
    const given = frozen ? [place.output(tensors[2]!.shape), place.output(tensors[3]!.shape)] : [];
    const dgamma = scale ? place.output(tensors[places.gamma]!.shape) : undefined;
    const dbeta = offset ? place.output(tensors[places.beta]!.shape) : undefined;
    const write = passOf(place, tensors, attributes, 1);
    place.settle();
    const { held } = place;
    const n = parametersOf(g);
    if (valuesOf(g) === 0) {
      for (const at of [dgamma, dbeta, ...given]) if (at) held.f32.fill(0, at() / 4, at() / 4 + n);
      return;
    }
    const at = statisticsAt(statistics(), g);
    const steps = STEP.REDUCE | STEP.APPLY | (frozen ? STEP.FROZEN : STEP.OWN);
    const late = lateOf(attributes) !== 0;
    const pass = write(late ? STEP.APPLY : steps, { x: x(), dy: dy(), dx: dx(), ...at });
    if (late) throughStage(held, pass, g);
    pass.set(FIELD.steps, stepsOf(g, steps));
    runBackward(held, pass);
    const { f32, f64 } = held;
    const sums = [pass.get(FIELD.dgamma) / 8, pass.get(FIELD.dbeta) / 8] as const;
    [dgamma, dbeta].forEach((to, i) => {
      if (!to) return;
      for (let c = 0; c < n; c++) f32[to() / 4 + c] = f64[sums[i]! + c]!;
    });
    if (!frozen) return;
    const gamma = pass.get(FIELD.gamma) / 4;
    for (let c = 0; c < n; c++) {
      const slope = (gamma ? f32[gamma + c]! : 1) * f64[at.rstd / 8 + c]!;
      f32[given[0]!() / 4 + c] = -slope * f64[sums[1] + c]!;
      f32[given[1]!() / 4 + c] = -0.5 * slope * f64[at.rstd / 8 + c]! * f64[sums[0] + c]!;
    }
  });
}

/** What `track` is told. */
export interface Tracking {
  geometry: Geometry;
  momentum: number;
}

/**
 * From [statistics, moving mean, moving variance] to the moving ones with this minibatch in them, tfjs's way: the biased
 * variance, and `momentum` the weight of the past. A channel whose statistics are not finite keeps its own.
 */
export function track(args: KernelArguments): TensorInfo[] {
  const { geometry: g, momentum } = args.attrs as Tracking;
  return withPlace(args, (place, tensors) => {
    const statistics = place.input(tensors[0]!);
    const before = [place.input(tensors[1]!), place.input(tensors[2]!)];
    const after = [place.output(tensors[1]!.shape), place.output(tensors[2]!.shape)];
    place.settle();
    const { f32, f64 } = place.held;
    const at = statisticsAt(statistics(), g);
    const n = sizeOf(tensors[1]!.shape);
    const [oldMean, oldVariance, newMean, newVariance] = [...before, ...after].map((to) => to() / 4) as [
      number,
      number,
      number,
      number,
    ];
    const [m, v] = [at.mean / 8, at.variance / 8];
    const share = countOf(g) > 0 ? 1 - momentum : 0;
    for (let c = 0; c < n; c++) {
      const mean = f32[oldMean + c]!;
      const variance = f32[oldVariance + c]!;
      const nextMean = Math.fround(mean + share * (f64[m + c]! - mean));
      const nextVariance = Math.fround(variance + share * (f64[v + c]! - variance));
      const counts = Math.abs(nextMean) + nextVariance < Infinity;
      f32[newMean + c] = counts ? nextMean : mean;
      f32[newVariance + c] = counts ? nextVariance : variance;
    }
  });
}
