// Compiled by test/simd/sweep.ts, never shipped: the vocabulary's functions and the activations over a stretch of memory.
import { erf, exp, tanh } from "../simd/exp";
import { applyActivation, applyDerivative } from "./stretch";

/** `kind` below 16: an activation's value; from 16 on its derivative; 32 `exp`, 33 `erf`, 34 `tanh`. `n` is a multiple of 4. */
export function run(kind: u32, from: usize, to: usize, n: usize): void {
  if (kind < 32) {
    if (kind < 16) {
      memory.copy(to, from, n << 2);
      applyActivation(kind, to, n);
    } else {
      for (let i: usize = 0; i < n; i++) store<f32>(to + (i << 2), 1);
      applyDerivative(kind - 16, to, from, to, n);
    }
    return;
  }
  for (const end = to + (n << 2); to < end; to += 16) {
    const x = v128.load(from);
    v128.store(to, kind == 32 ? exp(x) : kind == 33 ? erf(x) : tanh(x));
    from += 16;
  }
}
