/** Reads and judges what a forward is given, before anything has changed. */
import { checkLength } from "../arrays.js";
import type { Element } from "../element.js";
import type { Correction } from "../engine/context.js";
import type { Extras } from "../engine/extras.js";
import { countOf, type Geometry } from "../engine/geometry.js";
import { flagsOf, isApart, leastOf, unitOf } from "../engine/masked.js";
import { NEW, type Operand, readOperand, readOutput, readSized } from "../engine/operand.js";
import { type Segments, segmentsOf } from "../engine/segments.js";
import { rangeError, typeError } from "../errors.js";
import type { LayerCore } from "./core.js";
import { readExtras } from "./extras.js";
import { type Call, readCall } from "./options.js";
import type { Vectors } from "./parameters.js";

/** A forward's arguments, read and found fit. */
export interface Prepared {
  call: Call;
  /** These two alone change where a call is made again. */
  vectors: Vectors;
  from: Operand;
  shape: readonly number[];
  geometry: Geometry;
  into: Operand | undefined;
  residual: Operand | undefined;
  extras: Extras | undefined;
  segments: Segments | undefined;
  count: number;
  /** The statistics are running ones. */
  frozen: boolean;
  /** What batch renormalization makes of the minibatch's statistics. */
  correction: Correction | undefined;
  /** What the normalized values are rounded to before gamma multiplies them; 0: nothing. */
  cast: Element;
}

/** Reads all arguments. What may run code of the caller's comes first. @throws TypeError, RangeError */
export function read(core: LayerCore, who: string, x: unknown, out: unknown, options: unknown): Prepared {
  const { family, training } = core;
  const call = readCall(core, who, options, options === undefined ? 0 : readOperand(who, "x", x).size);
  const vectors = core.learned.read(who);
  core.checkAlive(who);
  const from = readOperand(who, "x", x);
  const shape = call.shape ?? from.shape ?? family.shapeOf(who, from.size);
  if (shape !== from.shape) checkLength(who, "x", shape, from.size);
  const geometry = core.cut(who, shape);
  const into = out === NEW ? undefined : readOutput(who, "out", out, shape);
  if (training && x === out && call.stream === undefined)
    throw typeError(who, "out to be another than x in training", out);
  const frozen = core.frozen();
  family.running?.check(who);
  const residual = call.residual === undefined ? undefined : readSized(who, "residual", call.residual, shape);
  const cast = family.casting ? from.element : 0;
  const extras = readExtras(core, who, call, shape, geometry, residual, cast > 0);
  const segments = call.flags && segmentsOf(who, call.flags, flagsOf(geometry), unitOf(geometry));
  const count = segments
    ? segments.rows * (geometry.perElement ? geometry.length : geometry.width)
    : countOf(geometry);
  const least = segments && isApart(geometry) ? leastOf(geometry, segments) : count;
  if (training && from.size > 0 && least < family.least && !(segments && count === 0)) {
    const counted = segments ? " unmasked" : "";
    throw rangeError(who, `at least ${family.least}${counted} values for each statistic in training`, least);
  }
  return {
    call,
    vectors,
    from,
    shape,
    geometry,
    into,
    residual,
    extras,
    segments,
    count,
    frozen,
    correction: undefined,
    cast,
  };
}
