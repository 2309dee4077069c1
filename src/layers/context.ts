import type { Context } from "../engine/context.js";
import { disposed, read, typeError } from "../errors.js";
import type { LayerCore } from "./core.js";

let coreOf: (value: object) => { owner: LayerCore; context: Context } | undefined;

/**
 * A place of its own for what a forward leaves for its backward, made by `layer.context()`: for a layer that is run more than
 * once before its backwards (shared or recurrent layers, several minibatches in flight, recomputation).
 */
export class ForwardContext {
  readonly #owner: LayerCore;
  readonly #context: Context;

  static {
    coreOf = (value) =>
      #owner in value
        ? { owner: (value as ForwardContext).#owner, context: (value as ForwardContext).#context }
        : undefined;
  }

  /** @internal */
  constructor(owner: LayerCore, context: Context) {
    this.#owner = owner;
    this.#context = context;
  }

  /** Gives its memory back; a second call does nothing, any other use is an error from then on. */
  dispose(): void {
    if (this.#context.released) return;
    this.#owner.forget(this.#context);
    this.#context.release();
  }

  /** The same as `dispose`, for `using`. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The inside of a context that was given for `core`. @throws TypeError unless it is one of that layer, and in use */
export function readContext(who: string, core: LayerCore, value: unknown): Context {
  const inside =
    typeof value === "object" && value !== null ? read(who, "context", () => coreOf(value)) : undefined;
  if (inside?.owner !== core)
    throw typeError(who, "context to be one that this layer's context() made", value);
  if (inside.context.released) throw disposed(who, "a context");
  return inside.context;
}
