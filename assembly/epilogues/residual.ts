import { maddTo } from "../simd/lanes";
import { Epilogue } from "./epilogue";

/** A residual is added: its gradient is dy itself. */
@unmanaged
@final
export class Residual extends Epilogue {
  @inline affine(d: v128, a: v128, b: v128, residual: usize): v128 {
    return maddTo(d, a, b, v128.load(residual));
  }

  @inline writesBits(): bool {
    return false;
  }

  @inline activate(v: v128): v128 {
    return v;
  }

  @inline masks(): bool {
    return false;
  }

  @inline through(dy: v128, d: v128, a: v128, b: usize, bits: usize, skip: u32): v128 {
    return dy;
  }
}
