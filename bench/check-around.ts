/** Holds what comes out of a norm with something around it against the float64 reference. */
import * as around from "../test/around.ts";
import * as contract from "../test/contract.ts";
import * as reference from "../test/reference.ts";
import { type Check, SAME_OPERATION } from "./check.ts";
import type { Op, OutputName } from "./contenders/contender.ts";
import { epsOf } from "./contenders/contender.ts";
import type { Data } from "./data.ts";
import { POSITIONS, type Shape } from "./shapes.ts";

const FAMILIES = { "batch-norm": "batch", "layer-norm": "layer", "rms-norm": "rms" } as const;

type Want = {
  value: ArrayLike<number>;
  bound?: ArrayLike<number>;
  /** Whether either side of ReLU's kink will do: where the norm's own rounding decides. */
  either?: (index: number) => boolean;
  /** What a sum may gain or lose where that is so. */
  slack?: ArrayLike<number>;
};

/** How near to ReLU's kink that is: a hundred times what plain float32 sums lose. */
const NEAR = 1e-3;

export class AroundChecker implements Check {
  readonly #shape: Shape;
  readonly #data: Data;
  /** By operation, as far as it was asked for: both passes with what is around, and both of the norm alone. */
  readonly #want = new Map<Op, Partial<Record<OutputName, Want>>>();

  constructor(shape: Shape, data: Data) {
    this.#shape = shape;
    this.#data = data;
  }

  verify(
    op: Op,
    outputs: Partial<Record<OutputName, Float32Array>>,
    held: "to the contract" | "loosely",
  ): number {
    if (op === "copy") {
      const verdict = contract.compare(outputs.y!, this.#data.x, { what: "y", limit: 0, scale: () => 1 });
      contract.expectHolds(verdict, this.#shape.name);
      return 0;
    }
    let want = this.#want.get(op);
    if (!want) this.#want.set(op, (want = this.#compute(op)));
    let worst = 0;
    for (const [name, got] of Object.entries(outputs)) {
      const { value, bound, either, slack } = want[name as OutputName]!;
      const strict = held === "to the contract" && bound;
      let largest = 0;
      for (let i = 0; i < value.length; i++) largest = Math.max(largest, Math.abs(value[i]!));
      // In units of what the contract allows, or, loosely, of u times the largest value.
      const unit = strict
        ? (i: number) => bound[i]! / contract.u
        : (i: number) => largest + (slack?.[i] ?? 0) / (SAME_OPERATION * contract.u);
      const scale = (i: number) => (either?.(i) ? Infinity : unit(i));
      const limit = strict ? 1 : SAME_OPERATION;
      const verdict = contract.compare(got, value, { what: name, limit, scale });
      contract.expectHolds(verdict, `${this.#shape.name}, ${op}`);
      if (strict) worst = Math.max(worst, verdict.units);
    }
    return worst;
  }

  #compute(op: Op): Partial<Record<OutputName, Want>> {
    const { family, n, c } = this.#shape;
    const { dy, z } = this.#data;
    const alone = op === "norm" || op === "norm-backward";
    const geometry = reference.describe({ family: FAMILIES[family], shape: [n, c] });
    const subject = this.#subject(alone);
    if (op === "train" || op === "norm") {
      const { y, bound } = around.forward(subject, geometry);
      return { y: { value: y, bound } };
    }
    const want = around.backward(subject, dy, geometry);
    const { dx, dgamma, dbeta, dgate, dscale, dshift, dxBound, before } = want;
    // What goes on down a stream is what came down it and dx.
    const streamed = !alone && this.#shape.around === "stream";
    const gradient = streamed ? Float64Array.from(dx, (d, i) => d + z![i]!) : dx;
    const bound = streamed ? dxBound.map((b, i) => b + contract.u * Math.abs(gradient[i]!)) : dxBound;
    const either = (i: number) => subject.activation === "relu" && Math.abs(before[i]!) < NEAR;
    // |xhat| hardly ever exceeds 6.
    const slack = new Float64Array(c);
    for (let i = 0; i < dy.length; i++) if (either(i)) slack[i % c]! += 6 * Math.abs(dy[i]!);
    return {
      dx: { value: gradient, bound, either },
      dgamma: { value: dgamma, slack },
      dbeta: { value: dbeta, slack },
      dz: { value: dgate },
      dscale: { value: dscale },
      dshift: { value: dshift },
    };
  }

  #subject(alone: boolean): around.Around {
    const { family, c, around: what } = this.#shape;
    const { x, gamma, beta, z, scale, shift } = this.#data;
    const centered = family !== "rms-norm";
    const plain = { x, gamma, beta: centered ? beta : null, eps: epsOf(this.#shape), centered };
    if (alone) return { ...plain, activation: "none" };
    const place = () => Int32Array.from(x, (_, i) => Math.floor(i / (POSITIONS * c)) * c + (i % c));
    return {
      ...plain,
      activation: what === "relu" || what === "silu" || what === "gelu" ? what : "none",
      ...(what === "residual" && { residual: z }),
      ...(what === "stream" && { stream: z }),
      ...(what === "gate" && { gate: z }),
      ...(what === "modulation" && { modulation: { scale: scale!, shift: shift!, place: place() } }),
    };
  }
}
