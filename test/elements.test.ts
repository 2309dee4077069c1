/** The kernels' conversions of 16-bit elements, exhaustively, against the types' definitions. */
import { describe, expect, test } from "vitest";
import { variants } from "./cases.js";
import { bitsOf, ELEMENT, HALVES, type Half, meaning, nearest } from "./halves.js";
import { Driver } from "./pass-driver.js";

const ALL = 65_536;

describe.each(variants)("conversions, %s", (variant) => {
  const driver = new Driver(variant);
  const kernels = driver.kernels[0]!;
  const halves = driver.take(2 * ALL + 64);
  const floats = driver.take(4 * ALL + 64);
  const u16 = (length: number, at = halves) => new Uint16Array(driver.memory.buffer, at, length);
  const u32 = (length: number, at = floats) => new Uint32Array(driver.memory.buffer, at, length);
  const f32 = (length: number, at = floats) => new Float32Array(driver.memory.buffer, at, length);

  /** float32 bits, rounded. */
  function rounded(half: Half, bits: ArrayLike<number>): Uint16Array {
    u32(bits.length).set(bits);
    kernels.narrow(floats, halves, bits.length, ELEMENT[half]);
    return u16(bits.length).slice();
  }

  const scratch = new DataView(new ArrayBuffer(4));
  function numberOf(bits: number): number {
    scratch.setUint32(0, bits);
    return scratch.getFloat32(0);
  }
  const isNaNBits = (half: Half, bits: number) => Number.isNaN(meaning(half, bits));

  /** The first that is not the nearest. */
  function firstWrong(half: Half, bits: ArrayLike<number>): string | undefined {
    const got = rounded(half, bits);
    for (let i = 0; i < bits.length; i++) {
      const x = numberOf(bits[i]!);
      const fine = Number.isNaN(x) ? isNaNBits(half, got[i]!) : got[i] === bitsOf(half, nearest(half, x));
      if (!fine) return `${half} of 0x${bits[i]!.toString(16)} (${x}): 0x${got[i]!.toString(16)}`;
    }
    return undefined;
  }

  test.each(HALVES)("%s: all 65,536 values are widened exactly, and come back as they were", (half) => {
    u16(ALL).forEach((_, i, all) => {
      all[i] = i;
    });
    kernels.widen(halves, floats, ALL, ELEMENT[half]);
    const wide = f32(ALL);
    for (let i = 0; i < ALL; i++) {
      const want = meaning(half, i);
      if (!Object.is(wide[i], want)) expect.fail(`0x${i.toString(16)}: ${wide[i]}, not ${want}`);
    }
    // NaN keeps its payload on the way, so that no bit is lost.
    u16(ALL).fill(0);
    kernels.narrow(floats, halves, ALL, ELEMENT[half]);
    expect(u16(ALL).findIndex((bits, i) => bits !== i)).toBe(-1);
  });

  test.each(HALVES)(
    "%s: float32 on a stride, from one end to the other, is rounded to the nearest",
    (half) => {
      let bits: number[] = [];
      for (let at = 0; at <= 0xffffffff; at += 4099) {
        bits.push(at);
        if (bits.length < ALL && at + 4099 <= 0xffffffff) continue;
        expect(firstWrong(half, bits)).toBeUndefined();
        bits = [];
      }
    },
  );

  test.each(HALVES)("%s: every value, every middle between two, and what lies next to them", (half) => {
    for (const sign of [0, 0x80000000]) {
      const bits: number[] = [];
      const word = new Uint32Array(1);
      const float = new Float32Array(word.buffer);
      for (let i = 0; i < 0x7fff; i++) {
        const value = meaning(half, i);
        const next = meaning(half, i + 1);
        if (Number.isNaN(value)) break;
        const largest = next === Number.POSITIVE_INFINITY;
        const middle = largest ? value + (value - meaning(half, i - 1)) / 2 : (value + next) / 2;
        for (const at of [value, middle]) {
          float[0] = at;
          for (const by of [-1, 0, 1]) if (word[0]! + by >= 0) bits.push((sign | (word[0]! + by)) >>> 0);
        }
      }
      for (let at = 0; at < bits.length; at += ALL)
        expect(firstWrong(half, bits.slice(at, at + ALL))).toBeUndefined();
    }
  });

  test.each(HALVES)("%s: a NaN stays one, whatever its payload, among numbers", (half) => {
    for (const payload of [1, 0x1fff, 0x2000, 0xffff, 0x10000, 0x3fffff, 0x400000, 0x7fffff]) {
      for (const sign of [0, 0x80000000]) {
        for (let lane = 0; lane < 8; lane++) {
          const bits = Array.from({ length: 8 }, () => 0x3fc00000);
          bits[lane] = (sign | 0x7f800000 | payload) >>> 0;
          const got = rounded(half, bits);
          got.forEach((value, i) => {
            if (i === lane) expect(isNaNBits(half, value)).toBe(true);
            else expect(meaning(half, value)).toBe(1.5);
          });
        }
      }
    }
  });

  test.each(HALVES)("%s: every length from 0 to 33, and nothing beside it is touched", (half) => {
    const values = Float32Array.from({ length: 40 }, (_, i) => nearest(half, 1.1 ** i * (i % 2 ? -1 : 1e-6)));
    for (let n = 0; n <= 33; n++) {
      for (const shift of [0, 1, 3]) {
        const from = halves + 2 * shift;
        const to = floats + 4 * shift;
        u16(40, from).set(Uint16Array.from(values, (value) => bitsOf(half, value)));
        f32(48).fill(7);
        kernels.widen(from, to, n, ELEMENT[half]);
        expect([...f32(n, to)]).toEqual([...values.subarray(0, n)]);
        expect([...f32(48)].filter((value) => value !== 7).length).toBe(n);

        u16(48).fill(0x1234);
        f32(40, to).set(values);
        kernels.narrow(to, from, n, ELEMENT[half]);
        expect([...u16(n, from)]).toEqual(Array.from(values.subarray(0, n), (value) => bitsOf(half, value)));
        expect([...u16(48)].filter((bits) => bits !== 0x1234).length).toBe(n);
      }
    }
  });
});
