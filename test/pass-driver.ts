/** Writes passes' records and runs them through the kernels' exports, whole or by tiles, without the facade. */
import { readFileSync } from "node:fs";
import { DOUBLE, FIELD, PASS_BYTES } from "../src/engine/pass.js";
import type { Kernels } from "../src/runtime/kernels.js";

export const WALK = { COLUMNS: 0, ROWS: 1, RUNS: 2 } as const;
export const PHASE = { FORWARD: 0, FORWARD_APPLY: 1, BACKWARD: 2, BACKWARD_APPLY: 3 } as const;
export const ACTIVATION = { NONE: 0, RELU: 1 } as const;
export const STEPS = { REDUCE: 1, APPLY: 2, FROZEN: 4, OWN: 8, EXACTLY: 16, RMS: 32 } as const;

/** What the kernels alone use. */
const INTERNAL = { reserved: 236, reserved2: 248, next: 256, done: 260, frame: 288 } as const;

type Offsets<F> = { readonly [name in keyof F]: number };
const scaled = <F extends object>(fields: F, by: number) =>
  Object.fromEntries(Object.entries(fields).map(([name, at]) => [name, by * at])) as Offsets<F>;

/** Where a pass's fields lie: byte offsets, of u32 but for those of `FLOAT64`. assembly/pass.ts draws them. */
export const FIELDS = { ...scaled(FIELD, 4), ...scaled(DOUBLE, 8), ...INTERNAL };
export type Field = keyof typeof FIELDS;
export { PASS_BYTES };
export const FLOAT64: ReadonlySet<Field> = new Set(["count", "eps", "momentum", "unbiased", "reserved2"]);

/** Several instances of a binary over one memory, and an allocator that never frees. */
export class Driver {
  readonly memory: WebAssembly.Memory;
  readonly kernels: readonly Kernels[];
  #free: number;

  constructor(
    variant: "simd" | "relaxed-simd",
    { instances = 1, pages = 1024, bytes = readBinary(variant) } = {},
  ) {
    this.memory = new WebAssembly.Memory({ initial: pages });
    const module = new WebAssembly.Module(bytes as BufferSource);
    this.kernels = Array.from({ length: instances }, () => {
      const { exports } = new WebAssembly.Instance(module, { env: { memory: this.memory } });
      return exports as unknown as Kernels;
    });
    this.#free = this.kernels[0]!.heapBase() + 1024;
  }

  get f32(): Float32Array {
    return new Float32Array(this.memory.buffer);
  }

  get f64(): Float64Array {
    return new Float64Array(this.memory.buffer);
  }

  /** Room for `bytes`, 64-aligned, and nothing right behind it. @throws RangeError where memory ends */
  take(bytes: number): number {
    const at = this.#free;
    this.#free = (at + bytes + 127) & ~63;
    if (this.#free > this.memory.buffer.byteLength) throw new RangeError("Driver: out of memory");
    return at;
  }

  /** Room for these values. */
  floats(values: ArrayLike<number>): number {
    const at = this.take(4 * values.length);
    this.f32.set(values, at / 4);
    return at;
  }

  readFloats(at: number, n: number): Float32Array {
    return this.f32.slice(at / 4, at / 4 + n);
  }

  readDoubles(at: number, n: number): Float64Array {
    return this.f64.slice(at / 8, at / 8 + n);
  }

  /** A pass with these fields, planned, with room for `workers` threads. */
  pass(fields: { [field in Field]?: number }, workers = 1): DrivenPass {
    const pass = new DrivenPass(this, this.take(PASS_BYTES));
    for (const [field, value] of Object.entries(fields)) pass.set(field as Field, value);
    this.kernels[0]!.plan(pass.address);
    const stride = (pass.get("workspaceBytes") + 63) & ~63;
    pass.set("workspaceStride", stride);
    pass.set("scratch", this.take(pass.get("scratchBytes")));
    pass.set("partials", this.take(pass.get("partialBytes")));
    pass.set("workspace", this.take(stride * workers));
    return pass;
  }
}

/** A pass in linear memory. */
export class DrivenPass {
  constructor(
    readonly driver: Driver,
    readonly address: number,
  ) {}

  set(field: Field, value: number): void {
    const view = new DataView(this.driver.memory.buffer, this.address + FIELDS[field]);
    if (FLOAT64.has(field)) view.setFloat64(0, value, true);
    else view.setUint32(0, value, true);
  }

  get(field: Field): number {
    const view = new DataView(this.driver.memory.buffer, this.address + FIELDS[field]);
    return FLOAT64.has(field) ? view.getFloat64(0, true) : view.getUint32(0, true);
  }

  forward(): void {
    this.driver.kernels[0]!.forward(this.address);
  }

  backward(): void {
    this.driver.kernels[0]!.backward(this.address);
  }

  /**
   * A direction by its phases' tiles, in the order that `order` makes of 0 to `tiles` - 1; tile i by the instance and in the
   * workspace that `worker` says.
   */
  byTiles(
    direction: "forward" | "backward",
    order: (tiles: number) => Iterable<number> = (tiles) => Array(tiles).keys(),
    worker: (tile: number) => number = () => 0,
  ): void {
    const { kernels } = this.driver;
    const phases =
      direction === "forward"
        ? ([
            [PHASE.FORWARD, "forwardTiles"],
            [PHASE.FORWARD_APPLY, "forwardApplyTiles"],
          ] as const)
        : ([
            [PHASE.BACKWARD, "backwardTiles"],
            [PHASE.BACKWARD_APPLY, "backwardApplyTiles"],
          ] as const);
    for (const [phase, field] of phases) {
      const tiles = this.get(field);
      if (tiles === 0) continue;
      kernels[0]!.begin(this.address, phase);
      for (const i of order(tiles)) {
        const by = worker(i);
        kernels[by % kernels.length]!.tile(this.address, phase, i, by);
      }
      kernels[0]!.finish(this.address, phase);
    }
  }
}

/** The bytes of a built binary. */
export function readBinary(variant: "simd" | "relaxed-simd"): Uint8Array {
  return new Uint8Array(readFileSync(new URL(`../build/${variant}.wasm`, import.meta.url)));
}
