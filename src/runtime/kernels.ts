/**
 * The exports of the WebAssembly module: the TypeScript side of assembly/index.ts. A pass is the address of a record
 * (assembly/pass.ts); 0 is the address of nothing.
 */
export interface Kernels {
  /** The version of this interface; a binary with another one is refused. */
  ABI: WebAssembly.Global;
  /** 1 in the binary for relaxed SIMD, 0 in the other. */
  RELAXED: WebAssembly.Global;
  heapBase(): number;
  /** Writes into a pass how it falls into tiles, and how much room it needs. */
  plan(pass: number): void;
  /** The forward pass, whole. */
  forward(pass: number): void;
  /** The backward pass, whole. */
  backward(pass: number): void;
  /** Before the kernels, rows [from, to): `stream += added`. */
  before(pass: number, from: number, to: number): void;
  /** After the kernels, rows [from, to), in `worker`'s part of the workspace: what stages make of y. */
  after(pass: number, from: number, to: number, worker: number): void;
  /** Before the backward kernels, rows [from, to), in `worker`'s part of the workspace: what stages make of dy. */
  beforeBackward(pass: number, from: number, to: number, worker: number): void;
  /** `to[e][c][r] = from[e][r][c]`. */
  transpose(from: number, to: number, examples: number, rows: number, columns: number): void;
  /** `n` values of a 16-bit element (1 float16, 2 bfloat16) as float32. */
  widen(from: number, to: number, n: number, element: number): void;
  /** `n` float32, rounded to a 16-bit element. */
  narrow(from: number, to: number, n: number, element: number): void;
  /** Each of `rows` rows of `length` float32 times the vector at `by`. */
  scale(at: number, by: number, rows: number, length: number): void;
  /** After the backward kernels, rows [from, to): the stream's gradient. */
  afterBackward(pass: number, from: number, to: number): void;
  /** Before a phase's tiles. */
  begin(pass: number, phase: number): void;
  /** One tile of a phase, in `worker`'s part of the workspace. */
  tile(pass: number, phase: number, index: number, worker: number): void;
  /** After a phase's tiles. */
  finish(pass: number, phase: number): void;
}

/** The value of the module's `ABI` that this facade speaks. */
export const ABI = 4;

/** Every export the facade relies on; a test compares it with the module's own list. */
export const EXPORTS: readonly string[] = [
  "ABI",
  "RELAXED",
  "after",
  "afterBackward",
  "backward",
  "before",
  "beforeBackward",
  "begin",
  "finish",
  "forward",
  "heapBase",
  "narrow",
  "plan",
  "scale",
  "tile",
  "transpose",
  "widen",
];
