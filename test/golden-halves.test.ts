/** 16-bit minibatches against PyTorch's: golden/halves.py made these values, and says how. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, variants } from "./cases.js";
import { type Half, halfUnit } from "./halves.js";

interface Packed {
  readonly shape: number[];
  readonly data: string;
}

interface Results {
  readonly y: Packed;
  readonly dx: Packed;
  readonly dgamma: Packed;
  readonly dbeta: Packed;
}

interface Case extends Results {
  readonly name: string;
  readonly dtype: Half;
  readonly family: "layer" | "group" | "batch";
  readonly size: number;
  readonly x: Packed;
  readonly dy: Packed;
  readonly gamma: Packed;
  readonly beta: Packed;
  /** What PyTorch's kernels of the type give. */
  readonly own: Results | null;
}

const file = readFileSync(new URL("golden/halves.json", import.meta.url), "utf8");
const cases = (JSON.parse(file) as { cases: Case[] }).cases;

const unpack = ({ data }: Packed) => new Float32Array(Uint8Array.from(Buffer.from(data, "base64")).buffer);

/**
 * The worst errors of PyTorch 1.13's own bfloat16 kernels, as `worst` measures them: they round between steps, and where terms cancel
 * that is many units of what is left. Its float16 has no such kernels.
 */
const THEIRS: Record<string, { y: number; dx: number }> = {
  "layer [3,9]": { y: 6.1, dx: 4.2 },
  "layer [3,48]": { y: 9.3, dx: 110.9 },
  "group [2,6,3,2]": { y: 84, dx: 50.8 },
  "batch [12,7]": { y: 25.1, dx: 4.9 },
  "batch, images [2,5,2,3]": { y: 18.5, dx: 1627.4 },
};

/** The worst error, in halves of the distance between the type's values there: 1 is what rounding alone takes. */
function worst(half: Half, got: ArrayLike<number>, want: ArrayLike<number>): number {
  let most = 0;
  for (let i = 0; i < want.length; i++) {
    const error = Math.abs(got[i]! - want[i]!) / halfUnit(half, want[i]!);
    if (!(error <= most)) most = error;
  }
  return most;
}

describe.each(variants)("PyTorch's values, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  function run({ family, size, dtype, x, dy, gamma, beta }: Case) {
    const layout = "channels-first";
    const layer =
      family === "layer"
        ? new library.LayerNorm(size)
        : family === "group"
          ? new library.GroupNorm(3, size, { layout })
          : new library.BatchNorm(size, { layout });
    layer.gamma!.data.set(unpack(gamma));
    layer.beta!.data.set(unpack(beta));
    return library.tidy(() => {
      const y = layer.forward(library.tensor(x.shape, unpack(x), { dtype })).toArray();
      const dx = layer.backward(library.tensor(dy.shape, unpack(dy), { dtype })).toArray();
      const { gamma, beta } = layer;
      layer.dispose();
      return { y, dx, dgamma: gamma!.grad, dbeta: beta!.grad };
    });
  }

  test.each(cases.map((golden) => [`${golden.dtype}, ${golden.name} [${golden.x.shape}]`, golden] as const))(
    "%s: rounded once, and no less exact than PyTorch",
    (_, golden) => {
      const { dtype, own } = golden;
      const got = run(golden);
      for (const name of ["y", "dx"] as const) {
        const want = unpack(golden[name]);
        // Beside the rounding, float32's own error, which near 0 is more than a part of the value's unit.
        const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
        want.forEach((value, i) => {
          const bound = halfUnit(dtype, value) + 8 * 2 ** -23 * largest;
          if (!(Math.abs(got[name][i]! - value) <= bound))
            expect.fail(`${name}[${i}]: ${got[name][i]}, not ${value}`);
        });
        if (!own) continue;
        expect(worst(dtype, got[name], want)).toBeLessThan(1.02);
        // By how much PyTorch's own kernels of the type are the less exact ones.
        expect(worst(dtype, unpack(own[name]), want)).toBeCloseTo(
          THEIRS[`${golden.name} [${golden.x.shape}]`]![name],
          0,
        );
      }
      for (const name of ["dgamma", "dbeta"] as const) {
        const want = unpack(golden[name]);
        const largest = want.reduce((most, value) => Math.max(most, Math.abs(value)), 1);
        want.forEach((value, i) => {
          if (!(Math.abs(got[name][i]! - value) <= 8 * 2 ** -23 * largest))
            expect.fail(`${name}[${i}]: ${got[name][i]}, not ${value}`);
        });
      }
    },
  );
});
