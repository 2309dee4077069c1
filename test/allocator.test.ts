import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Allocator } from "../src/runtime/allocator.js";
import { seeded } from "./cases.js";

const BASE = 1040; // no multiple of 64: the first block starts at 1088
const FIRST = 1088;
const rounded = (bytes: number) => Math.max(64, Math.ceil(bytes / 64) * 64);

/** The simplest thing that says what is right: the blocks in use by address, and a memory that may refuse. */
class Model {
  readonly used = new Map<number, number>();
  end = FIRST;
  limit = Number.POSITIVE_INFINITY;
  readonly allocator = new Allocator(BASE, (end) => {
    if (end > this.limit) throw new RangeError(`no memory beyond ${this.limit}`);
    expect(end).toBeGreaterThan(this.end);
    this.end = end;
  });

  alloc(bytes: number): number {
    const address = this.allocator.alloc(bytes);
    const size = rounded(bytes);
    expect(address % 64).toBe(0);
    expect(address).toBeGreaterThanOrEqual(FIRST);
    expect(address + size).toBeLessThanOrEqual(this.end);
    for (const [other, length] of this.used) {
      expect(address + size <= other || other + length <= address).toBe(true);
    }
    this.used.set(address, size);
    this.check();
    return address;
  }

  free(index: number): void {
    const address = [...this.used.keys()][index % this.used.size]!;
    this.allocator.free(address);
    this.used.delete(address);
    this.check();
    expect(() => this.allocator.free(address)).toThrow("block in use");
  }

  check(): void {
    expect(this.allocator.end).toBe(this.end);
    expect(this.allocator.blocks).toBe(this.used.size);
    expect(this.allocator.bytesInUse).toBe([...this.used.values()].reduce((sum, size) => sum + size, 0));
  }
}

type Real = { model: Model };
type Step = fc.Command<object, Real>;

const command = (name: string, run: (model: Model) => void): Step => ({
  check: () => true,
  run: (_, { model }) => run(model),
  toString: () => name,
});

// Sizes from 8192 on share bins: 32 neighbouring multiples of 64 there at 64 kB.
const bytes = fc.oneof(
  fc.nat(300),
  fc.nat(40_000),
  fc.integer({ min: 65_536, max: 67_584 }),
  fc.constantFrom(0, 1, 63, 64, 65, 4096, 1 << 20),
);

const commands = fc.commands(
  [
    bytes.map((n) => command(`alloc ${n}`, (model) => void model.alloc(n))),
    fc.nat().map((i) => command(`free ${i}`, (model) => model.used.size && model.free(i))),
    fc.nat().map((i) =>
      command(`free ${i} unknown`, (model) => {
        const address = i % 3 ? i : FIRST + 64 * (i % 999);
        if (model.used.has(address)) return;
        expect(() => model.allocator.free(address)).toThrow(Error);
        model.check();
      }),
    ),
    bytes.map((n) =>
      command(`alloc ${n} while memory refuses to grow`, (model) => {
        model.limit = model.end;
        try {
          model.alloc(n); // fits a hole
        } catch (error) {
          expect(error).toEqual(new RangeError(`no memory beyond ${model.end}`));
          model.check();
        }
        model.limit = Number.POSITIVE_INFINITY;
      }),
    ),
    fc.constant(
      command("free all, and all is one block again", (model) => {
        while (model.used.size) model.free(0);
        model.limit = model.end;
        if (model.end > FIRST) {
          expect(model.alloc(model.end - FIRST)).toBe(FIRST);
          model.free(0);
        }
        model.limit = Number.POSITIVE_INFINITY;
      }),
    ),
  ],
  { maxCommands: 150 },
);

/** Random allocations and frees with about `live` blocks in use; returns those left and the peak of the bytes. */
function churn(allocator: Allocator, steps: number, live: number, size: (u: number) => number, seed = 1) {
  const next = seeded(seed);
  const used: number[] = [];
  let peak = 0;
  for (let step = 0; step < steps; step++) {
    if (!used.length || next() < (used.length < live ? 0.6 : 0.4)) {
      used.push(allocator.alloc(Math.floor(size(next()))));
      peak = Math.max(peak, allocator.bytesInUse);
    } else {
      const index = Math.floor(next() * used.length);
      allocator.free(used[index]!);
      used[index] = used[used.length - 1]!;
      used.pop();
    }
  }
  return { used, peak };
}

const MIXES: [string, (u: number) => number][] = [
  ["64 B to 1 MB, log-uniform", (u) => 64 * 16384 ** u],
  ["to 1 MB, uniform", (u) => u * 2 ** 20],
  ["to 4 kB, log-uniform", (u) => 64 ** (1 + u)],
  ["powers of two", (u) => 64 * 2 ** Math.floor(u * 15)],
  ["nine small to one large", (u) => (u < 0.9 ? 64 + 1000 * u : 2 ** 18 + (u - 0.9) * 2 ** 23)],
  ["a network's few sizes", (u) => [256, 1024, 2 ** 18, 2 ** 20, 2 ** 22][Math.floor(u * 5)]!],
  ["last batches of any length", (u) => Math.ceil(u * 64) * 4096],
];

describe("Allocator", () => {
  it("agrees with the model in any order of calls", () => {
    fc.assert(
      fc.property(commands, (steps) =>
        fc.modelRun(() => ({ model: {}, real: { model: new Model() } }), steps),
      ),
      { numRuns: 300, seed: 7 },
    );
  });

  it("is after a refused growth what it was before: later calls give the same addresses", () => {
    const step = fc.record({ bytes, refuse: fc.boolean(), free: fc.boolean(), index: fc.nat() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const plain = new Model();
        const refused = new Model();
        for (const { bytes, refuse, free, index } of steps) {
          if (refuse) {
            refused.limit = 0;
            // More than any hole has, so that it must grow.
            expect(() => refused.alloc(2 ** 26 + bytes)).toThrow(RangeError);
            refused.limit = Number.POSITIVE_INFINITY;
          }
          if (free && plain.used.size) {
            plain.free(index);
            refused.free(index);
          } else expect(refused.alloc(bytes)).toBe(plain.alloc(bytes));
        }
      }),
      { numRuns: 100, seed: 7 },
    );
  });

  it.each(MIXES)("loses under a quarter to fragmentation: %s", (_, size) => {
    for (const live of [10, 100, 1000]) {
      const allocator = new Allocator(1024, () => {});
      const { used, peak } = churn(allocator, 100_000, live, size);
      const heap = allocator.end - 1024;
      expect((heap - peak) / heap).toBeLessThan(0.25);
      for (const address of used) allocator.free(address);
      expect(allocator.alloc(heap)).toBe(1024); // one block again
      expect(allocator.end - 1024).toBe(heap);
    }
  });

  it("reuses the same address in the steady state, beside whatever else is in use", () => {
    const allocator = new Allocator(1024, () => {});
    for (let i = 1; i < 700; i++) allocator.alloc(64 * i);
    const address = allocator.alloc(4096);
    const { end } = allocator;
    allocator.free(address);
    for (let i = 0; i < 10_000; i++) {
      expect(allocator.alloc(4096)).toBe(address);
      allocator.free(address);
    }
    expect(allocator.end).toBe(end);
  });

  it("finds the one block that fits behind others of its bin, where memory cannot grow", () => {
    const model = new Model();
    const holes = [66_560, 65_600, 65_664].map((n) => [model.alloc(n), model.alloc(1)][0]!);
    for (const address of holes) model.allocator.free(address);
    for (const address of holes) model.used.delete(address);
    model.limit = model.end;
    expect(model.alloc(66_560)).toBe(holes[0]);
    expect(() => model.alloc(66_000)).toThrow(RangeError);
    expect(model.alloc(65_664)).toBe(holes[2]);
  });

  it("keeps nothing of the blocks that are gone", () => {
    setFlagsFromString("--expose-gc");
    const gc: () => void = runInNewContext("gc");
    const allocator = new Allocator(1024, () => {});
    const heap = () => {
      gc();
      return process.memoryUsage().heapUsed;
    };
    const size = (u: number) => 64 * 1024 ** u;
    churn(allocator, 100_000, 100, size); // what is left stays in use
    const before = heap();
    churn(allocator, 1_000_000, 100, size, 2);
    expect(heap() - before).toBeLessThan(2 ** 20);
  });

  it("reaches 4 GiB", () => {
    const allocator = new Allocator(1024, (end) => {
      if (end > 2 ** 32) throw new RangeError("4 GiB");
    });
    const blocks = [2 ** 31, 2 ** 30, 2 ** 30 - 2048].map((bytes) => allocator.alloc(bytes));
    expect(blocks).toEqual([1024, 2 ** 31 + 1024, 2 ** 31 + 2 ** 30 + 1024]);
    expect(allocator.alloc(1024)).toBe(2 ** 32 - 1024);
    expect(() => allocator.alloc(0)).toThrow("4 GiB");
    expect(allocator.bytesInUse).toBe(2 ** 32 - 1024);
    allocator.free(blocks[2]!);
    expect(allocator.alloc(2 ** 30 - 2048)).toBe(blocks[2]);
  });

  it("never gives address 0", () => {
    expect(new Allocator(0, () => {}).alloc(1)).toBe(64);
  });

  it.each([-1, 0.5, Number.NaN, 1 / 0, 2 ** 32 + 1])("refuses %d bytes", (n) => {
    const allocator = new Allocator(1024, () => {});
    expect(() => allocator.alloc(n)).toThrow(RangeError);
    expect(allocator.end).toBe(1024);
  });

  it.each([0, 64, 1024.5, 1088, Number.NaN, "1024", undefined])("refuses to free %s", (address) => {
    const allocator = new Allocator(960, () => {});
    allocator.alloc(200);
    expect(() => allocator.free(address as number)).toThrow(
      `Allocator: expected a block in use, got ${address}`,
    );
    expect(allocator.bytesInUse).toBe(256);
  });
});
