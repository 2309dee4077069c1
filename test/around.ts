/**
 * What comes around a normalization, in float64: the residual stream before it, modulation, residual, activation and gate after it.
 * Every value of a gradient comes with the bound that the contract sets for it.
 */
import { ACTIVATIONS, type ActivationName } from "./activations.js";
import type { Geometry, Numbers } from "./reference.js";
import * as reference from "./reference.js";

const u = 2 ** -23;

export interface Around {
  readonly x: Numbers;
  readonly gamma: Numbers | null;
  readonly beta: Numbers | null;
  readonly eps: number;
  readonly centered: boolean;
  readonly activation: ActivationName;
  readonly stream?: Numbers | undefined;
  /** With, for each value, its place in scale and shift. */
  readonly modulation?: { scale: Numbers; shift: Numbers; place: ArrayLike<number> } | undefined;
  readonly residual?: Numbers | undefined;
  readonly gate?: Numbers | undefined;
}

/** silu and its derivative. */
const silu = ACTIVATIONS.silu;

export function forward(around: Around, g: Geometry) {
  const { x, gamma, beta, stream, modulation, residual, gate, activation } = around;
  // The new stream is float32, and it is what is normalized.
  const input = stream ? Float64Array.from(x, (value, i) => Math.fround(value + stream[i]!)) : x;
  const statistics = reference.statistics(input, g, around);
  const { y: n, xhat } = reference.forward(input, g, statistics, { gamma, beta });
  const act = ACTIVATIONS[activation];
  const y = new Float64Array(g.size);
  const before = new Float64Array(g.size);
  const bound = new Float64Array(g.size);
  for (let i = 0; i < g.size; i++) {
    const c = modulation?.place[i] ?? 0;
    const factor = modulation ? 1 + modulation.scale[c]! : 1;
    const shift = modulation ? modulation.shift[c]! : 0;
    before[i] = n[i]! * factor + shift + (residual?.[i] ?? 0);
    const a = act.value(before[i]!);
    const through = gate ? silu.value(gate[i]!) : 1;
    y[i] = a * through;
    const scale = Math.abs(gamma ? gamma[g.parameter[i]!]! : 1) * Math.max(1, Math.abs(xhat[i]!));
    const inner =
      (4 * u * scale + 0.5 * u * Math.abs(n[i]!)) * Math.abs(factor) +
      u * (Math.abs(n[i]! * factor) + Math.abs(shift) + Math.abs(before[i]!));
    // No activation is steeper than 1.2.
    bound[i] =
      (1.2 * inner + 4 * u * Math.abs(a)) * Math.abs(through) +
      (gate ? 5 * u * Math.abs(y[i]!) : 0) +
      2 ** -148;
  }
  return { input, statistics, n, xhat, before, y, bound };
}

export function backward(around: Around, dy: Numbers, g: Geometry) {
  const { gamma, modulation, gate, activation } = around;
  const { input, statistics, n, before, bound: _ } = forward(around, g);
  const act = ACTIVATIONS[activation];
  const dn = new Float64Array(g.size);
  const dresidual = new Float64Array(g.size);
  const dgate = new Float64Array(g.size);
  const rows = modulation ? modulation.scale.length : 0;
  const dscale = new Float64Array(rows);
  const dshift = new Float64Array(rows);
  const dscaleSize = new Float64Array(rows);
  const dshiftSize = new Float64Array(rows);
  const upper = new Float64Array(g.size);
  for (let i = 0; i < g.size; i++) {
    const a = act.value(before[i]!);
    const through = gate ? silu.value(gate[i]!) : 1;
    if (gate) dgate[i] = dy[i]! * a * silu.slope(gate[i]!);
    dresidual[i] = dy[i]! * through * act.slope(before[i]!);
    const c = modulation?.place[i] ?? 0;
    const factor = modulation ? 1 + modulation.scale[c]! : 1;
    dn[i] = dresidual[i]! * factor;
    if (modulation) {
      dscale[c]! += dresidual[i]! * n[i]!;
      dshift[c]! += dresidual[i]!;
      dscaleSize[c]! += Math.abs(dy[i]! * through * n[i]!);
      dshiftSize[c]! += Math.abs(dy[i]! * through);
    }
    upper[i] = Math.abs(dy[i]! * through * factor);
  }
  const want = reference.backward(input, dn, g, statistics, { gamma, centered: around.centered });
  // By group, the largest gradient that could come to the kernels.
  const largest = new Float64Array(g.groups);
  for (let i = 0; i < g.size; i++) {
    const k = g.group[i]!;
    const size = upper[i]! * Math.abs(gamma ? gamma[g.parameter[i]!]! : 1);
    largest[k] = Math.max(largest[k]!, size);
  }
  const dxBound = Float64Array.from(input, (value, i) => {
    const k = g.group[i]!;
    const rstd = statistics.rstd[k]!;
    // The value's own float32 rounding can lie on the other side of a kink, which no bound covers; inputs keep away from them.
    return 16 * u * rstd * largest[k]! * Math.max(1, Math.abs((value - statistics.mean[k]!) * rstd));
  });
  return { ...want, dn, dresidual, dgate, dscale, dshift, dscaleSize, dshiftSize, upper, dxBound, before };
}
