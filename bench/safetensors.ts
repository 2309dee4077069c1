/**
 * How fast `wasm-norm/safetensors` reads: decoding beside a copy of what it gives, and headers of many entries.
 *
 *     npx tsx bench/safetensors.ts [million values] [thousand entries]
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import Table from "cli-table3";
import { loadSafetensors, openSafetensors } from "../src/safetensors.js";

const ROUNDS = 21;
const values = Number(process.argv[2] ?? 4) * 1e6;
const entries = Number(process.argv[3] ?? 1800) * 1e3;

/** A file of one tensor whose values are small numbers. */
function fileOf(dtype: string, size: number): Uint8Array {
  const header = JSON.stringify({
    a: { dtype, shape: [values], data_offsets: [0, values * size] },
  });
  const start = 8 + Math.ceil(header.length / 8) * 8;
  const file = new Uint8Array(start + values * size).fill(0x20, 8, start);
  new DataView(file.buffer).setUint32(0, start - 8, true);
  file.set(new TextEncoder().encode(header), 8);
  const data = file.subarray(start);
  // Sixteen bits whose exponent is neither 0 nor all ones; whole numbers below 2^16 in 64 bits.
  if (size === 2)
    new Uint16Array(file.buffer, start).set(
      Uint16Array.from({ length: values }, (_, i) => 0x2000 + (i & 0x1fff)),
    );
  else if (size === 8) for (let i = 0; i < data.length; i += 8) data[i] = i >> 3;
  else data.fill(0x3f);
  return file;
}

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const median = (times: number[]): number => times.sort((a, b) => a - b)[times.length >> 1]!;

/** Milliseconds of this process, which other work on the machine prolongs less than those of the clock. */
function timed(run: () => unknown): number {
  // What was freed is given back first, so that neither pays for the other's memory.
  collect();
  const start = process.cpuUsage();
  run();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1000;
}

const cases: [string, Uint8Array, "keep" | undefined, () => unknown][] = [];
const floats = new Float32Array(values).fill(1);
const longs = new BigInt64Array(values).fill(1n);
const shorts = new Uint16Array(values).fill(1);
const doubles = new Float64Array(values).fill(1);
const copyOf = (array: { slice(): unknown }) => () => array.slice();
cases.push(["F32", fileOf("F32", 4), undefined, copyOf(floats)]);
cases.push(["F64", fileOf("F64", 8), undefined, copyOf(doubles)]);
cases.push(["F16", fileOf("F16", 2), undefined, copyOf(floats)]);
cases.push(["BF16", fileOf("BF16", 2), undefined, copyOf(floats)]);
cases.push(["I64", fileOf("I64", 8), undefined, copyOf(floats)]);
cases.push(["F16, kept", fileOf("F16", 2), "keep", copyOf(shorts)]);
cases.push(["BF16, kept", fileOf("BF16", 2), "keep", copyOf(shorts)]);
cases.push(["I64, kept", fileOf("I64", 8), "keep", copyOf(longs)]);

const table = new Table({ head: ["", "ns a value", "a copy of the result, ns a value", "ratio"] });
for (const [name, file, dtype, copy] of cases) {
  const ours: number[] = [];
  const copies: number[] = [];
  // By turns, so that both see the same machine.
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(timed(() => loadSafetensors(file, { dtype: dtype as "keep" })));
    copies.push(timed(copy));
  }
  const [a, b] = [median(ours), median(copies)].map((ms) => (ms * 1e6) / values) as [number, number];
  table.push([name, a.toFixed(2), b.toFixed(2), (a / b).toFixed(2)]);
}
console.log(`${values} values`);
console.log(table.toString());

const headers = new Table({ head: ["entries", "header, MB", "s of the processor", "memory kept, MB"] });
for (const n of [entries / 16, entries / 4, entries]) {
  const text = `{${Array.from({ length: n }, (_, i) => `"${i.toString(36)}":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}`).join()}}`;
  const file = new Uint8Array(8 + text.length);
  new DataView(file.buffer).setUint32(0, text.length, true);
  new TextEncoder().encodeInto(text, file.subarray(8));
  collect();
  const before = process.memoryUsage();
  const start = process.cpuUsage();
  const opened = await openSafetensors(file);
  const { user, system } = process.cpuUsage(start);
  const seconds = (user + system) / 1e6;
  collect();
  const after = process.memoryUsage();
  const used = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers;
  if (opened.names.length !== n) throw new Error("not all entries were read");
  headers.push([n, (text.length / 1e6).toFixed(1), seconds.toFixed(2), (used / 1e6).toFixed(0)]);
}
console.log(headers.toString());
