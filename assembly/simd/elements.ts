/**
 * How float16 and bfloat16 lie in memory: eight of them widened to two vectors of float32, and rounded from these, ties to even.
 * There is no instruction for either. What is rare (subnormals of float16, infinities, NaN) has a branch of its own, which leaves
 * 1.5 to 3 operations a value. Every NaN keeps as much of its payload as fits, so that all 65,536 values come back as they were.
 */

/** A type of 16 bits. Policies have no state: `changetype<E>(0)` is one. */
@unmanaged
export abstract class Element {
  /** Whether any of eight is none that `low` and `high` take. */
  abstract isSpecial(h: v128): bool;
  /** The first four of eight, as float32; `special` for those that may be. */
  abstract low(h: v128, special: bool): v128;
  /** The last four. */
  abstract high(h: v128, special: bool): v128;
  /** Eight float32, rounded. */
  abstract round(a: v128, b: v128): v128;
}

/** Each of the first four 16-bit lanes in the upper half of a lane of 32 bits; then of the last four. */
// @ts-ignore: decorator
@inline function lowUp(h: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), h, 0, 8, 1, 9, 2, 10, 3, 11);
}
// @ts-ignore: decorator
@inline function highUp(h: v128): v128 {
  return v128.shuffle<i16>(i16x8.splat(0), h, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** The upper halves of eight lanes of 32 bits. */
// @ts-ignore: decorator
@inline function upper(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 1, 3, 5, 7, 9, 11, 13, 15);
}

/** The upper half of a float32. */
@unmanaged
@final
export class Bfloat16 extends Element {
  @inline isSpecial(h: v128): bool {
    return false;
  }

  @inline low(h: v128, special: bool): v128 {
    return lowUp(h);
  }

  @inline high(h: v128, special: bool): v128 {
    return highUp(h);
  }

  @inline round(a: v128, b: v128): v128 {
    const rounded = upper(nearest(a), nearest(b));
    const nan = v128.or(f32x4.ne(a, a), f32x4.ne(b, b));
    return v128.any_true(nan) ? bfloatsOfNan(a, b, rounded) : rounded;
  }
}

/** Rounds to the upper half, which a NaN does not survive. */
// @ts-ignore: decorator
@inline function nearest(u: v128): v128 {
  const odd = v128.and(i32x4.shr_u(u, 16), i32x4.splat(1));
  return i32x4.add(i32x4.add(u, i32x4.splat(0x7fff)), odd);
}

/** `rounded`, and in its place what is NaN: the upper half, quiet where its payload would vanish. */
function bfloatsOfNan(a: v128, b: v128, rounded: v128): v128 {
  const cut = upper(a, b);
  const size = v128.and(cut, i16x8.splat(0x7fff));
  const quiet = v128.and(i16x8.eq(size, i16x8.splat(0x7f80)), i16x8.splat(0x40));
  return v128.bitselect(v128.or(cut, quiet), rounded, i16x8.narrow_i32x4_s(f32x4.ne(a, a), f32x4.ne(b, b)));
}

/** IEEE 754's half precision: a sign, five bits of exponent, ten of fraction. */
@unmanaged
@final
export class Float16 extends Element {
  /** Subnormal, whose product would be slow, or not finite, whose exponent is another. */
  @inline isSpecial(h: v128): bool {
    const size = v128.and(h, i16x8.splat(0x7fff));
    // A subnormal's exponent becomes 1, that of what is not finite the sign.
    const edge = i16x8.lt_s(i16x8.add(size, i16x8.splat(0x400)), i16x8.splat(0x800));
    return v128.any_true(v128.andnot(edge, i16x8.eq(size, i16x8.splat(0))));
  }

  @inline low(h: v128, special: bool): v128 {
    return special ? widenSpecial(lowUp(h)) : rebias(lowUp(h));
  }

  @inline high(h: v128, special: bool): v128 {
    return special ? widenSpecial(highUp(h)) : rebias(highUp(h));
  }

  @inline round(a: v128, b: v128): v128 {
    // What is too large becomes infinity, what is negative here too small.
    const rounded = i16x8.min_u(i16x8.narrow_i32x4_u(shorten(a), shorten(b)), i16x8.splat(0x7c00));
    const top = upper(a, b);
    const size = v128.and(top, i16x8.splat(0x7fff));
    // From 2^-25, half the smallest subnormal, to 2^-14, the smallest normal number; moved to where a signed comparison serves.
    const subnormal = i16x8.lt_s(i16x8.sub(size, i16x8.splat(-0x4d00)), i16x8.splat(-0x7a80));
    const special = v128.or(subnormal, i16x8.gt_s(size, i16x8.splat(0x7f7f)));
    const magnitude = v128.any_true(special) ? halvesOfSpecial(a, b, rounded) : rounded;
    return v128.or(magnitude, v128.and(top, i16x8.splat(-0x8000)));
  }
}

/** From the half in the upper bits: fraction and exponent moved to their places, the exponent's bias made 127 by a product. */
// @ts-ignore: decorator
@inline function rebias(h: v128): v128 {
  const bits = v128.and(i32x4.shr_s(h, 3), i32x4.splat(0x8fffe000));
  return f32x4.mul(bits, f32x4.splat(reinterpret<f32>(0x77800000)));
}

/** The same for any half. */
function widenSpecial(h: v128): v128 {
  const sign = v128.and(h, i32x4.splat(0x80000000));
  const size = v128.and(i32x4.shr_u(h, 16), i32x4.splat(0x7fff));
  const small = f32x4.mul(f32x4.convert_i32x4_s(size), f32x4.splat(reinterpret<f32>(0x33800000)));
  const bits = i32x4.shl(size, 13);
  const large = v128.or(bits, i32x4.splat(0x7f800000));
  const normal = i32x4.add(bits, i32x4.splat(112 << 23));
  const finite = v128.bitselect(normal, large, i32x4.lt_s(size, i32x4.splat(0x7c00)));
  return v128.or(sign, v128.bitselect(small, finite, i32x4.lt_s(size, i32x4.splat(0x400))));
}

/** The bits of the nearest half without its sign, where that is a normal number. */
// @ts-ignore: decorator
@inline function shorten(v: v128): v128 {
  const size = v128.and(v, i32x4.splat(0x7fffffff));
  const odd = v128.and(i32x4.shr_u(size, 13), i32x4.splat(1));
  // The exponents' biases are 112 apart.
  return i32x4.shr_s(i32x4.add(i32x4.add(size, i32x4.splat(0xfff - (112 << 23))), odd), 13);
}

/** The magnitudes of eight halves: `rounded` where that is right, else what is subnormal, infinite or NaN. */
function halvesOfSpecial(a: v128, b: v128, rounded: v128): v128 {
  const subnormal = i16x8.narrow_i32x4_s(isSmall(a), isSmall(b));
  const small = i16x8.narrow_i32x4_u(shortenSmall(a), shortenSmall(b));
  const nan = i16x8.narrow_i32x4_s(f32x4.ne(a, a), f32x4.ne(b, b));
  const payload = i16x8.narrow_i32x4_u(payloadOf(a), payloadOf(b));
  return v128.bitselect(payload, v128.bitselect(small, rounded, subnormal), nan);
}

// @ts-ignore: decorator
@inline function isSmall(v: v128): v128 {
  return f32x4.lt(f32x4.abs(v), f32x4.splat(reinterpret<f32>(0x38800000)));
}

/** Below 2^-14: the last bit of 0.5 + v counts 2^-24, as a subnormal half's does. */
// @ts-ignore: decorator
@inline function shortenSmall(v: v128): v128 {
  return i32x4.sub(f32x4.add(f32x4.abs(v), f32x4.splat(0.5)), i32x4.splat(0x3f000000));
}

// @ts-ignore: decorator
@inline function payloadOf(v: v128): v128 {
  const payload = v128.and(i32x4.shr_u(v, 13), i32x4.splat(0x3ff));
  const quiet = v128.and(i32x4.eq(payload, i32x4.splat(0)), i32x4.splat(0x200));
  return v128.or(v128.or(payload, quiet), i32x4.splat(0x7c00));
}
