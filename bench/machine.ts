/** What the figures were measured on: without it they mean nothing. */
import { readFileSync } from "node:fs";
import { cpus, release, totalmem, type } from "node:os";

export interface Machine {
  processor: string;
  cores: number;
  /** Level and size, as the system names them: "L2 1024K". Empty where it does not say. */
  caches: string[];
  memoryGB: number;
  system: string;
}

export function describeMachine(): Machine {
  return {
    processor: cpus()[0]!.model.trim(),
    cores: cpus().length,
    caches: caches(),
    memoryGB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
  };
}

function caches(): string[] {
  const read = (index: number, file: string) =>
    readFileSync(`/sys/devices/system/cpu/cpu0/cache/index${index}/${file}`, "utf8").trim();
  const found: string[] = [];
  try {
    for (let index = 0; ; index++) {
      if (read(index, "type") !== "Instruction")
        found.push(`L${read(index, "level")} ${read(index, "size")}`);
    }
  } catch {
    return found; // no more of them, or no such files on this system
  }
}

export function machineInWords({ processor, cores, caches, memoryGB, system }: Machine): string {
  return `${processor}, ${cores} cores (${caches.join(", ")}), ${memoryGB} GB, ${system}`;
}
