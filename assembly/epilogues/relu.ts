import { madd, relu } from "../simd/lanes";
import { Epilogue } from "./epilogue";

/** ReLU. Backward takes the decision again, from the same operands by the same arithmetic. */
@unmanaged
@final
export class Relu extends Epilogue {
  @inline affine(d: v128, a: v128, b: v128, residual: usize): v128 {
    return madd(d, a, b);
  }

  @inline writesBits(): bool {
    return false;
  }

  @inline activate(v: v128): v128 {
    return relu(v);
  }

  @inline masks(): bool {
    return true;
  }

  @inline through(dy: v128, d: v128, a: v128, b: usize, bits: usize, skip: u32): v128 {
    return v128.andnot(dy, f32x4.le(madd(d, a, v128.load(b)), f32x4.splat(0)));
  }
}
