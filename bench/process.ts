/**
 * A contender as the driver sees it: a process that answers lines on its standard output.
 *
 *     (at start)                          ok | missing <reason> | unsupported <reason>
 *     prepare <family> <layout> <n> <c> <h> <w> <folder> [<around>]
 *                                         ok <op>... | unsupported <reason>
 *     check <op>                          ok <output>...    (written to <folder>/<output>.f32)
 *     time <op> <samples> <calls>         ok <ns>...        (a figure a sample: nanoseconds a call)
 *     close                               ok                (frees what prepare took)
 *
 * Inputs lie in the folder as little-endian float32: x.f32, dy.f32, gamma.f32 and so on. An answer starts with
 * "= "; every other line is chatter of the library's. A contender that waits for a line uses no time.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import type { Op, OutputName } from "./contenders/contender.ts";
import { Unsupported } from "./contenders/contender.ts";
import type { Shape } from "./shapes.ts";

export interface Command {
  file: string;
  args: string[];
  env?: Record<string, string>;
}

/** Thrown by `start` where the contender cannot be had on this machine; the message says why. */
export class Missing extends Error {}

export class ContenderProcess {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  #chatter = "";

  private constructor({ file, args, env }: Command) {
    this.#child = spawn(file, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    this.#child.on("error", (error) => {
      this.#chatter = error.message;
    });
    this.#child.stdin!.on("error", () => {});
    this.#child.stderr!.on("data", (data: Buffer) => {
      this.#chatter = (this.#chatter + data).slice(-2000);
    });
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  static async start(command: Command): Promise<ContenderProcess> {
    const contender = new ContenderProcess(command);
    await contender.#answer();
    return contender;
  }

  async prepare({ family, layout, n, c, h, w, around }: Shape, folder: string): Promise<Op[]> {
    const rest = around ? [folder, around] : [folder];
    return (await this.#ask("prepare", family, layout, n, c, h, w, ...rest)) as Op[];
  }

  async check(op: Op): Promise<OutputName[]> {
    return (await this.#ask("check", op)) as OutputName[];
  }

  /** Samples of nanoseconds a call. */
  async time(op: Op, samples: number, calls: number): Promise<number[]> {
    return (await this.#ask("time", op, samples, calls)).map(Number);
  }

  async close(): Promise<void> {
    await this.#ask("close");
  }

  stop(): void {
    this.#child.stdin!.end();
    this.#child.kill();
  }

  async #ask(...words: (string | number)[]): Promise<string[]> {
    this.#child.stdin!.write(`${words.join(" ")}\n`);
    return this.#answer();
  }

  async #answer(): Promise<string[]> {
    for (;;) {
      const { value: line, done } = await this.#answers.next();
      if (done) throw new Missing(`the process ended: ${lastError(this.#chatter) || "without a word"}`);
      if (!line.startsWith("= ")) continue;
      const [status, ...words] = line.slice(2).trim().split(" ");
      if (status === "ok") return words;
      if (status === "missing") throw new Missing(words.join(" "));
      if (status === "unsupported") throw new Unsupported(words.join(" "));
      throw new Error(words.join(" "));
    }
  }
}

/** The line of what it printed that says most. */
function lastError(text: string): string {
  const lines = text.trim().split("\n");
  return lines.filter((line) => line.includes("Error")).at(-1) ?? lines.at(-1) ?? "";
}
