/**
 * The worst errors of exp, erf, tanh, of the activations and of their derivatives, in units of u = 2^-23 of the value (a derivative:
 * of the larger of it and 1). All of float32 where it matters: `STRIDE=1 npx tsx test/simd/sweep.ts exp [relaxed]`; a test takes a
 * larger stride, from one end of float32 to the other.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { ACTIVATIONS, erf, NAMES } from "../activations.js";

const u = 2 ** -23;
const SMALLEST = 2 ** -149;
const N = 1 << 16;
const FROM = 1 << 16;
const TO = FROM + 4 * N;

export type Run = (kind: number, input: Float32Array) => Float32Array;

/** Compiles the functions, with relaxed SIMD or without. */
export function compile(relaxed: boolean): Run {
  const out = join(mkdtempSync(join(tmpdir(), "sweep-")), "sweep.wasm");
  const features = relaxed ? ["--enable", "relaxed-simd"] : [];
  execFileSync(
    "npx",
    // biome-ignore format: a command line
    ["asc", "assembly/stages/sweep.ts", "--config", "none", "-o", out, "--enable", "simd", ...features, "-O3", "--runtime", "stub", "--use", "abort=", "--initialMemory", "16", "--disableWarning", "112"],
    { stdio: ["ignore", "ignore", "inherit"] },
  );
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(out)));
  const { memory, run } = exports as unknown as {
    memory: WebAssembly.Memory;
    run: (kind: number, from: number, to: number, n: number) => void;
  };
  return (kind, input) => {
    new Float32Array(memory.buffer, FROM, N).set(input);
    run(kind, FROM, TO, (input.length + 3) & ~3);
    return new Float32Array(memory.buffer, TO, input.length);
  };
}

interface Subject {
  readonly kind: number;
  readonly want: (x: number) => number;
  /** What an error is measured by. */
  readonly scale: (want: number) => number;
  readonly only?: (x: number) => boolean;
}

const own = (want: number) => Math.abs(want);

export const SUBJECTS: Record<string, Subject> = {
  exp: { kind: 32, want: Math.exp, scale: own, only: (x) => x <= 0 },
  erf: { kind: 33, want: erf, scale: own },
  tanh: { kind: 34, want: Math.tanh, scale: own },
  ...Object.fromEntries(
    NAMES.slice(1).flatMap((name, i) => [
      [name, { kind: i + 1, want: ACTIVATIONS[name].value, scale: own }],
      [
        `${name}'`,
        { kind: 17 + i, want: ACTIVATIONS[name].slope, scale: (want: number) => Math.max(1, Math.abs(want)) },
      ],
    ]),
  ),
};

export interface Worst {
  units: number;
  x: number;
  got: number;
  want: number;
}

/** The worst error at the given finite inputs; half a unit of what is subnormal is no error. */
export function worstAt(run: Run, { kind, want, scale, only }: Subject, inputs: Float32Array): Worst {
  const worst: Worst = { units: 0, x: 0, got: 0, want: 0 };
  const chosen = only ? inputs.filter(only) : inputs;
  for (let at = 0; at < chosen.length; at += N) {
    const input = chosen.subarray(at, at + N);
    const got = run(kind, input);
    for (let i = 0; i < input.length; i++) {
      const exact = want(input[i]!);
      if (got[i] === exact) continue;
      const error = Math.abs(got[i]! - exact) - SMALLEST;
      const units = error <= 0 ? 0 : error / (u * scale(exact));
      if (!(units <= worst.units)) Object.assign(worst, { units, x: input[i]!, got: got[i]!, want: exact });
    }
  }
  return worst;
}

/** Every `stride`-th finite float32, from `first` on, in pieces. */
export function* finite(stride: number, first = 0, end = 0x7f800000): Generator<Float32Array> {
  const bits = new Uint32Array(N);
  let n = 0;
  for (const sign of [0, 0x80000000]) {
    for (let b = first; b < end; b += stride) {
      bits[n++] = (sign | b) >>> 0;
      if (n === N) {
        yield new Float32Array(bits.buffer);
        n = 0;
      }
    }
  }
  yield new Float32Array(bits.buffer, 0, n);
}

/** Where an own value is to be seen, by its bits: below, exp is 1 and the others are x or a part of it; beyond, nothing changes. */
const WHOLE = {
  exp: [0x32800000, 0x42d00000],
  erf: [0x39000000, 0x40a00000],
  tanh: [0x39000000, 0x41200000],
} as const;

if (import.meta.url === `file://${process.argv[1]}`) {
  const stride = Number(process.env.STRIDE ?? 997);
  const [name = "exp", variant] = process.argv.slice(2);
  if (variant === "relaxed" && Number.parseInt(process.versions.node, 10) < 22)
    setFlagsFromString("--experimental-wasm-relaxed-simd");
  const run = compile(variant === "relaxed");
  const subject = SUBJECTS[name]!;
  const [from, to] = WHOLE[name as keyof typeof WHOLE] ?? [0x39000000, 0x42f00000];
  let worst: Worst = { units: 0, x: 0, got: 0, want: 0 };
  let n = 0;
  for (const inputs of finite(stride, from, to)) {
    n += inputs.length;
    const now = worstAt(run, subject, inputs);
    if (!(now.units <= worst.units)) worst = now;
  }
  console.log(name, variant ?? "simd", n, worst.units.toFixed(3), worst);
}
