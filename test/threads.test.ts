/** Several threads: the bits of one, in every family, layout, mode and epilogue, whoever takes which tile. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { load, type Variant } from "./cases.js";
import { around, type Big, big, call, differences, few, type Results, takes } from "./threads/calls.js";
import { loadThreaded, type Threaded } from "./threads/team.js";

/** What one thread gives. */
const alone = new Map<string, Results>();

async function expectedOf(variant: Variant, all: readonly string[]): Promise<(name: string) => Results> {
  const plain = await load(variant);
  for (const one of big) {
    for (const what of around) {
      const name = `${variant}, ${one.name}, ${what}`;
      if (all.includes(what) && takes(one, what) && !alone.has(name)) alone.set(name, call(plain, one, what));
    }
  }
  return (name) => alone.get(`${variant}, ${name}`)!;
}

describe.each([
  ["simd", 3, around],
  ["relaxed-simd", 2, around],
  ...[2, 4, 5, 6, 7, 8].map((threads) => ["simd", threads, few] as const),
] as const)("%s, %i threads", (variant, threads, all) => {
  let threaded: Threaded;
  let expected: (name: string) => Results;
  beforeAll(async () => {
    expected = await expectedOf(variant, all);
    threaded = await loadThreaded(variant, threads);
  }, 300_000);
  afterAll(() => threaded.library.shutdown());

  test.each(big)("$name", { timeout: 300_000 }, (one: Big) => {
    expect(threaded.library.runtimeInfo()).toMatchObject({ threads, threadsReason: undefined });
    for (const what of all) {
      if (!takes(one, what)) continue;
      const before = threaded.joined();
      const got = call(threaded.library, one, what);
      expect(differences(got, expected(`${one.name}, ${what}`)), what).toEqual([]);
      // Masks of several examples go through the kernels one by one.
      if (what !== "mask") expect(threaded.joined(), what).toBeGreaterThan(before);
    }
  });
});
