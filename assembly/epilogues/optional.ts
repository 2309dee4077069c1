/** Epilogues whose operands may be missing: ReLU that keeps its decisions has a residual or none, and bits or none. */
import { madd, passBits } from "../simd/lanes";
import { Epilogue } from "./epilogue";

/** The affine map, with the residual at an address or, for 0, without. */
// @ts-ignore: decorator
@inline export function affine<E extends Epilogue>(d: v128, a: v128, b: v128, residual: usize, at: usize): v128 {
  const e = changetype<E>(0);
  if (e.writesBits()) return residual ? e.affine(d, a, b, residual + at) : madd(d, a, b);
  return e.affine(d, a, b, residual + at);
}

/** Keeps a vector's decisions where there is room for them. */
// @ts-ignore: decorator
@inline export function note<E extends Epilogue>(v: v128, bits: usize, at: usize): void {
  if (changetype<E>(0).writesBits() && bits) store<u8>(bits + at, passBits(v));
}

/** Whether backward takes the activation's decisions again, and so needs the forward's coefficients. */
// @ts-ignore: decorator
@inline export function decidesAgain<E extends Epilogue>(): bool {
  const e = changetype<E>(0);
  return e.masks() && !e.writesBits();
}
