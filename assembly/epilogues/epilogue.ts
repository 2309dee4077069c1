/**
 * What happens to a vector after it is normalized, and to its gradient before that is used: a policy, chosen for a pass. A
 * kernel is generic in it, written once, and calls its methods, which are inlined: what a policy does not do costs nothing.
 *
 *     forward    v = affine(d, a, b, residual)         the affine map, before the activation
 *                store passBits(v), if writesBits()    what backward cannot decide again
 *                y = activate(v)
 *     backward   g = through(dy, d, a, b, bits, skip)  the gradient before the activation
 *                store g, if masks()                   it is the residual's gradient too
 *
 * Policies have no state: `changetype<P>(0)` is one. What only some of them need is passed as an address, so that the others
 * do not load it.
 */
@unmanaged
export abstract class Epilogue {
  /** `d * a + b`, plus the residual's four values at an address. */
  abstract affine(d: v128, a: v128, b: v128, residual: usize): v128;

  /** Whether forward keeps a bit for each value. */
  abstract writesBits(): bool;

  abstract activate(v: v128): v128;

  /** Whether backward changes dy before it uses it. */
  abstract masks(): bool;

  /**
   * dy as the activation lets it through. `d`, `a` and the four values at `b` are those of the affine map; `bits` is the address
   * of their byte, which is moved up by `skip` lanes where a row's last vector overlaps the one before.
   */
  abstract through(dy: v128, d: v128, a: v128, b: usize, bits: usize, skip: u32): v128;
}
