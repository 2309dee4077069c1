/**
 * Stretches of 16-bit values widened to float32 and rounded back: what stands between a minibatch of such and the kernels, which know
 * float32 alone. Where kernels take tiles it goes over a tile while that is in cache.
 */
import { Bfloat16, Element, Float16 } from "../simd/elements";
import { loadTail, storeTail } from "../simd/lanes";

/** What a half takes. */
// @ts-ignore: decorator
@inline const HALF: usize = 2;

/** As the record's `elements` number them. */
namespace ELEMENT {
  // @ts-ignore: decorator
  @inline export const FLOAT16: u32 = 1;
}

/** The first `n` (less than 8) values at `from`, zero beyond: nothing beyond is read. */
function gather(from: usize, n: usize): v128 {
  let v = i16x8.splat(0);
  for (; n > 0; n--) {
    v = v128.shuffle<i16>(v, v, 0, 0, 1, 2, 3, 4, 5, 6);
    v = i16x8.replace_lane(v, 0, load<i16>(from + (n - 1) * HALF));
  }
  return v;
}

/** Stores the first `n` (less than 8) values and nothing beyond. */
function scatter(to: usize, n: usize, v: v128): void {
  for (; n > 0; n--) {
    v128.store16_lane(to, v, 0);
    v = v128.shuffle<i16>(v, v, 1, 2, 3, 4, 5, 6, 7, 7);
    to += HALF;
  }
}

/** The first `n` (1 to 8) of eight, whatever they are. */
function widenFew<E extends Element>(h: v128, to: usize, n: usize): void {
  const element = changetype<E>(0);
  storeTail(to, n, element.low(h, true));
  if (n > 4) storeTail(to + 16, n - 4, element.high(h, true));
}

function widenBy<E extends Element>(from: usize, to: usize, n: usize): void {
  const element = changetype<E>(0);
  for (; n >= 8; n -= 8) {
    const h = v128.load(from);
    // Stored in each branch: a choice between two values would compute both.
    if (element.isSpecial(h)) widenFew<E>(h, to, 8);
    else {
      v128.store(to, element.low(h, false));
      v128.store(to, element.high(h, false), 16);
    }
    from += 8 * HALF;
    to += 32;
  }
  if (n) widenFew<E>(gather(from, n), to, n);
}

// One body for whole vectors and what is left: two would double the bytes.
function narrowBy<E extends Element>(from: usize, to: usize, n: usize): void {
  const element = changetype<E>(0);
  while (n > 0) {
    const whole = n >= 8;
    const a = whole ? v128.load(from) : loadTail(from, n);
    const b = whole ? v128.load(from, 16) : n > 4 ? loadTail(from + 16, n - 4) : a;
    const h = element.round(a, b);
    if (!whole) {
      scatter(to, n, h);
      return;
    }
    v128.store(to, h);
    from += 32;
    to += 8 * HALF;
    n -= 8;
  }
}

/** `n` values of `element` at `from` as float32 at `to`, exactly. */
export function widen(from: usize, to: usize, n: usize, element: u32): void {
  if (element == ELEMENT.FLOAT16) widenBy<Float16>(from, to, n);
  else widenBy<Bfloat16>(from, to, n);
}

/** `n` float32 at `from`, rounded to `element` at `to`. */
export function narrow(from: usize, to: usize, n: usize, element: u32): void {
  if (element == ELEMENT.FLOAT16) narrowBy<Float16>(from, to, n);
  else narrowBy<Bfloat16>(from, to, n);
}

/** Each of `rows` rows of `length` float32 at `at` times the vector at `by`. */
export function scale(at: usize, by: usize, rows: usize, length: usize): void {
  for (; rows > 0; rows--) {
    for (let i: usize = 0; i < length; i += 4) {
      const n = length - i;
      storeTail(at + (i << 2), n, f32x4.mul(loadTail(at + (i << 2), n), loadTail(by + (i << 2), n)));
    }
    at += length << 2;
  }
}
