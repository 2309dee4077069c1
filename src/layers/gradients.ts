/** The places of what a backward gives beside dx: the gradients of residual, stream, modulation and gate. */
import type { Saved } from "../engine/context.js";
import { bring, carry, placeOf } from "../engine/extras.js";
import type { Geometry } from "../engine/geometry.js";
import { drop, type Minibatch, newLike, type Operand, readOperand, readOutput } from "../engine/operand.js";
import { rangeError, typeError } from "../errors.js";
import type { Runtime } from "../runtime/runtime.js";
import type { Scratch } from "../runtime/scratch.js";
import type { LayerCore } from "./core.js";
import type { BackwardCall } from "./options.js";

/** @throws TypeError where a gradient is asked for of what the forward was not given */
export function checkAsked(who: string, call: BackwardCall, saved: Saved): void {
  const refuse = (name: string, got: unknown, what: string, given: boolean) => {
    if (got !== undefined && !given) throw typeError(who, `no ${name} without a ${what}`, got);
  };
  refuse("residualGrad", call.residualGrad, "residual", saved.residual);
  refuse("stream", call.stream, "stream", saved.extras?.stream !== undefined);
  refuse("modulationGrad", call.modulationGrad, "modulation", saved.extras?.scale !== undefined);
  refuse("gateGrad", call.gateGrad, "gate", saved.extras?.gate !== undefined);
}

/** A gradient and where it lies. */
interface Gradient {
  minibatch: Minibatch;
  operand: Operand;
  address: number;
  /** It was made for this call. */
  fresh: boolean;
  geometry: Geometry;
}

/** All of a call. */
export class FurtherGradients {
  residual: Gradient | undefined;
  stream: Gradient | undefined;
  scale: Gradient | undefined;
  shift: Gradient | undefined;
  gate: Gradient | undefined;

  /** @param like dy: what is made for the caller is of its kind. @throws TypeError, RangeError */
  constructor(
    who: string,
    call: BackwardCall,
    saved: Saved,
    g: Geometry,
    scratch: Scratch,
    like: Operand,
    fresh: boolean,
  ) {
    const { extras, shape } = saved;
    const plain = g.turned === undefined ? g : { ...g, turned: undefined };
    try {
      const take = (name: string, value: unknown, own: readonly number[], geometry: Geometry) => {
        if (value === undefined && !fresh) return undefined;
        const minibatch = (value as Minibatch | undefined) ?? newLike(sized(like, own), own);
        const gradient: Gradient = {
          minibatch,
          operand: like,
          address: 0,
          fresh: value === undefined,
          geometry,
        };
        this.#all.push(gradient);
        gradient.operand =
          own === shape ? readOutput(who, name, minibatch, own) : readLength(who, name, minibatch, own);
        gradient.address = placeOf(scratch, gradient.operand, geometry);
        return gradient;
      };
      if (saved.residual) this.residual = take("residualGrad", call.residualGrad, shape, g);
      if (call.stream !== undefined) this.stream = take("stream", call.stream, shape, g);
      if (extras?.scale) {
        const own = extras.scale.operand.shape ?? [extras.scale.operand.size];
        this.scale = take("modulationGrad.scale", call.modulationGrad?.scale, own, plain);
        this.shift = take("modulationGrad.shift", call.modulationGrad?.shift, own, plain);
      }
      if (extras?.gate) this.gate = take("gateGrad", call.gateGrad, shape, g);
    } catch (error) {
      this.drop();
      throw error;
    }
  }

  readonly #all: Gradient[] = [];

  /** The stream's gradient, as it comes down. */
  bringStream(held: Runtime, scratch: Scratch): void {
    const { stream } = this;
    if (stream) bring(held, scratch, stream.operand, stream.address, stream.geometry);
  }

  /** Those whose values do not come about where nothing is there. */
  clear(held: Runtime): void {
    for (const gradient of this.#all) {
      if (gradient === this.stream) continue;
      const { address, operand } = gradient;
      held.f32.fill(0, address / 4, address / 4 + operand.size);
    }
  }

  carryOut(held: Runtime, scratch: Scratch): void {
    for (const { operand, address, geometry } of this.#all) carry(held, scratch, operand, address, geometry);
  }

  /** Hands them to the layer. */
  settle(core: LayerCore): void {
    core.residualGrad = this.residual?.minibatch ?? null;
    core.gateGrad = this.gate?.minibatch ?? null;
    core.modulationGrad =
      this.scale && this.shift ? { scale: this.scale.minibatch, shift: this.shift.minibatch } : null;
  }

  /** Gives up what was made. */
  drop(): void {
    for (const { fresh, minibatch } of this.#all) if (fresh) drop(minibatch);
  }
}

const sized = (like: Operand, shape: readonly number[]): Operand =>
  ({ ...like, array: like.array, size: shape.reduce((a, b) => a * b, 1) }) as Operand;

function readLength(who: string, name: string, value: unknown, shape: readonly number[]): Operand {
  const operand = readOperand(who, name, value);
  const size = shape.reduce((a, b) => a * b, 1);
  if (operand.size !== size) throw rangeError(who, `${name} to have ${size} values`, operand.size);
  return operand;
}
