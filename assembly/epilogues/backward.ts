/**
 * What happens to dy before it is used: a policy, as those of forward.ts.
 *
 *     g = through(dy, d, a, b, …)    the gradient before the activation
 *     store g, if masks()            it is the residual's gradient too
 *
 * ReLU's time over none, backward: 1.5 in the first-level cache, 1.2 for 256 x 1024 down columns, 1.2 for rows, 1.1 to 1.3 for runs,
 * by either policy. An instance has 0.3 to 1.2 kB. Rejected: to keep bits where there is no residual, too, as forward then takes
 * 1.1 to 1.8 times as long.
 */
import { keep, madd } from "../simd/lanes";

@unmanaged
export abstract class Gate {
  /** Whether dy is changed. */
  abstract masks(): bool;

  /** Whether it takes ReLU's decisions again, always. */
  abstract decides(): bool;

  /**
   * dy as the activation lets it through. Where forward kept its decisions, they are the byte at `bits`, moved up by `skip` lanes
   * where a row's last vector overlaps the one before. Else they are taken `again`, from `d` and the affine map's coefficients at
   * `a` and `b`, by the same arithmetic.
   */
  abstract through(dy: v128, d: v128, a: usize, b: usize, again: bool, bits: usize, skip: u32): v128;
}

/** Without an activation. */
@unmanaged
@final
export class Open extends Gate {
  @inline masks(): bool {
    return false;
  }

  @inline decides(): bool {
    return false;
  }

  @inline through(dy: v128, d: v128, a: usize, b: usize, again: bool, bits: usize, skip: u32): v128 {
    return dy;
  }
}

/** With ReLU, decided again. */
@unmanaged
@final
export class Again extends Gate {
  @inline masks(): bool {
    return true;
  }

  @inline decides(): bool {
    return true;
  }

  @inline through(dy: v128, d: v128, a: usize, b: usize, again: bool, bits: usize, skip: u32): v128 {
    return v128.andnot(dy, f32x4.le(madd(d, v128.load(a), v128.load(b)), f32x4.splat(0)));
  }
}

/** With ReLU, by the decisions that forward kept. */
@unmanaged
@final
export class Kept extends Gate {
  @inline masks(): bool {
    return true;
  }

  @inline decides(): bool {
    return false;
  }

  @inline through(dy: v128, d: v128, a: usize, b: usize, again: bool, bits: usize, skip: u32): v128 {
    return keep(dy, u32(load<u8>(bits)) << skip);
  }
}

/**
 * With ReLU, either way, for what is rare or waits for memory: it saves an instance of 400 bytes, but asks at each vector
 * (256 x 256, backward by sums and strips: 1.75 times the time without ReLU, 1.45 by policies of their own).
 */
@unmanaged
@final
export class Either extends Gate {
  @inline masks(): bool {
    return true;
  }

  @inline decides(): bool {
    return false;
  }

  @inline through(dy: v128, d: v128, a: usize, b: usize, again: bool, bits: usize, skip: u32): v128 {
    if (again) return changetype<Again>(0).through(dy, d, a, b, again, bits, skip);
    return changetype<Kept>(0).through(dy, d, a, b, again, bits, skip);
  }
}
