/**
 * Hosts one JavaScript contender in a process of its own and answers the protocol in `process.ts`:
 * `host.ts <module> [argument]`, where the module exports `open`.
 */
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { InputName, Inputs, Op, Operation, Prepared } from "./contenders/contender.ts";
import { Unsupported } from "./contenders/contender.ts";
import type { Around, Family, Layout, Shape } from "./shapes.ts";
import { modulationOf, sizeOf } from "./shapes.ts";

const [modulePath = "", argument] = process.argv.slice(2);
const { open } = await import(modulePath);

/** Answers start with "=", so that what a library prints is not taken for one. */
function answer(...words: (string | number)[]): void {
  process.stdout.write(`\n= ${words.join(" ").replaceAll("\n", " ")}\n`);
}

function lengthOf(name: InputName, shape: Shape): number {
  if (name === "x" || name === "dy" || name === "z") return sizeOf(shape);
  return name === "scale" || name === "shift" ? modulationOf(shape) : shape.c;
}

function inputsIn(folder: string, shape: Shape): Inputs {
  const read: Inputs["read"] = (name, into) => {
    const target = into ?? new Float32Array(lengthOf(name, shape));
    const file = openSync(join(folder, `${name}.f32`), "r");
    const bytes = new Uint8Array(target.buffer, target.byteOffset, target.byteLength);
    for (let at = 0; at < bytes.length; )
      at += readSync(file, bytes, at, Math.min(bytes.length - at, 1 << 28), at);
    closeSync(file);
    return target;
  };
  return { shape, read };
}

/** Samples of nanoseconds a call, each over `calls` calls. */
async function time({ run }: Operation, samples: number, calls: number): Promise<number[]> {
  const times: number[] = [];
  for (let s = 0; s < samples; s++) {
    const start = process.hrtime.bigint();
    for (let i = 0; i < calls; i++) {
      const result = run();
      if (result instanceof Promise) await result;
    }
    times.push(Number(process.hrtime.bigint() - start) / calls);
  }
  return times;
}

let folder = "";
let prepared: Prepared | null = null;

const commands: Record<string, (words: string[]) => Promise<void>> = {
  async prepare([family, layout, n, c, h, w, path, around]) {
    await prepared?.close();
    prepared = null;
    folder = path!;
    const shape = { name: "", set: "dense", family: family as Family, layout: layout as Layout } as const;
    const sizes = { n: Number(n), c: Number(c), h: Number(h), w: Number(w) };
    const inputs = inputsIn(folder, { ...shape, ...sizes, ...(around && { around: around as Around }) });
    const ready: Prepared = await contender.prepare(inputs);
    prepared = ready;
    answer("ok", ...Object.keys(ready.ops));
  },
  async check([op]) {
    const operation = prepared!.ops[op as Op]!;
    await operation.run();
    const outputs = await operation.outputs();
    for (const [name, values] of Object.entries(outputs)) {
      writeFileSync(
        join(folder, `${name}.f32`),
        new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
      );
    }
    answer("ok", ...Object.keys(outputs));
  },
  async time([op, samples, calls]) {
    answer("ok", ...(await time(prepared!.ops[op as Op]!, Number(samples), Number(calls))));
  },
  async close() {
    await prepared?.close();
    prepared = null;
    answer("ok");
  },
};

const contender = await Promise.resolve()
  .then(() => open(argument))
  .catch((error: unknown) => {
    const status = error instanceof Unsupported ? "unsupported" : "missing";
    answer(status, error instanceof Error ? error.message : String(error));
    process.exit();
  });
answer("ok");

for await (const line of createInterface({ input: process.stdin })) {
  const [command = "", ...words] = line.split(" ");
  try {
    await commands[command]!(words);
  } catch (error) {
    if (error instanceof Unsupported) answer("unsupported", error.message);
    else
      answer(
        "error",
        error instanceof Error
          ? (error.stack ?? error.message).split("\n    at ", 2).join(" at ")
          : String(error),
      );
  }
}
process.exit();
