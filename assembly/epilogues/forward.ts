/**
 * What happens to a vector after it is normalized: a policy, chosen for a pass. A kernel is generic in it, written once, and calls
 * its methods, which are inlined: what a policy does not do costs nothing.
 *
 *     v = affine(d, a, b, residual)    the affine map, before the activation
 *     note(v, bits)                    what backward cannot decide again
 *     y = clamp(v, floor)              ReLU, or nothing
 *
 * Policies have no state: `changetype<E>(0)` is one. Both serve with ReLU and without, by a floor of 0 or of -Infinity. That is an
 * instruction more where there is none (down columns, forward: 64 x 64 takes 1.05 times as long, 256 x 256 1.02), and half the
 * instances, which have 0.2 to 0.9 kB each. ReLU takes at most 1.05 times the time without. A residual takes 1.5 to 2 times, and
 * its reading is most of that.
 */
import { loadTail, madd, maddTo, passBits } from "../simd/lanes";

/** What `clamp` goes by. */
// @ts-ignore: decorator
@inline export function floorOf(relu: bool): v128 {
  return f32x4.splat(relu ? 0 : -Infinity);
}

/** The larger of `v` and the floor; NaN stays. */
// @ts-ignore: decorator
@inline export function clamp(v: v128, floor: v128): v128 {
  return f32x4.pmax(v, floor);
}

@unmanaged
export abstract class Epilogue {
  /** `d * a + b`, plus the residual's four values `at` bytes on. */
  abstract affine(d: v128, a: v128, b: v128, residual: usize, at: usize): v128;

  /** The same, where the residual has the first `n` values alone. */
  abstract tail(d: v128, a: v128, b: v128, residual: usize, n: usize): v128;

  /** Keeps a bit for each value from lane `skip` on, in the byte `at` bytes on. */
  abstract note(v: v128, bits: usize, at: usize, skip: u32): void;
}

/** The affine map alone. */
@unmanaged
@final
export class Plain extends Epilogue {
  @inline affine(d: v128, a: v128, b: v128, residual: usize, at: usize): v128 {
    return madd(d, a, b);
  }

  @inline tail(d: v128, a: v128, b: v128, residual: usize, n: usize): v128 {
    return madd(d, a, b);
  }

  @inline note(v: v128, bits: usize, at: usize, skip: u32): void {}
}

/** With a residual, and bits, each where there is one: with the residual gone, backward cannot decide again. */
@unmanaged
@final
export class Added extends Epilogue {
  @inline affine(d: v128, a: v128, b: v128, residual: usize, at: usize): v128 {
    return residual ? maddTo(d, a, b, v128.load(residual + at)) : madd(d, a, b);
  }

  @inline tail(d: v128, a: v128, b: v128, residual: usize, n: usize): v128 {
    return residual ? maddTo(d, a, b, loadTail(residual, n)) : madd(d, a, b);
  }

  @inline note(v: v128, bits: usize, at: usize, skip: u32): void {
    if (bits) store<u8>(bits + at, passBits(v) >> skip);
  }
}
