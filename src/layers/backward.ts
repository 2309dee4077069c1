import type { GradientSums } from "../analysis.js";
import { readOptions, typeError } from "../errors.js";
import {
  APPLY,
  type Block,
  backwardPass,
  blockAt,
  blockBytes,
  FROZEN,
  type Geometry,
  OWN,
  REDUCE,
} from "../passes.js";
import type { Runtime } from "../runtime/runtime.js";
import { Scratch } from "../runtime/scratch.js";
import { live } from "../tensor.js";
import { blend, LOOPED } from "./blend.js";
import {
  copyIn,
  copyOut,
  drop,
  type Minibatch,
  NEW,
  newLike,
  place,
  readOperand,
  readSized,
} from "./call.js";
import { extrasOf, type LayerCore, type Saved } from "./core.js";
import { placeSegments, type Segments } from "./mask.js";

const inputOf = ({ x, places }: Saved): number => (x ? x.address : places.x);

const overwritten = (who: string): Error =>
  new Error(`${who}: expected x, but forwardInto(x, x) has overwritten it`);

/**
 * The gradient of the last forward into `out`, or into a new minibatch for NEW; that of its residual goes to the
 * `layer`.
 */
export function backward(
  core: LayerCore,
  layer: { residualGrad: Minibatch | null },
  who: string,
  dy: unknown,
  out: unknown,
  options: unknown,
): Minibatch {
  // The caller's own code first, as in forward.
  core.checkAlive(who);
  const residualGrad =
    options === undefined ? undefined : readOptions(who, options, { residualGrad: undefined }).residualGrad;
  const vectors = core.learned.read(who);
  const { gamma, beta } = vectors;
  const held = core.use(who);
  const saved = core.last(who);
  const { places, shape, frozen, segments } = saved;
  const { geometry } = places;
  const block = frozen ? places.frozen : places.block;
  if (saved.x) live(who, saved.x);
  const from = readSized(who, "dy", dy, shape);
  const into = out === NEW ? undefined : readSized(who, "dx", out, shape);
  if (residualGrad !== undefined && !saved.added) {
    throw typeError(who, "no residualGrad without a residual", residualGrad);
  }
  if (saved.overwritten && gamma) throw overwritten(who);

  const scratch = new Scratch(held);
  const { f32 } = held;
  let fresh: Minibatch | undefined;
  let through: Minibatch | undefined;
  try {
    const source = place(scratch, from);
    if (!into) fresh = newLike(from, shape);
    const to = into ?? readOperand(who, "dx", fresh);
    // Kernels may write dx over dy, so that an array's gradient needs one place for both; rows take two passes then.
    const both = from.array && !geometry.perElement;
    const dx = to.address ?? (both ? source : scratch.take(4 * to.size));
    const wanted = saved.added && (!into || residualGrad !== undefined);
    if (wanted && residualGrad === undefined) through = newLike(from, shape);
    const passed = wanted ? ((residualGrad as Minibatch | undefined) ?? through!) : null;
    const other = wanted ? readSized(who, "residualGrad", passed, shape) : undefined;
    const dresidual = other ? place(scratch, other) : 0;
    const pairs = segments ? placeSegments(held, scratch, segments) : 0;
    if (held.f32 !== f32) core.learned.check(who);
    if (from.array) copyIn(held, from, source);
    if (saved.size > 0) {
      if (other && !core.relu) held.f32.copyWithin(dresidual / 4, source / 4, source / 4 + saved.size);
      const extras = extrasOf(saved, pairs, vectors, core.relu ? dresidual : 0);
      const steps = saved.overwritten ? APPLY | FROZEN : REDUCE | APPLY | (frozen ? FROZEN : OWN);
      backwardPass(held, geometry, steps, inputOf(saved), source, dx, block, extras);
      if (segments) {
        clearOthers(held, segments, geometry, dx);
        if (other) clearOthers(held, segments, geometry, dresidual);
      }
      addGradients(
        held,
        block,
        core.channels,
        gamma?.frozen ? undefined : gamma?.grad,
        beta?.frozen ? undefined : beta?.grad,
      );
      if (to.array) copyOut(held, to, dx);
      if (other?.array) copyOut(held, other, dresidual);
    }
    if (layer.residualGrad !== passed) layer.residualGrad = passed;
    return into ? (out as Minibatch) : fresh!;
  } catch (error) {
    drop(fresh);
    drop(through);
    throw error;
  } finally {
    scratch.release();
  }
}

/**
 * Sums of dy over the groups of the last forward, and of its statistics the variance; no gradient is touched.
 * @throws as `backward`
 */
export function gradientSums(
  core: LayerCore,
  who: string,
  dy: unknown,
): { sums: GradientSums; count: number; variance: Float64Array | null } {
  const held = core.use(who);
  const saved = core.last(who);
  if (saved.x) live(who, saved.x);
  if (saved.overwritten) throw overwritten(who);
  const { places, segments, frozen, count } = saved;
  const { geometry } = places;
  const block = frozen ? places.frozen : places.block;
  const from = readSized(who, "dy", dy, saved.shape);
  const n = core.channels;
  if (saved.size === 0) {
    const zeros = () => new Float64Array(n);
    return { sums: { dy: zeros(), dyXhat: zeros(), dySquared: zeros() }, count: 0, variance: null };
  }
  return Scratch.with(held, (scratch) => {
    const source = place(scratch, from);
    // About a mean of 0 with an rstd of 1, dy's dot product with itself is its energy.
    const plain = blockAt(scratch.take(blockBytes(geometry)), geometry);
    const extras = extrasOf(saved, segments ? placeSegments(held, scratch, segments) : 0, undefined, 0);
    if (from.array) copyIn(held, from, source);
    const { f64 } = held;
    f64.fill(0, plain.mean / 8, plain.variance / 8);
    f64.fill(1, plain.rstd / 8, plain.sum1 / 8);
    backwardPass(held, geometry, frozen ? REDUCE : REDUCE | OWN, inputOf(saved), source, 0, block, extras);
    backwardPass(held, geometry, REDUCE, source, source, 0, plain, extras);
    const copy = (address: number) => f64.slice(address / 8, address / 8 + n);
    return {
      sums: { dy: copy(block.dbeta), dyXhat: copy(block.dgamma), dySquared: copy(plain.dgamma) },
      count,
      variance: frozen ? null : copy(block.variance),
    };
  });
}

/** Adds dgamma and dbeta to `a` and `b`, which may be one array. */
function addGradients(
  held: Runtime,
  { dgamma, dbeta, work }: Block,
  n: number,
  a: Float32Array | undefined,
  b: Float32Array | undefined,
): void {
  if (n > LOOPED && a !== b) blend(held, work, n, a, b, dgamma, dbeta, 1, 1, 1, -1);
  else {
    if (a) add(a, held.f64, dgamma / 8, n);
    if (b) add(b, held.f64, dbeta / 8, n);
  }
}

function add(grad: Float32Array, sums: Float64Array, from: number, n: number): void {
  for (let i = 0; i < n; i++) grad[i]! += sums[from++]!;
}

/** Sets what lies outside of the segments to zero. */
function clearOthers({ f32 }: Runtime, { pairs }: Segments, g: Geometry, address: number): void {
  // Channels-last the channels of a position lie together: one run, of so many values a position.
  const last = g.length === 1;
  const channels = g.groups * g.width;
  const [runs, unit, length] = last ? [1, channels, g.rows * channels] : [channels, 1, g.length];
  let from = 0;
  for (let i = 0; i <= pairs.length; i += 2) {
    const gap = unit * (pairs[i] ?? g.rows * g.length);
    while (from < gap) {
      const row = Math.floor(from / length);
      const to = Math.min(gap, (row + 1) * length);
      for (let c = 0; c < runs; c++) {
        const run = address / 4 + (row * (runs - 1) + c) * length;
        f32.fill(0, run + from, run + to);
      }
      from = to;
    }
    from = unit * pairs[i + 1]!;
  }
}
