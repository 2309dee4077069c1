/** What comes around a normalization, as a pass of its own over Tensors: in SIMD, or as a plain loop. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { POSITIONS } from "../shapes.ts";
import type { Variant } from "./wasm-norm.ts";

type Values = { data: Float32Array };

/** Each works on the first operand's values; gradients go to `g` and what is named after what they are of. */
export interface Passes {
  add(to: Values, from: Values): void;
  relu(y: Values): void;
  silu(y: Values): void;
  gelu(y: Values): void;
  reluGradient(dy: Values, z: Values, g: Values): void;
  siluGradient(dy: Values, z: Values, g: Values): void;
  geluGradient(dy: Values, z: Values, g: Values): void;
  modulate(y: Values, scale: Values, shift: Values): void;
  demodulate(dy: Values, z: Values, g: Values, scale: Values, dscale: Values, dshift: Values): void;
  gate(y: Values, z: Values): void;
  gateGradient(dy: Values, a: Values, z: Values, g: Values, dz: Values): void;
}

type Kernel = (...numbers: number[]) => void;

/** Compiles `bench/passes` for a variant, over the memory that the Tensors are in. */
export function compilePasses(memory: WebAssembly.Memory, variant: Variant): Record<string, Kernel> {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const folder = join(root, "bench/build");
  const file = join(folder, `passes-${variant}.wasm`);
  mkdirSync(folder, { recursive: true });
  const asc = join(
    dirname(createRequire(import.meta.url).resolve("assemblyscript/package.json")),
    "bin/asc.js",
  );
  const target = variant === "simd" ? "simd" : "relaxed";
  const args = ["bench/passes/index.ts", "--target", target, "--outFile", file];
  execFileSync(process.execPath, [asc, ...args], { cwd: root, stdio: "pipe" });
  const module = new WebAssembly.Module(readFileSync(file));
  return new WebAssembly.Instance(module, { env: { memory } }).exports as Record<string, Kernel>;
}

/** @param width values of a row */
export function simdPasses(kernels: Record<string, Kernel>, width: number): Passes {
  const at = ({ data }: Values) => data.byteOffset;
  const over =
    (name: string) =>
    (...operands: Values[]) =>
      kernels[name]!(...operands.map(at), operands[0]!.data.length);
  const byExample =
    (name: string, rows: boolean[]) =>
    (...operands: Values[]) => {
      const { length } = operands[0]!.data;
      const addresses = operands.map(at);
      for (let example = 0; example < length / (POSITIONS * width); example++) {
        const own = addresses.map((address, i) => address + 4 * example * width * (rows[i] ? POSITIONS : 1));
        kernels[name]!(...own, POSITIONS, width);
      }
    };
  return {
    add: over("add"),
    relu: over("relu"),
    silu: over("silu"),
    gelu: over("gelu"),
    reluGradient: over("reluGradient"),
    siluGradient: over("siluGradient"),
    geluGradient: over("geluGradient"),
    modulate: byExample("modulate", [true, false, false]),
    demodulate: byExample("demodulate", [true, true, true, false, false, false]),
    gate: over("gate"),
    gateGradient: over("gateGradient"),
  };
}

const sigmoid = (z: number) => 1 / (1 + Math.exp(-z));

/** The error function by Abramowitz and Stegun's 7.1.26, within 1.5e-7. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const p = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
  const tail = p * Math.exp(-x * x);
  return x < 0 ? tail - 1 : 1 - tail;
}

const below = (z: number) => 0.5 * (1 + erf(z * Math.SQRT1_2));

/** Loops over Float32Arrays as one would write them. */
export function plainPasses(width: number): Passes {
  const example = POSITIONS * width;
  return {
    add({ data: to }, { data: from }) {
      for (let i = 0; i < to.length; i++) to[i] = to[i]! + from[i]!;
    },
    relu({ data: y }) {
      for (let i = 0; i < y.length; i++) y[i] = Math.max(0, y[i]!);
    },
    silu({ data: y }) {
      for (let i = 0; i < y.length; i++) y[i] = y[i]! * sigmoid(y[i]!);
    },
    gelu({ data: y }) {
      for (let i = 0; i < y.length; i++) y[i] = y[i]! * below(y[i]!);
    },
    reluGradient({ data: dy }, { data: z }, { data: g }) {
      for (let i = 0; i < g.length; i++) g[i] = z[i]! > 0 ? dy[i]! : 0;
    },
    siluGradient({ data: dy }, { data: z }, { data: g }) {
      for (let i = 0; i < g.length; i++) {
        const s = sigmoid(z[i]!);
        g[i] = dy[i]! * s * (1 + z[i]! * (1 - s));
      }
    },
    geluGradient({ data: dy }, { data: z }, { data: g }) {
      for (let i = 0; i < g.length; i++) {
        const v = z[i]!;
        g[i] = dy[i]! * (below(v) + 0.3989422804014327 * v * Math.exp(-0.5 * v * v));
      }
    },
    modulate({ data: y }, { data: scale }, { data: shift }) {
      for (let row = 0; row < y.length; row += width) {
        const at = Math.floor(row / example) * width;
        for (let c = 0; c < width; c++) y[row + c] = y[row + c]! * (1 + scale[at + c]!) + shift[at + c]!;
      }
    },
    demodulate({ data: dy }, { data: z }, { data: g }, { data: scale }, { data: dscale }, { data: dshift }) {
      dscale.fill(0);
      dshift.fill(0);
      for (let row = 0; row < dy.length; row += width) {
        const at = Math.floor(row / example) * width;
        for (let c = 0; c < width; c++) {
          const d = dy[row + c]!;
          dscale[at + c]! += d * z[row + c]!;
          dshift[at + c]! += d;
          g[row + c] = d * (1 + scale[at + c]!);
        }
      }
    },
    gate({ data: y }, { data: z }) {
      for (let i = 0; i < y.length; i++) y[i] = y[i]! * z[i]! * sigmoid(z[i]!);
    },
    gateGradient({ data: dy }, { data: a }, { data: z }, { data: g }, { data: dz }) {
      for (let i = 0; i < g.length; i++) {
        const v = z[i]!;
        const s = sigmoid(v);
        g[i] = dy[i]! * v * s;
        dz[i] = dy[i]! * a[i]! * s * (1 + v * (1 - s));
      }
    },
  };
}
