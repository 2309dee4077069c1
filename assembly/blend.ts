/** What a layer keeps from minibatch to minibatch, in float32, and takes a minibatch's part of, in float64. */
import { demote, high, low } from "./simd/lanes";

/** `rest * old + share * from` of four channels, in float64. */
// @ts-ignore: a decorator on a function, which AssemblyScript has and TypeScript does not
@inline function mix(old: v128, from: usize, rest: f64, share: f64): v128 {
  const r = f64x2.splat(rest);
  const s = f64x2.splat(share);
  return demote(
    f64x2.add(f64x2.mul(r, low(old)), f64x2.mul(s, v128.load(from))),
    f64x2.add(f64x2.mul(r, high(old)), f64x2.mul(s, v128.load(from, 16))),
  );
}

// @ts-ignore: a decorator on a function, which AssemblyScript has and TypeScript does not
@inline function finite(v: v128): v128 {
  return f32x4.lt(f32x4.abs(v), f32x4.splat(f32(Infinity)));
}

/**
 * Takes two float64 vectors, `fromA` and `fromB`, of `n` channels, into two of float32: `a = rest * a + shareA * fromA`, and so
 * b. A channel where either comes out not finite keeps its own, unless `any` is -1 and not 0; returns how many do.
 */
export function blend(
  n: usize, a: usize, b: usize, fromA: usize, fromB: usize, rest: f64, shareA: f64, shareB: f64, any: i32,
): u32 {
  let kept: u32 = 0;
  for (let c: usize = 0; c < n; c += 4) {
    const oldA = v128.load(a);
    const oldB = v128.load(b);
    const newA = mix(oldA, fromA, rest, shareA);
    const newB = mix(oldB, fromB, rest, shareB);
    const both = v128.and(finite(newA), finite(newB));
    const fit = v128.or(both, i32x4.splat(any));
    v128.store(a, v128.bitselect(newA, oldA, fit));
    v128.store(b, v128.bitselect(newB, oldB, fit));
    // Lanes beyond the last channel hold anything.
    const lanes = u32(min<usize>(n - c, 4));
    kept += popcnt<u32>(~i32x4.bitmask(fit) & ((1 << lanes) - 1));
    fromA += 32;
    fromB += 32;
    a += 16;
    b += 16;
  }
  return kept;
}
