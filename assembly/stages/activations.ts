/**
 * Activations whose cost or whose number forbids to have them in the loops of kernels: a walk over a stretch of float32 while it is
 * in cache, two vectors a step. Each has its value and what it makes of a gradient; NaN and infinities go where PyTorch sends them.
 *
 * Worst errors without fused multiply-add: of the value at every float32 (as in simd/exp.ts), of the slope, in u of the larger of it
 * and 1, on a stride; and the time that the value takes in cache on a busy machine, a call over 1024 values:
 *
 *     silu       2.1 u, 1.8 u   1.4 ns       gelu-tanh   2.2 u          3.5 ns       tanh   1.3 u, 1.8 u   2.2 ns
 *     gelu       3.6 u, 1.7 u   2.8 ns       sigmoid     2.1 u, 0.5 u   1.3 ns
 *
 * Beside them in turns, silu from `e^-|z|` with a degree more and its signs mended took 2.2 ns, gelu with a polynomial of its own near
 * 0 took 3.8 ns and, at -0.79, 4.2 u. Loops with one body, be it that the tail is brought to a vector pair or that every load looks
 * for the end, take 1.0 to 1.8 times as long as those of stretch.ts; why was not found.
 */
import { exp, scaledExp, scaledExpMinus, scaledExpOf, scaledGauss, tailPolynomial, tailRatio, tanh, UNSCALE } from "../simd/exp";
import { high, low, demote, madd, relu } from "../simd/lanes";

/** 2^-32. */
// @ts-ignore: decorator
@inline const SMALL: f32 = 2.3283064365386963e-10;

// @ts-ignore: decorator
@inline function s(x: f32): v128 {
  return f32x4.splat(x);
}

/** An activation. Policies have no state: `changetype<A>(0)` is one. */
@unmanaged
export abstract class Activation {
  abstract value(z: v128): v128;
  /** `dy * act'(z)`. */
  abstract gradient(dy: v128, z: v128): v128;
}

@unmanaged
@final
export class Identity extends Activation {
  @inline value(z: v128): v128 {
    return z;
  }

  @inline gradient(dy: v128, z: v128): v128 {
    return dy;
  }
}

@unmanaged
@final
export class Relu extends Activation {
  @inline value(z: v128): v128 {
    return relu(z);
  }

  @inline gradient(dy: v128, z: v128): v128 {
    return v128.andnot(dy, f32x4.le(z, s(0)));
  }
}

/** `min(max(z, 0), 6)`. */
@unmanaged
@final
export class Relu6 extends Activation {
  @inline value(z: v128): v128 {
    return f32x4.pmin(f32x4.pmax(z, s(0)), s(6));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    return v128.andnot(dy, v128.or(f32x4.le(z, s(0)), f32x4.ge(z, s(6))));
  }
}

/** `z` above 0, `0.01 z` else. */
@unmanaged
@final
export class LeakyRelu extends Activation {
  @inline value(z: v128): v128 {
    return v128.bitselect(z, f32x4.mul(z, s(0.01)), f32x4.gt(z, s(0)));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    return v128.bitselect(dy, f32x4.mul(dy, s(0.01)), f32x4.gt(z, s(0)));
  }
}

/** `z * min(max(z + 3, 0), 6) / 6`. */
@unmanaged
@final
export class HardSwish extends Activation {
  @inline value(z: v128): v128 {
    return f32x4.mul(z, f32x4.div(f32x4.pmin(f32x4.pmax(f32x4.add(z, s(3)), s(0)), s(6)), s(6)));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    const between = f32x4.mul(dy, f32x4.add(f32x4.div(z, s(3)), s(0.5)));
    return v128.andnot(v128.bitselect(between, dy, f32x4.lt(z, s(3))), f32x4.lt(z, s(-3)));
  }
}

/** `1 / (1 + e^-|z|)`, from `e = e^-|z| * 2^64`. */
// @ts-ignore: decorator
@inline function upperHalf(e: v128): v128 {
  return f32x4.div(s(1), madd(e, s(UNSCALE), s(1)));
}

// @ts-ignore: decorator
@inline function minusAbs(z: v128): v128 {
  return f32x4.pmax(f32x4.neg(f32x4.abs(z)), s(-120));
}

/** `1 / (1 + e^-z)`, as silu is taken. */
@unmanaged
@final
export class Sigmoid extends Activation {
  @inline value(z: v128): v128 {
    const e = scaledExpMinus(f32x4.pmax(z, s(-110)), 127 - 32, z, false);
    const q = f32x4.mul(f32x4.div(s(1), f32x4.add(e, s(SMALL))), s(SMALL));
    return v128.bitselect(s(1), q, f32x4.gt(z, s(20)));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    const e = scaledExp(minusAbs(z));
    const q = upperHalf(e);
    return f32x4.mul(dy, f32x4.mul(f32x4.mul(f32x4.mul(e, q), q), s(UNSCALE)));
  }
}

@unmanaged
@final
export class Tanh extends Activation {
  @inline value(z: v128): v128 {
    return tanh(z);
  }

  /** `1 - tanh^2 = 4 e / (1 + e)^2` with `e = e^(-2 |z|)`. */
  @inline gradient(dy: v128, z: v128): v128 {
    const e = exp(f32x4.mul(f32x4.abs(z), s(-2)));
    const q = f32x4.div(s(2), f32x4.add(s(1), e));
    return f32x4.mul(dy, f32x4.mul(f32x4.mul(e, q), q));
  }
}

/** `z * sigmoid(v)`, from `e = e^-|v| * 2^64`; v has the sign of z. */
// @ts-ignore: decorator
@inline function gated(z: v128, e: v128): v128 {
  const lower = f32x4.lt(z, s(0));
  const n = f32x4.mul(v128.bitselect(f32x4.mul(z, e), z, lower), upperHalf(e));
  return f32x4.mul(n, v128.bitselect(s(UNSCALE), s(1), lower));
}

/** `z * sigmoid(z)` as `z / (1 + e^-z)`, all of it times 2^32, so that `e^-z` has room. */
@unmanaged
@final
export class Silu extends Activation {
  @inline value(z: v128): v128 {
    const a = f32x4.pmax(z, s(-110));
    const q = f32x4.div(a, f32x4.add(scaledExpMinus(a, 127 - 32, z, true), s(SMALL)));
    return v128.bitselect(z, f32x4.mul(q, s(SMALL)), f32x4.gt(z, s(20)));
  }

  /** `q (1 + z e^-z q)` with `q = sigmoid(z)`, which is 0 or 1 to all digits that matter beyond 80. */
  @inline gradient(dy: v128, z: v128): v128 {
    const a = f32x4.pmin(f32x4.pmax(z, s(-80)), s(80));
    const e = scaledExpMinus(a, 127, z, true);
    const q = f32x4.div(s(1), f32x4.add(e, s(1)));
    return f32x4.mul(dy, f32x4.mul(q, madd(f32x4.mul(a, e), q, s(1))));
  }
}

/** `e^(-z^2 / 2) * 2^64`, 0 where nothing of it is left. */
// @ts-ignore: decorator
@inline function density(z: v128): v128 {
  const a = f32x4.abs(z);
  return v128.andnot(scaledGauss(f32x4.pmin(a, s(15))), f32x4.gt(a, s(14.75)));
}

/** `z * (1 + erf(z / sqrt 2)) / 2`, as `max(z, 0)` less `|z|` times the tail beyond it: few roundings, and none of a sum near 0. */
@unmanaged
@final
export class Gelu extends Activation {
  @inline value(z: v128): v128 {
    // Only above: -inf is to give NaN.
    const a = f32x4.abs(f32x4.pmin(z, s(15)));
    const v = f32x4.div(a, madd(a, s(0.25), s(1)));
    const p = tailPolynomial(madd(v, s(-0.25), s(1)));
    return f32x4.sub(relu(z), f32x4.mul(f32x4.mul(f32x4.mul(density(z), v), p), s(UNSCALE)));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    const a = f32x4.abs(z);
    const e = f32x4.mul(density(z), s(UNSCALE));
    const tail = f32x4.mul(e, tailRatio(f32x4.pmin(a, s(15))));
    const below = v128.bitselect(tail, f32x4.sub(s(1), tail), f32x4.lt(z, s(0)));
    return f32x4.mul(dy, madd(f32x4.mul(z, e), s(0.3989422804014327), below));
  }
}

/** `e^-|v| * 2^64` with `v = 2 sqrt(2 / pi) (z + 0.044715 z^3)`, in float64 as far as it has more digits than float32. */
// @ts-ignore: decorator
@inline function cubic(z: v128): v128 {
  const a = f32x4.pmin(f32x4.abs(z), s(11));
  const lo = half(low(a));
  const hi = half(high(a));
  const v = demote(lo, hi);
  const rest = demote(f64x2.sub(lo, low(v)), f64x2.sub(hi, high(v)));
  const e = scaledExpOf(v, rest);
  return v128.andnot(e, f32x4.gt(f32x4.abs(z), s(10.9)));
}

/** `-2 sqrt(2 / pi) (a + 0.044715 a^3)`. */
// @ts-ignore: decorator
@inline function half(a: v128): v128 {
  const inner = f64x2.add(f64x2.mul(f64x2.mul(a, a), f64x2.splat(-0.07135481627260025)), f64x2.splat(-1.5957691216057308));
  return f64x2.mul(a, inner);
}

/** `z * (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2`. */
@unmanaged
@final
export class GeluTanh extends Activation {
  @inline value(z: v128): v128 {
    return gated(z, cubic(z));
  }

  @inline gradient(dy: v128, z: v128): v128 {
    const e = cubic(z);
    const q = upperHalf(e);
    const p = f32x4.mul(f32x4.mul(e, s(UNSCALE)), q);
    const sigmoid = v128.bitselect(p, q, f32x4.lt(z, s(0)));
    const a = f32x4.pmin(f32x4.abs(z), s(11));
    const slope = madd(f32x4.mul(a, a), s(0.21406444881780076), s(1.5957691216057308));
    return f32x4.mul(dy, madd(f32x4.mul(z, f32x4.mul(p, q)), slope, sigmoid));
  }
}
