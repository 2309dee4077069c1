#!/usr/bin/env node
// `npx wasm-norm inspect <file>`: the command line.
import { writeFile } from "node:fs/promises";
import { Command, InvalidArgumentError } from "commander";
import { description, version } from "../../package.json";
import { inspect, toJson } from "./inspection.js";
import { text } from "./text.js";

/** A number in an option's value, from `min` on. */
const number =
  (min: number, whole = false) =>
  (value: string) => {
    const parsed = Number(value);
    if (
      value.trim() === "" ||
      !(parsed >= min) ||
      (whole && !Number.isSafeInteger(parsed)) ||
      parsed === Infinity
    ) {
      throw new InvalidArgumentError(`expected ${whole ? "a whole" : "a"} number from ${min}`);
    }
    return parsed;
  };

interface Flags {
  eps?: number;
  tolerance: number;
  deals: number;
  seed: number;
  json?: boolean;
  html?: string;
}

const program = new Command("wasm-norm").description(description).version(version);

program
  .command("inspect")
  .description(
    "look at the normalization layers of a checkpoint: do gamma and beta undo them, and what is odd",
  )
  .argument(
    "<file>",
    "a .safetensors file, its .index.json, a TensorFlow.js layers model's model.json, or a directory with one",
  )
  .option(
    "--eps <number>",
    "what is added to the variances (default: the file's, else 1e-5 or Keras's 1e-3)",
    number(0),
  )
  .option("--tolerance <number>", "how near to scale 1 and shift 0 counts as undone", number(0), 0.1)
  .option("--deals <count>", "random deals of each layer's parameters", number(1, true), 200)
  .option("--seed <integer>", "seed of the dealing", number(0, true), 1)
  .option("--json", "print everything as JSON")
  .option("--html <out>", "write one page with plots, which opens offline")
  .action(async (file: string, { json, html: out, ...options }: Flags) => {
    const inspection = await inspect(file, options);
    if (out !== undefined) {
      const { html } = await import("./html.js");
      await writeFile(out, html(inspection));
    }
    process.stdout.write(json ? `${toJson(inspection)}\n` : text(inspection, process.stdout.columns ?? 110));
  });

try {
  await program.parseAsync();
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
