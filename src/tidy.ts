// Scopes that give memory back: what is made in one, and not returned from it, is disposed of at its end.
import { typeError } from "./errors.js";

interface Disposable {
  dispose(): void;
}

/** How deep `tidy` looks for Tensors in what its function returns. */
const DEPTH = 8;

/** What each open scope has made so far, the innermost last. */
const scopes: Set<Disposable>[] = [];

/** Notes what was made, for the scope that is open, if one is. */
export function made(tensor: Disposable): void {
  scopes.at(-1)?.add(tensor);
}

/** Forgets what was disposed of before its scope ended. */
export function unmade(tensor: Disposable): void {
  for (const scope of scopes) scope.delete(tensor);
}

const isThenable = (value: unknown): value is PromiseLike<unknown> =>
  typeof value === "object" &&
  value !== null &&
  typeof (value as Partial<PromiseLike<unknown>>).then === "function";

/** Adds to `kept` what of `scope` can be reached from `value`; typed arrays are not walked through. */
function find(
  scope: Set<unknown>,
  value: unknown,
  depth: number,
  kept: Set<unknown>,
  seen: Set<object>,
): void {
  if (typeof value !== "object" || value === null || seen.has(value)) return;
  seen.add(value);
  if (scope.has(value)) kept.add(value);
  else if (depth > 0 && !ArrayBuffer.isView(value)) {
    const holds = value instanceof Map || value instanceof Set || Array.isArray(value);
    for (const part of holds ? value.values() : Object.values(value))
      find(scope, part, depth - 1, kept, seen);
  }
}

/**
 * Runs `fn` and disposes of every Tensor that was made while it ran and is not in what it returns: a Tensor, or arrays,
 * objects, Maps and Sets that hold Tensors, to a depth of 8. What is returned belongs to the `tidy` around it, if there is
 * one. A Tensor that a layer keeps for its backward counts as any other: run forward and backward in one `tidy`.
 *
 * @throws what `fn` throws, once all that it made is disposed of; TypeError for a promise, whose work would go on with
 *   disposed Tensors
 */
export function tidy<T>(fn: () => T): T {
  if (typeof fn !== "function") throw typeError("tidy", "a function", fn);
  const scope = new Set<Disposable>();
  scopes.push(scope);
  const kept = new Set<unknown>();
  try {
    const result = fn();
    if (isThenable(result)) {
      // Its outcome no longer matters, and must not come up as an unhandled rejection.
      if (result instanceof Promise) result.catch(() => {});
      throw new TypeError(
        "tidy: expected a function that is done when it returns, got one that returns a promise",
      );
    }
    find(scope, result, DEPTH, kept, new Set());
    return result;
  } catch (error) {
    kept.clear();
    throw error;
  } finally {
    scopes.splice(scopes.indexOf(scope), 1);
    for (const tensor of scope) {
      if (kept.has(tensor)) made(tensor);
      else tensor.dispose();
    }
  }
}
