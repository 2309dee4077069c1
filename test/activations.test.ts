/** exp, erf, tanh and the activations: against float64 at a part of all float32 and every boundary, and against PyTorch. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, test } from "vitest";
import { type Library, load, variants } from "./cases.js";
import { compile, finite, type Run, SUBJECTS, worstAt } from "./simd/sweep.js";

interface Packed {
  readonly data: string;
}

interface Golden {
  readonly name: "relu";
  readonly z: Packed;
  readonly y: Packed;
  readonly dy: Packed;
  readonly dz: Packed;
}

const golden: Golden[] = JSON.parse(
  readFileSync(new URL("golden/activations.json", import.meta.url), "utf8"),
).cases;

const unpack = ({ data }: Packed) => new Float32Array(Uint8Array.from(Buffer.from(data, "base64")).buffer);

const u = 2 ** -23;

/** Where a branch or a clamp is, and what is around it. */
const boundaries = Float32Array.from(
  [0.625, 0.8, 1.5, 3, 6, 10.9, 11, 14.75, 15, 60, 87.3, 88.7, 103.9, 115, 120].flatMap((at) => {
    const bits = new Uint32Array(Float32Array.of(at).buffer)[0]!;
    const near = new Float32Array(Uint32Array.from({ length: 41 }, (_, i) => bits - 20 + i).buffer);
    return [...near, ...near.map((x) => -x)];
  }),
);

describe.each(variants)("functions of four lanes, %s", (variant) => {
  let run: Run;
  beforeAll(() => {
    run = compile(variant === "relaxed-simd");
  }, 120_000);

  // As they are written beside the functions, rounded up.
  const limits: Record<string, number> = { exp: 1, erf: 2, tanh: 1.5 };

  test.each(Object.entries(SUBJECTS))("%s is within its error", (name, subject) => {
    const limit = limits[name] ?? 4;
    const at = worstAt(run, subject, boundaries);
    expect(at.units, `${at.x} gives ${at.got} instead of ${at.want}`).toBeLessThanOrEqual(limit);
    let n = 0;
    for (const inputs of finite(16_411, 7)) {
      const worst = worstAt(run, subject, inputs);
      expect(worst.units, `${worst.x} gives ${worst.got} instead of ${worst.want}`).toBeLessThanOrEqual(
        limit,
      );
      n += inputs.length;
    }
    expect(n).toBeGreaterThan(250_000);
  });
});

describe.each(variants)("activations as PyTorch has them, %s", (variant) => {
  let library: Library;
  beforeAll(async () => {
    library = await load(variant);
  });

  // In evaluation with a mean of 0 and a variance of 1 the layer is its activation.
  test.each(golden)("$name, NaN and infinities included", (packed) => {
    const layer = new library.BatchNorm(1, { activation: packed.name, eps: 0, affine: false });
    layer.eval();
    const [z, y, dy, dz] = [packed.z, packed.y, packed.dy, packed.dz].map(unpack) as [
      Float32Array,
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const got = layer.forward(z);
    const gradient = layer.backward(dy);
    for (let i = 0; i < z.length; i++) {
      // Of PyTorch's 1 + erf and 1 + tanh nothing is left far below 0.
      const slack = Math.abs(z[i]!) > 5 && Number.isFinite(z[i]!) ? 1e-12 : 0;
      const pairs = [
        ["y", got[i]!, y[i]!, 5 * u * Math.abs(y[i]!) + slack],
        ["dz", gradient[i]!, dz[i]!, 6 * u * Math.abs(dy[i]!) + slack],
      ] as const;
      for (const [what, is, want, bound] of pairs) {
        if (Object.is(is, want) || is === want || Math.abs(is - want) <= bound) continue;
        throw new Error(`${packed.name} at ${z[i]}: ${what} is ${is} instead of ${want}`);
      }
    }
    layer.dispose();
  });
});
