import { keep, maddTo, relu } from "../simd/lanes";
import { Epilogue } from "./epilogue";

/** A residual, then ReLU: the residual is gone in backward, so forward keeps the decisions as bits. */
@unmanaged
@final
export class ResidualRelu extends Epilogue {
  @inline affine(d: v128, a: v128, b: v128, residual: usize): v128 {
    return maddTo(d, a, b, v128.load(residual));
  }

  @inline writesBits(): bool {
    return true;
  }

  @inline activate(v: v128): v128 {
    return relu(v);
  }

  @inline masks(): bool {
    return true;
  }

  @inline through(dy: v128, d: v128, a: v128, b: usize, bits: usize, skip: u32): v128 {
    return keep(dy, u32(load<u8>(bits)) << skip);
  }
}
