/**
 * Plain JavaScript, written with care: sums in float64, the variance in a second pass about the mean, memory
 * walked in its own order, nothing allocated in a call.
 */
import { sizeOf } from "../shapes.ts";
import type { Inputs, Open, Prepared } from "./contender.ts";
import { epsOf } from "./contender.ts";
import * as columns from "./plain-js/columns.ts";
import type { Norm } from "./plain-js/norm.ts";
import * as planes from "./plain-js/planes.ts";
import * as rows from "./plain-js/rows.ts";

export const open: Open = () => ({ prepare });

function prepare(inputs: Inputs): Prepared {
  const { shape } = inputs;
  const walk = shape.family !== "batch-norm" ? rows : shape.layout === "channels-last" ? columns : planes;
  const size = sizeOf(shape);
  const column = () => new Float64Array(shape.c);
  const norm: Norm = {
    n: walk === columns ? size / shape.c : shape.n,
    c: shape.c,
    s: walk === columns ? 1 : shape.h * shape.w,
    centered: shape.family !== "rms-norm",
    eps: epsOf(shape),
    x: inputs.read("x"),
    dy: inputs.read("dy"),
    y: new Float32Array(size),
    dx: new Float32Array(size),
    gamma: inputs.read("gamma"),
    beta: shape.family === "rms-norm" ? new Float32Array(shape.c) : inputs.read("beta"),
    dgamma: new Float32Array(shape.c),
    dbeta: new Float32Array(shape.c),
    mean: new Float64Array(walk === rows ? shape.n : shape.c),
    rstd: new Float64Array(walk === rows ? shape.n : shape.c),
    work: [column(), column(), column(), column(), column()],
  };
  walk.forward(norm);
  const { y, dx, dgamma, dbeta } = norm;
  const ops: Prepared["ops"] = {
    train: { run: () => walk.forward(norm), outputs: () => ({ y }) },
    backward: { run: () => walk.backward(norm), outputs: () => ({ dx, dgamma, dbeta }) },
  };
  if (walk !== rows) {
    const running = { ...norm, mean: Float64Array.from(inputs.read("mean")), rstd: column() };
    const variance = Float64Array.from(inputs.read("var"));
    // From the mean and the variance in each call, as the others.
    const run = () => {
      for (let j = 0; j < shape.c; j++) running.rstd[j] = 1 / Math.sqrt(variance[j]! + norm.eps);
      walk.normalize(running);
    };
    ops.eval = { run, outputs: () => ({ y }) };
  }
  return { ops, close: () => {} };
}
