/** Reads what a call adds around the normalization. */
import { FIRST_LATE } from "../engine/activation.js";
import { type Extras, type Kept, ownPlaceOf } from "../engine/extras.js";
import { type Geometry, parametersOf, valuesOf } from "../engine/geometry.js";
import { type Operand, ownPlace, readOperand, readOutput, readSized } from "../engine/operand.js";
import { rangeError } from "../errors.js";
import type { LayerCore } from "./core.js";
import type { Call } from "./options.js";

/** Rows of modulation that a minibatch may have: one for each example; where examples are rows, also one for each position, or one. */
function conditionsOf(core: LayerCore, shape: readonly number[], g: Geometry): number[] {
  if (core.family.rows === undefined || g.turned !== undefined) return [shape[0] ?? 1];
  const lead = shape.length - core.family.rows;
  const counts = [1];
  for (const extent of shape.slice(0, lead)) counts.push(counts.at(-1)! * extent);
  return counts;
}

function readCondition(
  who: string,
  name: string,
  value: unknown,
  counts: number[],
  channels: number,
): Operand {
  const operand = readOperand(who, name, value);
  if (!counts.some((count) => count * channels === operand.size)) {
    throw rangeError(
      who,
      `${name} to have ${counts.map((count) => count * channels).join(" or ")} values`,
      operand.size,
    );
  }
  return operand;
}

/** @throws TypeError, RangeError */
export function readExtras(
  core: LayerCore,
  who: string,
  call: Call,
  shape: readonly number[],
  g: Geometry,
  residual: Operand | undefined,
  cast: boolean,
): Extras | undefined {
  const { modulation, stream: s, gate: z } = call;
  // After a rounding amid the kernels' work all that follows is a stage's.
  const follows = cast && (residual !== undefined || core.activation > 0);
  if (s === undefined && z === undefined && !modulation && core.activation < FIRST_LATE && !follows) return;
  const stream = s === undefined ? undefined : readOutput(who, "stream", s, shape);
  const gate = z === undefined ? undefined : readSized(who, "gate", z, shape);
  let bytes = 0;
  const owners: unknown[] = [];
  const keep = (operand: Operand | undefined, owner: unknown): Kept | undefined => {
    if (!operand) return undefined;
    if (ownPlaceOf(operand, g) !== undefined) {
      owners.push(owner);
      return { operand, offset: -1 };
    }
    const offset = bytes;
    bytes += (4 * operand.size + 63) & ~63;
    return { operand, offset };
  };
  let scale: Kept | undefined;
  let shift: Kept | undefined;
  let perCondition = 1;
  if (modulation) {
    const channels = parametersOf(g);
    const counts = conditionsOf(core, shape, g);
    const scales = readCondition(who, "modulation.scale", modulation.scale, counts, channels);
    const shifts = readCondition(
      who,
      "modulation.shift",
      modulation.shift,
      [scales.size / (channels || 1)],
      channels,
    );
    scale = keepPlain(scales, modulation.scale);
    shift = keepPlain(shifts, modulation.shift);
    const rows = g.length > 1 && !g.perElement ? scales.size : valuesOf(g) / (channels || 1);
    perCondition = Math.max(1, rows / (scales.size / (g.length > 1 && !g.perElement ? 1 : channels || 1)));
  }
  // A row of modulation lies as kernels take it, whatever the layout.
  function keepPlain(operand: Operand, owner: unknown): Kept {
    if (ownPlace(operand) !== undefined) {
      owners.push(owner);
      return { operand, offset: -1 };
    }
    const offset = bytes;
    bytes += (4 * operand.size + 63) & ~63;
    return { operand, offset };
  }
  const late = modulation || gate || cast || core.activation >= FIRST_LATE ? core.activation : 0;
  const again = late !== 0 || gate !== undefined;
  return {
    stream,
    scale,
    shift,
    gate: keep(gate, z),
    residual: modulation || again ? keep(residual, call.residual) : undefined,
    lateResidual: residual !== undefined && (modulation !== undefined || cast),
    late,
    perCondition,
    bytes,
    owners,
  };
}
