/**
 * A plain copy of the minibatch, what every figure is held against: WebAssembly's memory.copy inside one linear
 * memory. TypedArray.set takes the same time (1 kB to 128 MB: within 2 % of each other from 16 kB on).
 */
import { sizeOf } from "../shapes.ts";
import type { Inputs, Open, Prepared } from "./contender.ts";

// (module (import "env" "memory" (memory 1))
//   (func (export "copy") (param i32 i32 i32) (memory.copy (local.get 0) (local.get 1) (local.get 2))))
const bytes = Buffer.from(
  "0061736d0100000001070160037f7f7f00020f0103656e76066d656d6f727902000103020100070801" +
    "04636f707900000a0e010c00200020012002fc0a00000b",
  "hex",
);

export const open: Open = () => ({ prepare });

function prepare(inputs: Inputs): Prepared {
  const size = sizeOf(inputs.shape);
  // a cache line more than x lies apart: at a multiple of 4 kB, loads wait for stores to the same offset and the
  // copy takes up to a quarter longer
  const to = size * 4 + 64;
  const memory = new WebAssembly.Memory({ initial: Math.ceil((to + size * 4) / 65536) });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  const copy = exports.copy as (to: number, from: number, length: number) => void;
  const y = new Float32Array(memory.buffer, to, size);
  inputs.read("x", new Float32Array(memory.buffer, 0, size));
  return {
    ops: { copy: { run: () => copy(to, 0, size * 4), outputs: () => ({ y }) } },
    close: () => {},
  };
}
